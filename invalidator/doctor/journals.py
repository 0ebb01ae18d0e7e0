"""The journal, for workers that read again what they have missed: may they, is it there, does it hold enough. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.doctor.finding import Finding, Kind
from invalidator.doctor.wording import lasting, shown, size
from invalidator.journal.stream import RIGHTS
from invalidator.screen.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.doctor.facts import Facts, JournalFacts, Place
    from invalidator.doctor.servers import Server
    from invalidator.journal.entry import EntryId

THERE = Kind("journal.there", "ok", "The journal can be read")
DENIED = Kind(
    "journal.denied",
    "wrong",
    "A worker's user may not read the journal",
    "The worker takes what it hears, and cannot read again what it misses: it does not get ready, does not count as"
    " subscribed, and flushes where it would replay.",
    f"ACL SETUSER {{user}} {RIGHTS}; unless it has ~* already, ACL SETUSER {{user}} '~{{stream}}'; and the same in its"
    " ACL file, or ACL SAVE.",
)
HALF_SEEN = Kind(
    "journal.half_seen",
    "warning",
    "A worker's user may not ask how long the journal is",
    "If the Stream is deleted, or goes back to an older state, before the worker has read its first entry, nobody can"
    " tell: what was lost is not flushed.",
    "ACL SETUSER {user} +xinfo|stream",
)
WRONG_TYPE = Kind(
    "journal.wrong_type",
    "wrong",
    "The journal's key holds something else than a Stream",
    "Nothing can be kept there, and nothing read: publish --journal fails, and the worker does not get ready.",
    "redis-cli TYPE {stream} says what it is. Name another key in journal.stream and at every publisher, or delete it.",
)
FAILED = Kind(
    "journal.failed",
    "wrong",
    "The journal cannot be read",
    "The worker asks again with backoff. Until it has an answer, it is not ready, and flushes where it would replay.",
    "Read the server's words, and its log.",
)
EMPTY = Kind(
    "journal.empty",
    "note",
    "Nothing is kept in the journal",
    "Nobody has published with a journal yet, or under another name, or in another database. What is only published"
    " cannot be read again.",
    "Publish with invalidator publish --journal, Publisher(journal=True) or the script, to the Stream {stream} in the"
    " database of redis.url.",
)
BROKEN = Kind(
    "journal.broken",
    "warning",
    "What a backend has yet to be told is no longer in the journal",
    "When its worker comes to that place it flushes instead; a backend with on_gap: ignore keeps what is stale.",
    "Keep more: journal.keep, at every publisher (about {more:,}). invalidator status -c FILE says what the backend"
    " waits for.",
)
TIGHT = Kind(
    "journal.tight",
    "warning",
    "The journal is nearly too short for a backend",
    "A backend that is away is repaired from the journal as long as that reaches back to where it left. What is trimmed"
    " before is flushed instead.",
    "Keep more: journal.keep, at every publisher (about {more:,}). invalidator status -c FILE says what the backend"
    " waits for.",
)
MOVED = Kind(
    "journal.other_server",
    "note",
    "This Redis has been started since the workers of this host last read its journal",
    "Each start of Redis may have lost a tail that nobody has read. The workers flush when they see it.",
    "Nothing has to be done; if the daemon runs and this stays, invalidator status says why it cannot read.",
)
EVICTABLE = Kind(
    "journal.evictable",
    "warning",
    "Redis may evict the journal",
    "At maxmemory it throws out any key, the Stream as a whole too. Each time is a flush for every worker.",
    "CONFIG SET maxmemory-policy noeviction (publishers are told when it is full), or volatile-lru, which leaves keys"
    " alone that have no time to live; or a Redis of its own for messages.",
)
VOLATILE = Kind(
    "journal.volatile",
    "note",
    "A Redis that ends may take the end of the journal with it",
    "So each start of Redis is followed by a flush, as nobody can say what was lost. A backend with on_gap: ignore"
    " loses what it had yet to be told.",
    "CONFIG SET appendonly yes and appendfsync always keep all of it, at the price of a disk's write for each message;"
    " the flush stays.",
)
UNREAD = Kind(
    "journal.cursors_unread",
    "note",
    "How far a worker is in the journal cannot be seen",
    "If the daemon cannot read it either, the worker flushes at its start, and begins anew at the journal's end.",
    "Run the doctor as the daemon's user. A file that is damaged is replaced by the worker.",
)
KINDS = (
    THERE, DENIED, HALF_SEEN, WRONG_TYPE, FAILED, EMPTY, BROKEN, TIGHT, MOVED, EVICTABLE, VOLATILE, UNREAD,
)  # fmt: skip
_KIND_OF = {"denied": DENIED, "wrong_type": WRONG_TYPE, "unavailable": FAILED}
_MUCH = 0.5
"""Of what the journal holds: a lane that lacks more than this is near its end."""


def findings(server: Server, facts: Facts) -> Iterator[Finding]:
    """Nothing where no worker has a journal."""
    for journal in facts.journals:
        if journal.trouble is None:
            yield from _readable(server, journal)
        elif facts.info.get("loading") != "1":  # a finding of its own
            evidence = f"{_readers(journal)}: {server.journal.stream}: {shown(journal.trouble.detail, 200)}"
            kind = _KIND_OF[journal.trouble.reason]
            yield kind.found(server.subject, evidence, user=journal.user, stream=server.journal.stream)


def _readable(server: Server, journal: JournalFacts) -> Iterator[Finding]:
    stream = server.journal.stream
    if journal.stream == "hidden":
        yield HALF_SEEN.found(
            server.subject, f"{_readers(journal)}: XINFO is refused", user=journal.user, stream=stream
        )
    if journal.oldest is None:
        why = "there is no such key" if journal.stream == "gone" else "it has no entry"
        yield EMPTY.found(server.subject, f"{stream}: {why}", stream=stream)
    else:
        yield THERE.found(server.subject, f"{stream}: {_held(server, journal)}; read by {listed(journal.workers)}")
    yield from _places(server, journal)
    yield from _endurance(server, journal)
    for name, why in journal.unread:
        yield UNREAD.found(server.subject, f"{name}: {why}")


def _places(server: Server, journal: JournalFacts) -> Iterator[Finding]:
    broken = [place for place in journal.places if place.broken]
    more = 2 * max(server.journal.keep, _length(journal) or 0)
    if broken:
        told = "; ".join(f"{_name(place)} is at {place.at}: {place.broken}" for place in broken[:4])
        oldest = f"the oldest entry is {journal.oldest}" if journal.oldest else "there is no entry"
        yield BROKEN.found(server.subject, f"{told}; {oldest}", more=more)
    elif tight := [place for place in journal.places if _share(place, journal) > _MUCH and _is_cut(server, journal)]:
        told = "; ".join(
            f"{_name(place)} has yet to be given about {_share(place, journal):.0%}" for place in tight[:4]
        )
        yield TIGHT.found(server.subject, f"{told}; {_held(server, journal)}", more=more)
    if journal.moved:
        yield MOVED.found(server.subject, f"{listed(journal.moved)}: the file of cursors names another run_id")


def _endurance(server: Server, journal: JournalFacts) -> Iterator[Finding]:
    info = journal.info
    most, policy = info.get("maxmemory", ""), info.get("maxmemory_policy", "")
    if most.isdigit() and int(most) and policy.startswith("allkeys-"):
        yield EVICTABLE.found(server.subject, f"maxmemory_policy is {policy}, maxmemory {size(int(most))}")
    if info.get("aof_enabled") == "0":
        yield VOLATILE.found(server.subject, "aof_enabled is 0")
    elif journal.appendfsync not in ("", "always"):
        yield VOLATILE.found(server.subject, f"appendfsync is {journal.appendfsync}")


def _readers(journal: JournalFacts) -> str:
    return f"worker {listed(journal.workers)}, as {journal.user}"


def _name(place: Place) -> str:
    return f"{place.worker} → {shown(place.lane, 60)}"


def _held(server: Server, journal: JournalFacts) -> str:
    length = _length(journal)
    number = "it holds entries" if length is None else f"it holds {length:,} of about {server.journal.keep:,} entries"
    return f"{number}, the oldest {lasting(_seconds(journal.oldest, journal.newest))} before the latest"


def _length(journal: JournalFacts) -> int | None:
    return None if isinstance(journal.stream, str) else journal.stream.length


def _is_cut(server: Server, journal: JournalFacts) -> bool:
    """Whether old entries go for new ones: as long as there is room for all, nobody falls behind its beginning."""
    stream = journal.stream
    if isinstance(stream, str):
        return False
    return stream.length >= server.journal.keep or (stream.added is not None and stream.added > stream.length)


def _share(place: Place, journal: JournalFacts) -> float:
    """About how much of the journal a lane has yet to be given, 0 to 1, by the times of the entries."""
    whole = _seconds(journal.oldest, journal.newest)
    return min(1.0, _seconds(place.at, journal.newest) / whole) if whole else 0.0


def _seconds(since: EntryId | None, until: EntryId | None) -> float:
    return max(0.0, (until.ms - since.ms) / 1000) if since and until else 0.0

"""What one Redis said about itself, as values; and how they are read out of its replies. Pure.

Nothing here raises: a server of another kind leaves fields out, and a hostile one says anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from invalidator.doctor.wording import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invalidator.journal import reading
    from invalidator.journal.entry import EntryId
    from invalidator.journal.reading import Unreadable
    from invalidator.messages import JournalBreak

MOST_CLIENTS = 100_000
SCRIPTS = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO", "SCRIPT", "FUNCTION"})


class Client(NamedTuple):
    """One line of CLIENT LIST. `idle` and `age` in seconds, `omem` (its output buffer) in bytes."""

    name: str
    address: str
    idle: int
    age: int
    omem: int
    sub: int
    psub: int


class BufferLimit(NamedTuple):
    """`client-output-buffer-limit pubsub`, in bytes and seconds; 0 is none."""

    hard: int
    soft: int
    seconds: int


class SlowCall(NamedTuple):
    """An entry of SLOWLOG: the command, the channel of a PUBLISH, microseconds, and when (seconds since the epoch).

    The other arguments are somebody's data, and are not kept.
    """

    command: str
    channel: str
    micros: int
    when: int


class Refusal(NamedTuple):
    """A command that the server did not answer, and its words."""

    command: str
    why: str


class RightsTrial(NamedTuple):
    """What came of doing what a worker does. `step` is where it ended; `why` is empty if it did not.

    `unknown`: its user or password was refused. `alone`: NUMPAT grew each time that we subscribed to its pattern.
    `no_echo`: why an echo cannot prove its subscription; empty if it can.
    """

    worker: str
    step: str
    why: str
    denied: bool = False
    unknown: bool = False
    alone: bool = False
    no_echo: str = ""


class Place(NamedTuple):
    """How far a lane of this host is in the journal, by its worker's file.

    `broken`: it does not find there what comes next, for this reason.
    """

    worker: str
    lane: str
    at: EntryId
    broken: JournalBreak | None


class JournalFacts(NamedTuple):
    """The journal as these workers see it, over one way there. `trouble`: why it cannot be read.

    `stream` is as in Look. `oldest` is None where there is no entry. `info` is INFO of the server that has it, and
    `appendfsync` is empty if it could not be seen. `moved` are workers whose files are of another server, `unread`
    files that cannot be read, and why.
    """

    workers: tuple[str, ...]
    user: str
    trouble: Unreadable | None = None
    stream: reading.Facts | Literal["gone", "hidden"] = "hidden"
    oldest: EntryId | None = None
    newest: EntryId | None = None
    info: Mapping[str, str] = {}
    appendfsync: str = ""
    places: tuple[Place, ...] = ()
    moved: tuple[str, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()


class Told(NamedTuple):
    """Why publishers are not told of these workers, or what became of their messages; empty: they are."""

    user: str
    no_presence: str
    no_receipts: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What could be seen of one server. None: it could not be asked, and `refused` says why."""

    info: Mapping[str, str] = field(default_factory=dict)
    ping: float = 0.0
    clients: tuple[Client, ...] | None = None
    numpat: int | None = None
    numsub: Mapping[str, int] | None = None
    limit: BufferLimit | None = None
    slow: tuple[SlowCall, ...] | None = None
    slower_than: int | None = None
    cluster_state: str = ""
    refused: tuple[Refusal, ...] = ()
    trials: tuple[RightsTrial, ...] = ()
    told: tuple[Told, ...] = ()
    journals: tuple[JournalFacts, ...] = ()

    def number(self, name: str) -> int | None:
        """A field of INFO that is a whole number."""
        return whole(self.info.get(name, ""))

    def ratio(self, name: str) -> float | None:
        """A field of INFO that is a number."""
        try:
            return float(self.info.get(name, ""))
        except ValueError:
            return None


def whole(text: str) -> int | None:
    """A number that is not negative."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def info_of(reply: object) -> dict[str, str]:
    """INFO: its fields, without the sections."""
    lines = _text(reply).splitlines()
    pairs = (line.partition(":") for line in lines if not line.startswith("#"))
    return {name: shown(value) for name, colon, value in pairs if colon}


def clients_of(reply: object) -> tuple[Client, ...]:
    """CLIENT LIST."""
    return tuple(_client(line) for line in _text(reply).splitlines()[:MOST_CLIENTS] if line.strip())


def _client(line: str) -> Client:
    fields = {name: value for name, _, value in (word.partition("=") for word in line.split(" "))}
    numbers = (whole(fields.get(name, "")) or 0 for name in ("idle", "age", "omem", "sub", "psub"))
    return Client(shown(fields.get("name", "")), shown(fields.get("addr", ""), 60), *numbers)


def limit_of(reply: object) -> BufferLimit | None:
    """CONFIG GET client-output-buffer-limit: the part about subscribers."""
    words = config_of(reply).split()
    if "pubsub" not in words:
        return None
    at = words.index("pubsub")
    numbers = [whole(word) for word in words[at + 1 : at + 4]]
    hard, soft, seconds = (*numbers, None, None, None)[:3]
    return None if hard is None or soft is None or seconds is None else BufferLimit(hard, soft, seconds)


def config_of(reply: object) -> str:
    """CONFIG GET of one name: its value; empty if the server knows no such setting."""
    return _text(reply[1]) if isinstance(reply, list) and len(reply) == 2 else ""


def numsub_of(reply: object) -> dict[str, int]:
    """PUBSUB NUMSUB: channels and numbers in turn."""
    items = reply if isinstance(reply, list) else []
    pairs = zip(items[::2], items[1::2], strict=False)
    return {_text(name): count for name, count in pairs if isinstance(count, int)}


def slowlog_of(reply: object) -> tuple[SlowCall, ...]:
    """SLOWLOG GET."""
    found = []
    for entry in reply if isinstance(reply, list) else ():
        match entry:
            case [_, int() as when, int() as micros, [command, *arguments], *_]:
                word = shown(_text(command), 40).upper()
                channel = shown(_text(arguments[0])) if word in ("PUBLISH", "SPUBLISH") and arguments else ""
                found.append(SlowCall(word, channel, micros, when))
    return tuple(found)


def _text(reply: object) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else reply if isinstance(reply, str) else ""

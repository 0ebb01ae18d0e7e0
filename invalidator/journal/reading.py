"""One look at the Stream: what to ask, what the replies say, and whether what was to be read is all there. Pure.

XRANGE goes first and XINFO second. No transaction holds the two together, which not every user may open: what happens
in between can make a break of none, never hide one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import redis

from invalidator.journal.entry import ZERO, Entry, EntryId, parse_entry, parse_id
from invalidator.journal.position import NOTHING_YET, OLDEST, Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.messages import JournalBreak
    from invalidator.wire.identity import Command


@dataclass(frozen=True, slots=True)
class Facts:
    """What XINFO says: how many entries there are, and the last id given.

    Since Redis 7 also how many it has ever been given, and the largest id that was ever taken out by XDEL.
    """

    length: int
    last: EntryId
    added: int | None
    deleted: EntryId = ZERO


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen: entries, the oldest first, and what XINFO says: `gone`: no such key, `hidden`: we may not ask."""

    entries: tuple[Entry, ...]
    facts: Facts | Literal["gone", "hidden"]

    @property
    def deleted(self) -> EntryId:
        """The largest id that was ever taken out by XDEL, as far as that is known."""
        return self.facts.deleted if isinstance(self.facts, Facts) else ZERO

    @property
    def size(self) -> int:
        """About how many bytes it took."""
        return sum(len(message.channel) + len(message.payload) + 64 for _, message in self.entries if message)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Redis has answered, and not with the Stream: in one word and its own."""

    reason: Literal["denied", "wrong_type", "unavailable"]
    detail: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """What comes after a position, and where that leads to. `ends`: there was no more at that moment.

    `last` is the last id that had been given by then; None: the Stream is gone, or we may not ask.
    """

    entries: tuple[Entry, ...]
    position: Position
    ends: bool
    last: EntryId | None = None


def ask_from(stream: str, position: Position, count: int) -> list[Command]:
    """Asks for what comes after a position, and for the entry that it stands on."""
    return [("XRANGE", stream, str(position.at), "+", "COUNT", count), ("XINFO", "STREAM", stream)]


def ask_end(stream: str) -> list[Command]:
    """Asks where the Stream ends."""
    return [("XREVRANGE", stream, "+", "-", "COUNT", 1), ("XINFO", "STREAM", stream)]


def seen(replies: Sequence[object]) -> Look | Unreadable:
    """What the two replies say."""
    listed, info = replies
    if isinstance(listed, redis.ResponseError):
        return _unreadable(str(listed))
    if not isinstance(listed, list) or None in (entries := [parse_entry(item) for item in listed]):
        return Unreadable("unavailable", f"an unexpected reply to XRANGE: {str(listed)[:100]}")
    return Look(tuple(entry for entry in entries if entry), _facts(info))


def end_of(look: Look) -> Position:
    """Where the Stream ends, of a look at its end."""
    if look.entries:
        return Position(look.entries[-1].id)
    return _of_empty(look.facts)


def judge(position: Position, look: Look, count: int, excused: EntryId = ZERO) -> Chunk | JournalBreak:
    """What a look from a position means, for which at most `count` entries were asked for.

    An entry behind the position that somebody has deleted is one that will not be read: it counts as trimmed, unless
    its id is `excused`, as that has been told before, or smaller.
    """
    if (break_ := _break(position, look)) is not None:
        return break_
    if position != OLDEST and look.deleted > max(position.at, excused):
        return "trimmed"
    # Of the position's own entry we know; without one to stand on, there is no such entry.
    entries = tuple(entry for entry in look.entries if entry.id > position.at)
    last = look.facts.last if isinstance(look.facts, Facts) else None
    if entries:
        return Chunk(entries, Position(entries[-1].id), len(look.entries) < count, last)
    return Chunk((), _of_empty(look.facts) if position == OLDEST else position, len(look.entries) < count, last)


def _break(position: Position, look: Look) -> JournalBreak | None:
    if position == OLDEST:
        return None
    if position.stands_on_entry:
        return _break_of_entry(position, look)
    match look.facts:
        case "gone":
            return None if position.at == ZERO else "deleted"
        case Facts(last=last) if last < position.at:
            return "backwards"
        case Facts(length, _, int(added)) if length != added - (position.added or 0):
            return "trimmed"
    return None


def _break_of_entry(position: Position, look: Look) -> JournalBreak | None:
    if look.entries:
        return None if look.entries[0].id == position.at else "trimmed"
    match look.facts:
        case "gone":
            return "deleted"
        case "hidden":
            return "backwards"  # or its entry alone was deleted: we may not ask, and must not guess the better
        case Facts(last=last) if last < position.at:
            return "backwards"
        case Facts(length=0, last=last) if last > position.at:
            return "trimmed"  # with all that has come since
    return None  # its entry is gone and nothing newer has come: so far, nothing was missed


def _of_empty(facts: Facts | Literal["gone", "hidden"]) -> Position:
    if facts == "gone":
        return NOTHING_YET
    # If there are entries by now, they came after the look: nobody stands behind them.
    return Position(facts.last, facts.added) if isinstance(facts, Facts) and not facts.length else OLDEST


def _facts(info: object) -> Facts | Literal["gone", "hidden"]:
    if isinstance(info, redis.ResponseError):
        return "gone" if "no such key" in str(info) else "hidden"
    if not isinstance(info, list):
        return "hidden"
    named = dict(zip(info[::2], info[1::2], strict=False))
    length, added = named.get(b"length"), named.get(b"entries-added")
    last = parse_id(named.get(b"last-generated-id"))
    if last is None or not isinstance(length, int):
        return "hidden"
    deleted = parse_id(named.get(b"max-deleted-entry-id")) or ZERO
    return Facts(length, last, added if isinstance(added, int) else None, deleted)


def _unreadable(text: str) -> Unreadable:
    if "WRONGTYPE" in text:
        return Unreadable("wrong_type", "the journal's key holds something else than a Stream")
    denied = "NOPERM" in text or "permission" in text.lower()
    return Unreadable("denied" if denied else "unavailable", text)

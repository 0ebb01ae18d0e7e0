"""One entry of the journal's Stream: its id, and the message that it keeps. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from invalidator.messages import Message

_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})", re.ASCII)
_LARGEST = (1 << 64) - 1


class EntryId(NamedTuple):
    """`1732312345123-0`: wall milliseconds of the server that added the entry, and a number within them. Ordered."""

    ms: int
    seq: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


ZERO = EntryId(0, 0)
"""No entry has this id: it stands before all of them."""


class Entry(NamedTuple):
    """What the Stream holds under an id; `message` is None when it is none of ours: somebody else has added it."""

    id: EntryId
    message: Message | None


def parse_id(text: object) -> EntryId | None:
    """An id as Redis writes it, in bytes or as a text; None for anything else."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    match = _ID.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    found = EntryId(int(match[1]), int(match[2]))
    return found if max(found) <= _LARGEST else None


def parse_entry(reply: object) -> Entry | None:
    """One element of the reply to XRANGE; None when it is no such thing."""
    match reply:
        case [id_, fields] if (at := parse_id(id_)) is not None:
            return Entry(at, _message(fields))
    return None


def _message(fields: object) -> Message | None:
    if not isinstance(fields, list) or len(fields) % 2:
        return None
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    channel, payload = named.get(b"channel"), named.get(b"payload")
    return Message(channel, payload) if isinstance(channel, bytes) and isinstance(payload, bytes) else None

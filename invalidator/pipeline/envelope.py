"""What a payload of the contract may hold, and the message that it says. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from invalidator.messages import Invalidation, Keys, Kind, RejectReason, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

LISTS: tuple[tuple[str, Kind], ...] = (
    ("keys", "key"),
    ("tags", "tag"),
    ("prefixes", "prefix"),
    ("patterns", "pattern"),
    ("urls", "url"),
)
MARKS = {name: b'"%s"' % name.encode() for name, _ in LISTS}


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """The JSON object of the contract. Where a publisher's language writes an absent text as null, it is absent.

    So is any other thing in the place of a text that only says more about the message. `hops` is none of these: who
    overlooks it passes a message on in a circle.
    """

    v: int = 1
    id: str | None = None
    ts: float | None = None
    source: str | None = None
    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    all: bool = False
    soft: bool = False
    reply: object = None
    journal: object = None
    traceparent: object = None
    hops: int | None = None


class Outermost(Envelope, frozen=True, gc=False):
    """What most payloads are; with `specversion` it is a CloudEvent after all, and nothing else in it counts."""

    specversion: str | None = None


class CloudEvent(msgspec.Struct, frozen=True):
    """An envelope in an envelope. Beside these two it may have attributes of any name, `tags` for one, and any type."""

    specversion: str | None = None
    data: Envelope | None = None


class Envelopes(NamedTuple):
    """Many, each of which asks for the removal of keys and for nothing more; and the keys of all of them."""

    envelopes: Sequence[Envelope]
    names: list[str]


def is_plain(payload: bytes) -> bool:
    # No text of it holds a control character then, nor half of a surrogate pair: raw ones are no JSON, but for DEL.
    return payload.isascii() and b"\\" not in payload and b"\x7f" not in payload


def message_of(
    envelope: Envelope, targets: tuple[Target, ...] | Keys | None = None, rejected: tuple[RejectReason, ...] = ()
) -> Invalidation:
    """What an envelope says; with all of its keys, unless these are its targets."""
    return Invalidation(
        targets=Keys(envelope.keys) if targets is None else targets,
        soft=envelope.soft,
        id=envelope.id or "",
        ts=envelope.ts,
        source=envelope.source or "",
        reply=_text(envelope.reply),
        journal=_text(envelope.journal),
        traceparent=_text(envelope.traceparent),
        rejected=rejected,
        hops=envelope.hops or 0,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

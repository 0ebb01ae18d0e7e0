"""Decoded, many at once: envelopes that all have the same members, as those of one publisher do. Pure.

A parser that knows which members there must be, and that there is no other, looks at each of them where it comes by.
What is left for us to find out is whether a name stands twice, as a parser keeps one of the two: a text has two quotes,
and so many members and texts cannot have more of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from invalidator.pipeline.envelope import LISTS, Envelope, Envelopes, is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Shape = tuple[tuple[str, type], ...]
"""Names of members, in their order, and what stands there."""

ENOUGH = 64
"""Messages for which a shape that was never seen is worth a parser of its own: to make it takes 0.2 ms."""
SHAPES = 64

_Text = Annotated[str, Meta(min_length=1)]
_Keys = Annotated[tuple[_Text, ...], Meta(min_length=1)]
_Nothing = Annotated[tuple[str, ...], Meta(max_length=0)]
_TYPES: dict[tuple[str, type], Any] = {
    ("v", int): Literal[1],
    ("id", str): str,
    ("ts", float): float,
    ("ts", int): float,
    ("source", str): str,
    ("keys", list): _Keys,
    **{(name, list): _Nothing for name, kind in LISTS if kind != "key"},
    ("all", bool): bool,
    ("soft", bool): bool,
    ("traceparent", str): str,
    **{(name, type(None)): None for name in ("id", "ts", "source", "reply", "journal", "traceparent", "hops")},
}
"""What a member may be in an envelope that asks for the removal of keys alone. Where one is another, `decode` looks."""


def decode_uniform(payloads: Sequence[bytes], joined: bytes) -> Envelopes | None:
    """What all of these say, if they have one shape, and each asks for sound keys to be removed and for nothing more.

    `joined` has all of them one after the other. None if one may be something else, or is to be rejected.
    """
    first = _object_of(payloads[0])
    shape = tuple((name, type(value)) for name, value in first.items())
    if "keys" not in first or any(member not in _TYPES for member in shape) or not is_plain(joined):
        return None
    if ("all" in first or "soft" in first) and b"true" in joined:
        return None
    one_key = len(first["keys"]) == 1
    envelopes = _parsed(payloads, shape, one_key=one_key)
    if envelopes is None and one_key:
        one_key = False
        envelopes = _parsed(payloads, shape, one_key=False)
    if envelopes is None:
        return None
    names = [one.keys[0] for one in envelopes] if one_key else [key for one in envelopes for key in one.keys]
    texts = sum(type_ is str for _, type_ in shape)
    if joined.count(b'"') != 2 * (len(payloads) * (len(shape) + texts) + len(names)):
        return None
    # What begins with a space is no JSON to `decode`, but a bare key; and a space comes before a brace.
    return Envelopes(envelopes, names) if min(payloads).startswith(b"{") else None


def _object_of(payload: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _parsed(payloads: Sequence[bytes], shape: Shape, *, one_key: bool) -> list[Envelope] | None:
    try:
        return list(map(_parser_of(shape, one_key=one_key), payloads))
    except msgspec.DecodeError:
        return None


@lru_cache(maxsize=SHAPES)
def _parser_of(shape: Shape, *, one_key: bool) -> Callable[[bytes], Envelope]:
    """Of envelopes of this shape, which have only `one_key` each: nearly all do, and that takes a tenth less time."""
    types = {**_TYPES, ("keys", list): tuple[_Text]} if one_key else _TYPES
    named = {name for name, _ in shape}
    # All that there is is required: with one of them missing, there would be room for another one twice.
    members = [(name, types[name, type_]) for name, type_ in shape]
    absent = {field.name: field.default for field in msgspec.structs.fields(Envelope) if field.name not in named}
    kind: Any = msgspec.defstruct(
        "Uniform", members, namespace=absent, frozen=True, gc=False, forbid_unknown_fields=True
    )
    return msgspec.json.Decoder(kind).decode

"""The one record of a ledger's file: bytes to a State and back. Pure.

Its size is fixed, it has a checksum, and it says in which boot it was written: a monotonic clock begins anew with each.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

_MAGIC = b"ivl1"
_HEAD = struct.Struct("<4s16sddd")
_CHECK = struct.Struct("<I")
LONGEST_BLOCK = 300.0
"""Seconds. No record keeps everybody waiting for longer, whatever it says."""


class State(NamedTuple):
    """The buckets at a moment: the tokens of each, and the monotonic second before which nobody is to ask."""

    tokens: tuple[float, ...]
    at: float
    wall: float
    before: float = 0.0


def encode(state: State, boot: bytes) -> bytes:
    """The record. `boot`: 16 bytes that name this boot."""
    body = struct.pack(f"<{len(state.tokens)}d", *state.tokens)
    record = _HEAD.pack(_MAGIC, boot, state.at, state.wall, state.before) + body
    return record + _CHECK.pack(zlib.crc32(record))


def record_size(buckets: int) -> int:
    """Bytes of a record of so many buckets."""
    return _HEAD.size + 8 * buckets + _CHECK.size


def decode(data: bytes, buckets: int, boot: bytes, now: float, wall: float) -> State | None:
    """The state that `data` holds, on this boot's clock, where it is `now`; None if it is no record of ours."""
    if len(data) != record_size(buckets):
        return None
    record, (check,) = data[: -_CHECK.size], _CHECK.unpack(data[-_CHECK.size :])
    magic, written_in, at, then, before = _HEAD.unpack_from(record)
    if magic != _MAGIC or check != zlib.crc32(record):
        return None
    tokens = struct.unpack_from(f"<{buckets}d", record, _HEAD.size)
    if not all(value - value == 0.0 for value in (*tokens, at, then, before)):  # neither infinite nor NaN
        return None
    left = before - at
    if written_in != boot or at > now:
        # The clock of another boot, or one that cannot be ours: what the wall clock says has passed, and no more.
        at = now - max(0.0, wall - then)
    return State(tokens, at, wall, at + min(left, LONGEST_BLOCK) if left > 0 else 0.0)

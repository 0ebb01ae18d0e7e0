"""Which channels a pattern selects, by Redis' own rules and not by those of fnmatch: `[^a]` and not `[!a]`. Pure."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

from invalidator.topology.patterns import ANY, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable


class Glob:
    """A channel pattern. What stands between two stars has a fixed length, so that the leftmost place always does.

    That keeps the time within the pattern's length times the channel's, where one regular expression for the whole
    would try the places of all stars against each other.
    """

    def __init__(self, pattern: str) -> None:
        parts: list[list[int]] = [[]]
        for place in tokens(pattern):
            if place == "*":
                parts.append([])
            else:
                parts[-1].append(place)
        self._head = _compiled(parts[0])
        self._middle = [_compiled(part) for part in parts[1:-1] if part]
        self._tail = _compiled(parts[-1]) if len(parts) > 1 else None
        self._tail_length = len(parts[-1])

    def matches(self, channel: bytes) -> bool:
        """Whether a subscription to the pattern would hear this channel."""
        if self._tail is None:
            return self._head.fullmatch(channel) is not None
        if not channel or (start := self._head.match(channel)) is None:
            return False  # to Redis, not even a star matches the empty name
        at, end = start.end(), len(channel) - self._tail_length
        for part in self._middle:
            found = part.search(channel, at, max(at, end))
            if found is None:
                return False
            at = found.end()
        return at <= end and self._tail.match(channel, end) is not None


def _compiled(sets: Iterable[int]) -> re.Pattern[bytes]:
    # Equal neighbours as one with a count: a pattern of 500 question marks is then a short expression.
    parts = ((_set(members), len(list(group))) for members, group in groupby(sets))
    return re.compile(b"".join(b"%s{%d}" % part for part in parts), re.DOTALL)


def _set(members: int) -> bytes:
    if members == ANY:
        return b"."
    inside = b"".join(b"\\x%02x" % byte for byte in range(256) if members >> byte & 1)
    return b"[%s]" % inside if inside else rb"(?:(?!))"

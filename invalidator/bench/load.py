"""What is published, and when: an open loop, in which nobody who is late makes the next message wait. Pure."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.topology.patterns import tokens

if TYPE_CHECKING:
    from invalidator.topology.patterns import Token

MOST_KEYS = 50_000
"""Distinct keys of a whole run; the same ones come again and again. A lane that is held up, in whatever daemon hears
us, collapses to its flush at 100,000: so it never does because of us, and nothing of the user's is flushed."""
SAMPLES_A_SECOND = 200
"""Of one lane. It keeps a thousand messages in mind that are to be answered: a backend may stand still for seconds,
and the slow ones, which matter most, are not forgotten."""
RECEIPTS_A_SECOND = 1_000
"""Of one worker, which would send twice as many: half of that is left to who else waits for some."""
_IN_MIND = 500
_NAME = b"invalidator-bench"
_READABLE = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_."


@dataclass(frozen=True, slots=True)
class Load:
    """So many messages, each with a key: at `rate` a second, or as fast as it goes (None).

    `asked` are the numbers of those that ask for receipts, in order.
    """

    count: int
    rate: float | None
    asked: tuple[int, ...]


def single() -> Load:
    """One message: does it come back, and what does everybody say?"""
    return Load(1, 1.0, (0,))


def burst(count: int) -> Load:
    """Distinct keys. The last one asks: a lane answers when everything up to there has ended."""
    return Load(count, None, (count - 1,))


def steady(rate: float, seconds: float, lanes: int, delay: float, seed: int) -> Load:
    """So many seconds at this rate, to a worker with so many lanes, the slowest of which waits for `delay` seconds.

    One message in each equal part of them is asked about, wherever it stands there: every n-th would always meet the
    same place of a batch.
    """
    count = max(1, round(rate * seconds))
    most = min(SAMPLES_A_SECOND, RECEIPTS_A_SECOND / lanes, _IN_MIND / delay if delay else math.inf)
    part = max(1, math.ceil(rate / most))
    chance = random.Random(seed)
    asked = [chance.randrange(start, min(start + part, count)) for start in range(0, count, part)]
    asked[-1] = count - 1  # once that is answered, all has been heard that will be
    return Load(count, rate, tuple(asked))


def channel_of(pattern: str) -> bytes:
    """A channel that a subscription to this pattern hears, and that says whose it is, where the pattern has room."""
    return b"".join(_NAME if place == "*" else bytes([_byte(place)]) for place in tokens(pattern))


def _byte(members: Token) -> int:
    assert isinstance(members, int)  # noqa: S101 -- for the type checker: a star was dealt with
    possible = [byte for byte in (*_READABLE, *range(256)) if members >> byte & 1]
    return possible[0] if possible else _READABLE[0]  # `[]` fits nothing: then nobody answers, and that is said

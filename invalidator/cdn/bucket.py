"""A token bucket, as vendors document their limits: so many calls a second, and so many saved up at most. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# A token that is a rounding error short of whole is whole: else the wait for the rest of it is shorter than a clock's
# tick, and asked for again and again.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Limit:
    """`rate` tokens a second come in, at most `burst` are kept. A cost of 0 is always allowed."""

    rate: float
    burst: float

    def refilled(self, tokens: float, seconds: float) -> float:
        """What the bucket holds `seconds` after it held `tokens`."""
        return min(self.burst, max(0.0, tokens) + max(0.0, seconds) * self.rate)

    def wait(self, tokens: float, cost: float) -> float:
        """Seconds until a bucket that holds `tokens` has `cost` of them, or is full if it can never hold so many."""
        return max(0.0, (min(cost, self.burst) - tokens) / self.rate)


class Grant(NamedTuple):
    """Which of the wishes were granted, in their order; and seconds until the next one can be (0: all were)."""

    given: tuple[bool, ...]
    wait: float
    tokens: tuple[float, ...]


Cost = tuple[float, ...]
"""What one call takes out of each of a vendor's buckets, in their order."""


def grant(limits: tuple[Limit, ...], tokens: tuple[float, ...], wishes: tuple[Cost, ...]) -> Grant:
    """Take what is there, wish by wish. A wish that must wait keeps its turn: none after it may empty its bucket.

    A cost above the burst is granted by a full bucket, or it would be refused for ever.
    """
    left = list(tokens)
    held: set[int] = set()
    given: list[bool] = []
    wait = float("inf")
    for cost in wishes:
        dry = [index for index, limit in enumerate(limits) if limit.wait(left[index], cost[index]) > _ROUNDING]
        blocked = held.intersection(index for index, amount in enumerate(cost) if amount)
        given.append(not dry and not blocked)
        if given[-1]:
            left = [max(0.0, amount - taken) for amount, taken in zip(left, cost, strict=True)]
            continue
        held.update(dry)
        if dry:
            wait = min(wait, max(limits[index].wait(left[index], cost[index]) for index in dry))
    return Grant(tuple(given), 0.0 if all(given) else wait, tuple(left))

"""When to try again: pure functions of the attempt's number and a random number in [0, 1)."""

from __future__ import annotations


def full_jitter(attempt: int, first: float, longest: float, chance: float) -> float:
    """Seconds before reconnecting for the `attempt`-th time (from 1): below a bound that doubles up to `longest`.

    A fleet that loses one Redis comes back spread over the whole bound, not in step.
    """
    return _bound(attempt, first, longest) * chance


def equal_jitter(attempt: int, first: float, longest: float, chance: float) -> float:
    """The same, but never below half the bound: for restarts, which cost something even when they come early."""
    bound = _bound(attempt, first, longest)
    return bound / 2 + bound / 2 * chance


def _bound(attempt: int, first: float, longest: float) -> float:
    # The exponent is limited too: 2.0**1024 overflows, and a worker may fail for weeks.
    return min(longest, first * 2.0 ** min(attempt - 1, 60))


RESTARTS_AT_ONCE = 30
RESTART_WINDOW = 10.0


def restart_delay(
    crashes: list[float], failures: int, now: float, *, first: float, longest: float, chance: float
) -> float:
    """Seconds before a dead worker is started again.

    `crashes` holds the monotonic times at which it died after it had been ready, `now` included if this death was one;
    `failures` counts its deaths before ready since it last was ready. A crash restarts at once, up to 30 times in 10 s:
    a growing delay after each would break the promise of a quick replacement, none at all would be a hot loop.
    """
    recent = sum(1 for at in crashes if now - at < RESTART_WINDOW)
    excess = max(0, recent - RESTARTS_AT_ONCE)
    attempt = max(failures, excess)
    return equal_jitter(attempt, first, longest, chance) if attempt else 0.0

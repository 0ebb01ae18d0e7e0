"""The two ways in which a vendor counts: a bucket that refills steadily, a window that starts anew. `now` is given."""

from __future__ import annotations

import math

_ROUNDING = 1e-6
"""Tokens forgiven: a client that waits exactly as long as it was told is not to fail by the rounding of a float."""


class TokenBucket:
    """Begins full with `capacity` tokens, and gains `rate` of them a second up to `capacity` again.

    What a client has to know of it: the bucket gains nothing while it is full, so its clock starts at the *arrival* of
    the first request. A client that counts from when it sent that one, and spends to the last token, is early by the
    latency of one request (a TLS handshake, say) and is refused.
    """

    def __init__(self, rate: float, capacity: float) -> None:
        self.rate, self.capacity = rate, capacity
        self._level = capacity
        self._at = -math.inf

    def level(self, now: float) -> float:
        """The tokens that there are at `now`, in seconds of any clock that does not run backwards."""
        gained = max(0.0, now - self._at) * self.rate
        return min(self.capacity, self._level + gained)

    def take(self, now: float, count: float = 1) -> float:
        """Take `count` tokens: 0.0, or take none: the seconds until there are so many; infinite if there never are."""
        wait = self.wait(now, count)
        if not wait:
            self._level = max(0.0, self.level(now) - count)
            self._at = max(self._at, now)
        return wait

    def wait(self, now: float, count: float = 1) -> float:
        """What `take` would answer; takes nothing."""
        if count > self.capacity:
            return math.inf
        missing = count - self.level(now)
        return 0.0 if missing <= _ROUNDING else missing / self.rate


class Window:
    """At most `limit` in each stretch of `seconds`; the first begins with the first taken, the next when that ends."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit, self.seconds = limit, seconds
        self._began = -math.inf
        self._used = 0

    def remaining(self, now: float) -> int:
        """How many may still be taken at `now`."""
        return self.limit if self._over(now) else self.limit - self._used

    def resets_in(self, now: float) -> float:
        """Seconds until the whole limit is there again."""
        return 0.0 if self._over(now) else self.seconds - (now - self._began)

    def take(self, now: float, count: int = 1) -> float:
        """Take `count`: 0.0, or take none: the seconds until the window is over."""
        if self._over(now):
            self._began, self._used = now, 0
        if self._used + count > self.limit:
            return self.resets_in(now)
        self._used += count
        return 0.0

    def _over(self, now: float) -> bool:
        return now - self._began >= self.seconds

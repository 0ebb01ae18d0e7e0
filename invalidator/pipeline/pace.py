"""How fast a lane asks its backend: when it may ask again after a failure, and how much it asks for at once. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.backoff import equal_jitter

if TYPE_CHECKING:
    from collections.abc import Callable

ATTEMPT_SECONDS = 5.0
"""How long a backend has for one batch."""
FLUSH_SECONDS = 30.0
"""How long it has for a flush: a Redis of millions of keys is walked, and a walk that is cut short begins anew."""
RETRY_FIRST = 0.05
RETRY_LONGEST = 5.0
LONGEST_RETRY_AFTER = 300.0
FIRST_BATCH = 1_000
LARGEST_BATCH = 8_000


@dataclass(slots=True)
class Retry:
    """Failures in a row, and the monotonic second before which the next attempt makes no sense."""

    chance: Callable[[], float]
    attempts: int = 0
    due: float = 0.0

    def failed(self, now: float, retry_after: float = 0.0) -> None:
        """One more failure: wait longer than after the last, and at least as long as the server asked for."""
        self.attempts += 1
        delay = equal_jitter(self.attempts, RETRY_FIRST, RETRY_LONGEST, self.chance())
        self.due = now + max(delay, min(retry_after, LONGEST_RETRY_AFTER))

    def succeeded(self) -> None:
        """The next failure is the first again."""
        self.attempts = 0
        self.due = 0.0


def next_batch_size(size: int, asked: int, seconds: float) -> int:
    """How many targets to ask for next, after `asked` of at most `size` took `seconds`.

    A batch that a slow server cannot finish within its deadline would be asked for again and again, so the size follows
    what the server has shown to do; it grows only when a full batch was quick.
    """
    if seconds > ATTEMPT_SECONDS / 2:
        return max(1, min(size, asked) // 2)
    if asked >= size and seconds < ATTEMPT_SECONDS / 10:
        return min(size * 2, LARGEST_BATCH)
    return size

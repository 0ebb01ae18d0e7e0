"""What a status means for a purge, and how long a server asks us to wait. Pure."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invalidator.messages import FailureReason

# What is not in the cache is as good as purged: 404, 410, and 412 from older purge modules.
_PURGED = frozenset({200, 201, 202, 204, 404, 410, 412})
_FAULTS: dict[int, tuple[FailureReason, bool]] = {
    401: ("auth", False),
    403: ("auth", False),
    407: ("auth", False),
    405: ("unsupported", False),
    501: ("unsupported", False),
    505: ("unsupported", False),
    408: ("timeout", True),
    425: ("rate_limited", True),
    429: ("rate_limited", True),
}
LONGEST_WAIT = 300.0
"""Seconds. A server that asks for more is asked again after this: a wrong clock must not stop purges for a year."""


def verdict(status: int) -> tuple[FailureReason, bool] | None:
    """None: purged. Otherwise why not, and whether asking again may help.

    A redirect is a fault of the configuration: we never follow one, it would lead to a server that nobody authorised.
    """
    if status in _PURGED:
        return None
    if status in _FAULTS:
        return _FAULTS[status]
    if status >= 500:
        return "server_error", True
    return ("rejected", False) if status >= 400 else ("unsupported", False)


def retry_after(value: str, now: float) -> float:
    """Seconds to wait, from a `Retry-After` header in seconds or as a date; 0.0 if it says neither.

    `now` is the wall clock, in seconds since the epoch. At most LONGEST_WAIT.
    """
    if value.isascii() and value.isdigit():
        seconds = float(value[:9])
    else:
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return 0.0
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    return min(max(seconds, 0.0), LONGEST_WAIT)

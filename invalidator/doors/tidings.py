"""What is to be said to the service manager, and in what order. Pure: values in, one datagram out.

Nothing here knows of sockets. What was said is a value as well, and moves on only once the manager has taken it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

Phase = Literal["starting", "running", "reloading", "stopping"]

EXTEND_SECONDS = 15.0
"""How much time we ask for at once while we start or reload. No more than half of the unit's WatchdogSec: a request
moves the watchdog's end as well, and a loop that hangs must still be found in time."""
EXTEND_EVERY = 5.0
STOP_MARGIN = 5.0
"""Seconds beyond `stop_timeout`: the last workers are killed and reaped in them."""
RELOAD_PATIENCE = 30.0
"""Seconds after which a reload counts as done although a worker is not subscribed yet: the new topology is in force,
and what is missing is Redis. It is as long as `reload --wait` waits."""
STATUS_EVERY = 1.0
"""Seconds. The status is looked at no more often than this: it costs more than a turn of the loop."""


@dataclass(frozen=True, slots=True)
class Moment:
    """How far the daemon is. Times are monotonic seconds."""

    phase: Phase
    reload_began: float | None = None
    """When the last reload was asked for, whether it took effect or not."""
    stop_by: float = 0.0
    """When stopping: the moment at which the last workers are killed."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the manager has taken from us so far."""

    ready: bool = False
    stopping: bool = False
    reload_began: float | None = None
    status: str = ""
    looked_at: float = float("-inf")
    fed_at: float = float("-inf")
    extended_at: float | None = None

    def next_due(self, feed_every: float | None) -> float:
        """The monotonic second at which something may have to be said although nothing has happened."""
        feed = self.fed_at + feed_every if feed_every is not None else float("inf")
        extend = self.extended_at + EXTEND_EVERY if self.extended_at is not None else float("inf")
        return min(feed, extend, self.looked_at + STATUS_EVERY)


class Words(NamedTuple):
    """One datagram (no text: nothing is to be sent), and what will have been said once it is taken."""

    text: str
    after: Said


def phase_of(*, stopping: bool, ready: bool, was_ever_ready: bool, reloading_for: float) -> Phase:
    """Where we are. `ready`: all were subscribed since the last reload took effect, which is so many seconds ago."""
    if stopping:
        return "stopping"
    if not was_ever_ready:
        return "running" if ready else "starting"
    return "running" if ready or reloading_for >= RELOAD_PATIENCE else "reloading"


def next_words(
    moment: Moment, said: Said, now: float, feed_every: float | None, status: Callable[[], str]
) -> Words | None:
    """The next datagram, the most urgent first; None when everything is said. `status` is called when it matters.

    RELOADING=1 and READY=1 are never in one datagram: the manager has to see them as two events.
    """
    return (
        _fed(said, now, feed_every)
        or _reloading(moment, said)
        or _stopping(moment, said, now, status)
        or _ready(moment, said, now, status)
        or _more_time(moment, said, now)
        or _status(said, now, status)
    )


def _fed(said: Said, now: float, feed_every: float | None) -> Words | None:
    if feed_every is None or now < said.fed_at + feed_every:
        return None
    return Words("WATCHDOG=1", replace(said, fed_at=now))


def _reloading(moment: Moment, said: Said) -> Words | None:
    # Before the first READY=1 there is no reload for the manager: it would take its end for the end of the start.
    if moment.reload_began in (None, said.reload_began) or not said.ready or moment.phase == "stopping":
        return None
    text = f"RELOADING=1\nMONOTONIC_USEC={_usec(moment.reload_began or 0.0)}"
    return Words(text, replace(said, ready=False, reload_began=moment.reload_began))


def _stopping(moment: Moment, said: Said, now: float, status: Callable[[], str]) -> Words | None:
    if moment.phase != "stopping" or said.stopping:
        return None
    patience = max(0.0, moment.stop_by - now) + STOP_MARGIN
    line = status()
    after = replace(said, stopping=True, status=line, looked_at=now)
    return Words(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={_usec(patience)}\nSTATUS={line}", after)


def _ready(moment: Moment, said: Said, now: float, status: Callable[[], str]) -> Words | None:
    if moment.phase != "running" or said.ready:
        return None
    line = status()
    after = replace(said, ready=True, reload_began=moment.reload_began, status=line, looked_at=now)
    return Words(f"READY=1\nSTATUS={line}", after)


def _more_time(moment: Moment, said: Said, now: float) -> Words | None:
    if moment.phase not in ("starting", "reloading"):
        return None if said.extended_at is None else Words("", replace(said, extended_at=None))
    if said.extended_at is not None and now < said.extended_at + EXTEND_EVERY:
        return None
    return Words(f"EXTEND_TIMEOUT_USEC={_usec(EXTEND_SECONDS)}", replace(said, extended_at=now))


def _status(said: Said, now: float, status: Callable[[], str]) -> Words | None:
    if now < said.looked_at + STATUS_EVERY:
        return None
    line = status()
    return Words("" if line == said.status else f"STATUS={line}", replace(said, status=line, looked_at=now))


def _usec(seconds: float) -> int:
    return int(seconds * 1e6)

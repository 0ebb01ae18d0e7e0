"""What a worker's process has told its supervisor over the channel, kept until it says otherwise or ends."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from invalidator.channel import Drained, Dropped, Heard, HeardOut, LaneReport, Outcome, Retried, Subscription, Unheard
from invalidator.screen.words import failure
from invalidator.status import Event, Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.channel import Packet

MOST_ERRORS = 20


class Errors:
    """The latest things that went wrong in the whole daemon."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=MOST_ERRORS)

    def add(self, event: Event) -> None:
        """One more; the oldest may go for it. What happens again only takes the place of its last time."""
        for known in list(self._events):
            if (known.worker, known.backend, known.what) == (event.worker, event.backend, event.what):
                self._events.remove(known)
        self._events.append(event)

    def latest(self) -> tuple[Event, ...]:
        """The newest first."""
        return tuple(reversed(self._events))


class Account:
    """One process's. `watch` is called with each line for a tap, while there is somebody who looks on."""

    def __init__(self, worker: str, errors: Errors) -> None:
        self.subscription: Subscription | None = None
        self.lanes: dict[tuple[str, str], LaneReport] = {}
        self.unheard = ""
        """Why publishers that wait do not hear of it; empty if they do."""
        self.heard_out = False
        """Whether it has heard all that was published before its successor was subscribed."""
        self.undone: tuple[str, ...] | None = None
        """The backends for which it has left something undone at its end; None while it has not said so."""
        self._retried: list[Retried] = []
        self._worker = worker
        self._errors = errors

    def take(self, packet: Packet, watch: Callable[[Heard | Outcome | Dropped], None]) -> None:
        """The worker has said this."""
        match packet:
            case Subscription():
                self._subscription(packet)
            case LaneReport():
                self._lane(packet)
            case Retried():
                self._retried.append(packet)
            case HeardOut():
                self.heard_out = True
            case Drained():
                self.undone = packet.undone
            case Unheard():
                self.unheard = packet.why
            case Heard() | Outcome() | Dropped():
                watch(packet)
            case _:
                pass

    def take_retried(self) -> list[Retried]:
        """What it has said of dead letters since this was asked last."""
        said, self._retried = self._retried, []
        return said

    def trouble(self) -> Failure | None:
        """Why there is no subscription, if it is known."""
        return None if self.subscription is None or self.subscription.live else self.hindrance()

    def hindrance(self) -> Failure | None:
        """What keeps it from all that it is there for, subscribed or not: its cursors cannot be kept, say."""
        said = self.subscription
        if said is None or not said.reason:
            return None
        return Failure(at=said.at, reason=said.reason, detail=said.detail)

    def _subscription(self, said: Subscription) -> None:
        known = self.subscription
        if known and not known.live and not said.live:
            said = Subscription(at=known.at, live=False, reason=said.reason, detail=said.detail)  # one outage
        self.subscription = said
        if trouble := self.trouble():
            self._error("not subscribed", trouble)

    def _lane(self, said: LaneReport) -> None:
        place = said.backend, said.node
        known = self.lanes.get(place)
        self.lanes[place] = said
        if said.failed_at and (known is None or known.failed_at != said.failed_at):
            failed = Failure(at=said.failed_at, reason=said.reason, detail=said.detail)
            self._error("purge failed", failed, f"{said.backend} {said.node}".strip())

    def _error(self, what: str, failed: Failure, backend: str = "") -> None:
        event = Event(at=failed.at, worker=self._worker, what=what, backend=backend, detail=failure(failed))
        self._errors.add(event)

"""Who is answered later: when the workers that they have changed are subscribed, or gone, or when time is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.control.protocol import done, refused
from invalidator.errors import EXIT_VERDICT_NO
from invalidator.status import Handover
from invalidator.supervision.handover import AT_ONCE
from invalidator.supervision.report import troubles_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.control.protocol import Answer
    from invalidator.doors.peer import Peer
    from invalidator.status import Status, Worker
    from invalidator.supervision.child import Child
    from invalidator.supervision.fleet import Fleet
    from invalidator.topology.load import Loaded

MOST_WAITING = 16
_MOST_NAMED = 10
_LATER = "; a later reload came meanwhile, and its file runs now"


@dataclass(frozen=True, slots=True)
class Wait:
    """One peer, what it waits for, until when, what it is told when all is well, and what ran when it began."""

    peer: Peer
    children: tuple[Child, ...]
    deadline: float
    timeout: float
    text: str
    loaded: Loaded


class Waits:
    """Looked at in each turn of the loop. `status` knows why a worker is not well."""

    def __init__(self, fleet: Fleet, status: Callable[[], Status]) -> None:
        self._fleet = fleet
        self._status = status
        self._waits: list[Wait] = []

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waits)

    def add(self, peer: Peer, children: Sequence[Child], timeout: float, text: str, now: float) -> None:
        """Answer this peer once these workers are subscribed, or gone if the topology does not name them any more."""
        self._waits.append(Wait(peer, tuple(children), now + timeout, timeout, text, self._fleet.loaded))

    def next_due(self, now: float) -> float:
        """Seconds until somebody's time is over."""
        return min((wait.deadline for wait in self._waits), default=float("inf")) - now

    def turn(self, now: float) -> None:
        """Answer those who need not wait any longer."""
        self._waits = [wait for wait in self._waits if not wait.peer.closed and not self._is_over(wait, now)]

    def end(self, answer: Answer, now: float) -> None:
        """Answer everybody: they would wait in vain."""
        for wait in self._waits:
            wait.peer.answer(answer, now)
        self._waits = []

    def _is_over(self, wait: Wait, now: float) -> bool:
        missing = [child for child in wait.children if not self._is_settled(child, now)]
        if missing and now < wait.deadline:
            return False
        if missing:
            why = "; ".join(self._why(child) for child in missing[:_MOST_NAMED])
            answer = refused(f"waited {wait.timeout:g} s in vain: {why}", EXIT_VERDICT_NO)
        else:
            answer = done(wait.text if self._fleet.loaded is wait.loaded else wait.text + _LATER)
        wait.peer.answer(answer, now)
        return True

    def _is_settled(self, child: Child, now: float) -> bool:
        if is_named(self._fleet, child):
            return child.is_settled(now)
        return child.state == "EXITED"

    def _why(self, child: Child) -> str:
        name = child.spec.name
        if not is_named(self._fleet, child):
            return f"{name} (pid {child.pid}), which the file names no more, has not ended"
        status = self._status()
        for worker in status.workers:
            if worker.name == name:
                return next(troubles_of(worker, status.now), _progress(worker))
        return f"{name} is {child.state}"


def _progress(worker: Worker) -> str:
    match worker.handover:
        case Handover(state="draining", pid=pid):
            return f"{worker.name}: its predecessor (pid {pid}) has not ended"
        case Handover(state="waiting"):
            return f"{worker.name} waits for its turn: {AT_ONCE} workers at a time are replaced"
        case Handover(pid=pid):
            return f"{worker.name}: its successor (pid {pid}) has not become ready"
    return f"{worker.name} is {worker.state}"


def is_named(fleet: Fleet, child: Child) -> bool:
    """Whether the topology that runs names this worker: otherwise it is on its way out."""
    return fleet.workers.get(child.spec.name) is child

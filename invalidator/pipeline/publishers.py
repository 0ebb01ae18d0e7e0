"""What a worker tells those who publish: that it is there, and what became of their messages."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from invalidator import presence
from invalidator.pipeline.attendance import Attendance
from invalidator.pipeline.correspondence import Correspondence
from invalidator.presence import Presence, instance_of
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.logs import Logger
    from invalidator.topology.models import Topology, WorkerSpec
    from invalidator.wire.sideline import Sideline

_LAST_WORD = 0.25
"""Seconds that a stop may take longer for it: who waits for a worker that has gone without a word waits for long."""


class Publishers:
    """Turned by the worker's loop; times are monotonic seconds."""

    def __init__(self, attendance: Attendance, correspondence: Correspondence, sideline: Sideline) -> None:
        self._attendance = attendance
        self.correspondence = correspondence
        self._sideline = sideline

    @property
    def trouble(self) -> str:
        """Why publishers do not hear of this worker; empty if they do."""
        return self._attendance.trouble or self.correspondence.trouble

    @property
    def has_spoken(self) -> bool:
        """Whether they know that this worker is there, or cannot be told."""
        return self._attendance.has_spoken

    def next_due(self, now: float) -> float:
        """Seconds until `turn` should be called."""
        return min(self._attendance.next_due(now), self.correspondence.next_due())

    def turn(self, now: float) -> None:
        """Tell them what there is to tell."""
        self._attendance.turn(now)
        self.correspondence.turn()

    def stop(self, deadline: float, *, has_successor: bool) -> None:
        """The lanes have ended: have the last word, by this second. A successor is there in our place."""
        self.correspondence.stop()
        if not has_successor:
            self._attendance.stop()
        self._sideline.close()
        self._sideline.wait(min(_LAST_WORD, max(0.0, deadline - clock())))


def make_publishers(
    topology: Topology, spec: WorkerSpec, sideline: Sideline, wake: Callable[[], None], log: Logger
) -> Publishers:
    """Of one worker. `wake` ends the loop's wait."""
    here = Presence(
        host=socket.gethostname(),
        worker=spec.name,
        instance=instance_of(topology.file, topology.supervisor.state_dir),
        pattern=spec.pattern,
        backends=tuple(lane.backend for lane in spec.backends),
    )
    heartbeat = topology.redis_of(spec).heartbeat
    value = presence.written(here, {"delivery": spec.delivery, "pid": os.getpid()})
    attendance = Attendance(sideline, here.key, value, heartbeat.interval, heartbeat.deadline, log)
    return Publishers(attendance, Correspondence(sideline, here, wake), sideline)

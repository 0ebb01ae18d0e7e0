"""How many requests go out together over one connection, and which of those that wait. Pure: takes `now`.

A server answers in the order in which it was asked (RFC 9112, 9.3.2). Several requests in one write cost it and us a
fraction of the system calls. What can go wrong with that is told apart from what goes wrong anyway: nothing is sent
together over a connection that has not just answered, so that a stale one is met by one request alone, and what had
not had its turn when a connection ended is asked for again, alone.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

RESPITE = 60.0
"""Seconds without pipelining once a connection has failed while several requests waited on it: a server or a proxy
that cannot take them is met no more often than this, and one that was merely restarted is fast again soon."""
MOST_BYTES = 16 * 1024
"""What is written at once, unless one request alone is longer."""


class Job(NamedTuple):
    """A request that waits. `alone`: no other goes with it. `again`: it was sent before, over a stale connection."""

    place: int
    wire: bytes
    head: bool = False
    alone: bool = False
    again: bool = False


class Waiting:
    """Those that are not under way, in the order in which they will be."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """At the end."""
        self._jobs.append(job)

    def back(self, jobs: Iterable[Job], *, again: bool = False) -> None:
        """To the front, each to go out alone."""
        alone = [job._replace(alone=True, again=again or job.again) for job in jobs]
        self._jobs.extendleft(reversed(alone))

    def next(self, most: int, connections: int) -> deque[Job]:
        """So many at the most, and no more than would leave another of the connections without work."""
        most = min(most, -(-len(self._jobs) // connections))
        jobs = deque((self._jobs.popleft(),))
        room = MOST_BYTES - len(jobs[0].wire)
        while len(jobs) < most and not jobs[0].alone and not self._jobs[0].alone:
            room -= len(self._jobs[0].wire)
            if room < 0:
                break
            jobs.append(self._jobs.popleft())
        return jobs

    def clear(self) -> list[Job]:
        """None are left. Gives those that there were."""
        jobs = list(self._jobs)
        self._jobs.clear()
        return jobs


class Pipeline:
    """What one server takes: `most` together, unless it has just failed to."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._until = 0.0

    def after(self, together: int, now: float) -> int:
        """How many to send together after so many were answered together: twice as many, step by step."""
        return 1 if now < self._until else min(2 * together, self._most)

    def failed(self, now: float) -> None:
        """A connection ended, or brought what it should not, while requests waited behind another."""
        self._until = now + RESPITE

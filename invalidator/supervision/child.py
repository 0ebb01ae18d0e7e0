"""One worker seen from outside: its process, its state in words that operators know, and when to do what with it."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING

from invalidator.backoff import RESTART_WINDOW, restart_delay
from invalidator.slots import READY, alive_for, is_subscribed
from invalidator.status import Event, Failure, WorkerState
from invalidator.supervision.contact import Contact
from invalidator.supervision.history import History
from invalidator.supervision.metrics import PLANNED_RESTARTS, RESTART_REASONS, Totals, WorkerView
from invalidator.topology.gaps import gap_policy

if TYPE_CHECKING:
    from multiprocess.context import ForkProcess

    from invalidator.channel import Channel
    from invalidator.logs import Logger
    from invalidator.slots import Region, Snapshot
    from invalidator.supervision.accounts import Errors
    from invalidator.topology.models import SupervisorSettings, Topology, WorkerSpec


class Child:
    """A worker of the topology, through all the processes that are it one after another."""

    def __init__(self, spec: WorkerSpec, topology: Topology, log: Logger, errors: Errors, now: float) -> None:
        self.spec = spec
        self.topology = topology
        self.state: WorkerState = "BACKOFF"
        self.contact = Contact(spec.name, errors)
        self.history = History()
        self.last_exit: Failure | None = None
        self.process: ForkProcess | None = None
        self.region: Region | None = None
        self.totals = Totals()
        self.restarts = dict.fromkeys(RESTART_REASONS, 0)
        self._log = log.bind(worker=spec.name)
        self._errors = errors
        self._began = now
        self._due = now
        self._crashes: list[float] = []
        self._failures = 0
        self._heard = now
        self._was_ready = False
        self._killed_as: str | None = None
        self._planned = "reload"
        self._next_spec: tuple[WorkerSpec, Topology] | None = None
        self._starts = 0

    @property
    def pid(self) -> int | None:
        """The process id, while there is a process."""
        return self.process.pid if self.process else None

    @property
    def starts(self) -> int:
        """How many processes have been this worker."""
        return self._starts

    def is_up(self) -> bool:
        """Whether it runs and is ready."""
        return self.state == "RUNNING"

    def is_subscribed(self, now: float) -> bool:
        """Whether its subscription is known to be alive."""
        return self.region is not None and is_subscribed(self.region, now)

    @property
    def due(self) -> float:
        """The monotonic second of the next start, while it waits for that."""
        return self._due

    def uptime(self, now: float) -> float | None:
        """Seconds since it was forked, while there is a process."""
        return now - self._began if self.process else None

    def words(self) -> Snapshot:
        """Its counters, over all the processes that it has been."""
        live = self.region.snapshot() if self.region else None
        return self.totals.plus(live, [lane.backend for lane in self.spec.backends])

    def begin(self, region: Region, process: ForkProcess, channel: Channel, now: float) -> None:
        """It has been forked, with the orders that there were."""
        self.region, self.process = region, process
        self.contact.begin(channel)
        self._began = now
        self.state = "STARTING"
        self._heard = now
        self._was_ready = False
        self._killed_as = None
        self._starts += 1
        self._log.info("worker.forked", pid=process.pid)

    def unborn(self, error: str, now: float) -> None:
        """It could not be forked: that counts as a death before it was ready."""
        self._failures += 1
        self._due = now + self._delay(now)
        self._log.error("worker.unborn", error=error, delay=self._due - now)
        self.last_exit = Failure(at=time.time(), reason="unborn", detail=error)

    def is_due(self, now: float) -> bool:
        """Whether it is time to fork it."""
        return self.state == "BACKOFF" and now >= self._due

    def next_due(self, now: float, settings: SupervisorSettings) -> float:
        """Seconds until something has to be done with it, if nothing happens before."""
        if self.state == "EXITED":
            return float("inf")
        if self.state in ("BACKOFF", "STOPPING"):
            return max(0.0, self._due - now)
        return max(0.0, settings.heartbeat_timeout - self.silent_for(now)) + 0.001

    def look(self, now: float, settings: SupervisorSettings) -> None:
        """Notice what it says of itself, and kill it if it says nothing or does not stop in time."""
        if self.process is None or self.region is None:
            return
        self.contact.repeat()
        if self.state == "STARTING" and self.region.word("state") >= READY:
            self.state = "RUNNING"
            self._was_ready = True
            self._failures = 0
        if self.state == "STOPPING" and now >= self._due:
            self._log.error("worker.killed", reason="did not stop in time", pid=self.pid)
            self.kill()
            self._due = float("inf")
        elif self.state in ("STARTING", "RUNNING") and self.silent_for(now) > settings.heartbeat_timeout:
            self._log.error("worker.killed", reason="hung", pid=self.pid, silent=self.silent_for(now))
            self._killed_as = "hung"
            self.kill()
            self._heard = now  # one kill is enough: the kernel may take a moment

    def excuse(self, now: float) -> None:
        """The supervisor itself was held up until now: a silence before says nothing about the worker."""
        self._heard = now

    def stop(self, now: float, timeout: float) -> None:
        """Ask it to end, for good; `look` kills it once `timeout` seconds have passed."""
        self._next_spec = None  # a replacement that was under way is not wanted any more
        if self.process is None:
            self.state = "EXITED"
        else:
            self._ask_to_end(now + timeout)

    def replace(self, spec: WorkerSpec, topology: Topology, now: float) -> None:
        """Run this from now on: the process that there is stops, and its successor starts when it has."""
        self._planned = "reload"
        if self.process is None:
            self.spec, self.topology, self._due, self._failures = spec, topology, now, 0
            return
        self._next_spec = (spec, topology)
        self._ask_to_end(now + topology.supervisor.stop_timeout)

    def restart(self, now: float) -> None:
        """Stop the process and start another one, because somebody has asked for that."""
        spec, topology = self._next_spec or (self.spec, self.topology)
        self.replace(spec, topology, now)
        self._planned = "requested"

    def adopt(self, spec: WorkerSpec, topology: Topology) -> None:
        """A new topology says the same of it: the process goes on, and its successors are made from the new one."""
        if self._next_spec:
            self._next_spec = (spec, topology)
        else:
            self.spec, self.topology = spec, topology

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def reap(self, now: float) -> bool:
        """Whether its process has ended since the last call; what follows from that is decided here."""
        if self.process is None or self.process.exitcode is None:
            return False
        code = self.process.exitcode
        pid = self.process.pid
        # Its last words may be later than our last look.
        self._was_ready = self._was_ready or (self.region is not None and self.region.word("state") >= READY)
        self._fold()
        self.process.join()
        self.process.close()
        self.process = None
        self.contact.end()
        if self.state == "STOPPING" and not self._next_spec:
            self.state = "EXITED"
            self._log.info("worker.stopped", pid=pid, exit=code)
            return True
        self._restart(code, pid, now)
        return True

    def view(self, now: float) -> WorkerView:
        """What the metrics show of it."""
        return WorkerView(self.spec.name, self.words(), self.is_up(), self.is_subscribed(now), self.restarts)

    def _restart(self, code: int, pid: int | None, now: float) -> None:
        reason = self._reason(code)
        if self._next_spec:
            (self.spec, self.topology), self._next_spec = self._next_spec, None
            self._failures = 0
            delay = 0.0
        else:
            self._crashes = [at for at in self._crashes if now - at < RESTART_WINDOW]
            if self._was_ready:
                self._crashes.append(now)
            else:
                self._failures += 1
            delay = self._delay(now)
        self.restarts[reason] += 1
        self.state = "BACKOFF"
        self._due = now + delay
        say = self._log.info if reason in PLANNED_RESTARTS else self._log.warning
        say("worker.restarting", pid=pid, reason=reason, exit=code, delay=delay)
        if reason not in PLANNED_RESTARTS:
            self.last_exit = Failure(at=time.time(), reason=reason, detail=_exit_text(code))
            event = Event(
                at=self.last_exit.at, worker=self.spec.name, what="died", detail=f"{reason}: {_exit_text(code)}"
            )
            self._errors.add(event)

    def _ask_to_end(self, deadline: float) -> None:
        if self.state == "STOPPING":
            self._due = min(self._due, deadline)
            return
        self.state = "STOPPING"
        self._due = deadline
        self._signal(signal.SIGTERM)

    def _delay(self, now: float) -> float:
        pace, chance = self.topology.supervisor.restart, random.random()
        return restart_delay(self._crashes, self._failures, now, first=pace.first, longest=pace.longest, chance=chance)

    def _reason(self, code: int) -> str:
        if self._next_spec:
            return self._planned
        if self._killed_as:
            return self._killed_as
        if not self._was_ready:
            return "early"
        return "signal" if code < 0 else "crash"

    def silent_for(self, now: float) -> float:
        """Seconds since its process last showed that its loop turns; one that has not yet is as old as its fork."""
        return min(alive_for(self.region, now) if self.region else 0.0, now - self._heard)

    def _fold(self) -> None:
        if self.region:
            # What was left is the successor's to repair, by the flush that it begins with, if it has one.
            spec, topology = self._next_spec or (self.spec, self.topology)
            lanes = {lane.backend: gap_policy(topology, spec, lane) is not None for lane in spec.backends}
            self.totals.fold(self.region.snapshot(), lanes)
            self.region = None

    def _signal(self, number: signal.Signals) -> None:
        # The process is ours and not reaped yet, so its id cannot belong to anybody else.
        if self.process is not None and self.process.pid and self.process.exitcode is None:
            os.kill(self.process.pid, number)


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"killed by signal {-code}"

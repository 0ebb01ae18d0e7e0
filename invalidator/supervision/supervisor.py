"""The supervisor: one thread, one wait, and every worker a child of its own.

It forks, so it has one thread: a lock that another thread holds at the fork is held for ever in the child. It never
blocks but in `_wait`: not on a worker, not on whoever comes to one of its doors.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import invalidator
from invalidator import logs, signals
from invalidator.doors.control import open_control
from invalidator.doors.door import Doors, Doorway, opened
from invalidator.doors.endpoint import Endpoint
from invalidator.doors.notify import from_environment
from invalidator.doors.peers import Peers
from invalidator.doors.tidings import Moment, phase_of
from invalidator.errors import EXIT_OK, InvalidatorError, PluginError, UnreachableError
from invalidator.slots import clock
from invalidator.status import Event, Reload
from invalidator.supervision.fleet import Fleet, Surroundings
from invalidator.supervision.operations import Operations
from invalidator.supervision.orphans import Orphans
from invalidator.supervision.pages import Pages
from invalidator.supervision.report import Daemon, report
from invalidator.supervision.sharing import settle
from invalidator.supervision.summary import summary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.supervision.reload import Plan
    from invalidator.topology.load import Loaded

_OBEYED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LONGEST_WAIT = 3600.0
LATE = 1.0
"""Seconds by which a wait may end late before we call it a hold-up of our own."""


class Supervisor:
    """The daemon's parent process. `load` reads the topology's file anew, for a reload; it raises ConfigError."""

    def __init__(self, loaded: Loaded, load: Callable[[], Loaded]) -> None:
        self._load = load
        self._log = logs.get_logger()
        self._waker = signals.Waker()
        self._signals = signals.Signals(self._waker, _OBEYED)
        self._peers = Peers()
        self._doors = Doors(
            self._peers,
            Doorway(lambda loaded: loaded.topology.supervisor.metrics, self._listen),
            Doorway(
                lambda loaded: loaded.topology.supervisor.control_socket,
                lambda loaded: open_control(loaded, self._peers, self._log),
            ),
        )
        self._fleet = Fleet(loaded, Surroundings(self._waker.wake, self._sockets, self._doors.part_with_all), clock())
        self._daemon = Daemon(
            version=invalidator.__version__,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=time.time(),
            reload=Reload(ok=True, at=time.time()),
            redacted=loaded.redacted,
        )
        self._woken = clock()
        self._seldom = logs.Occasionally(60.0)
        self._pages = Pages(self._daemon, self._fleet)
        self._operations = Operations(self._peers, self._fleet, self.reload, self._pages.status)
        self._notifier = from_environment()
        self._orphans = Orphans(duty=os.getpid() == 1)
        self._was_ever_ready = False
        self._reload_began: float | None = None
        self._stop_by = 0.0

    def run(self) -> int:
        """Supervise until told to stop. Returns the exit code."""
        loaded = self._fleet.loaded
        with self._doors.moving_to(loaded):
            self._apply_hook(loaded)
        settle()
        self._log.info("supervisor.started", pid=os.getpid(), workers=len(self._fleet.workers))
        while not self._fleet.has_ended():
            self._turn(self._wait())
        signals.ignore(_OBEYED)
        self._doors.close()
        self._log.info("supervisor.stopped")
        return EXIT_OK

    def _turn(self, now: float) -> None:
        for number in _to_obey(self._signals.take()):
            self._obey(number, now)
        self._fleet.turn(now)
        self._orphans.reap(now, self._fleet.pids())
        self._operations.turn(now)
        self._mend_doors(now)
        self._notice_ready(now)
        self._notify(now)

    def _wait(self) -> float:
        now = clock()
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        for fd in self._fleet.fds():
            poll.register(fd, select.POLLIN)
        for door in self._doors:
            for fd, events in door.fds(now):
                poll.register(fd, events)
        parts = (self._fleet, self._operations, self._notifier, self._orphans, self._doors, *self._doors)
        due = [LONGEST_WAIT, *(part.next_due(now) for part in parts)]
        seconds = max(0.0, min(due))
        ready = {fd for fd, _ in poll.poll(int(seconds * 1000) + 1)}
        if self._waker.fileno() in ready:
            self._waker.drain()
        woken = clock()
        self._excuse(max(woken - now - seconds, now - self._woken), woken)
        self._woken = woken
        for door in self._doors:
            door.turn(ready, woken)
        return woken

    def _sockets(self) -> tuple[int, ...]:
        return (*self._notifier.sockets(), *self._doors.sockets())

    def _excuse(self, late: float, now: float) -> None:
        # We, or the whole machine, stood still: the workers may have had no chance to beat either.
        if late > LATE:
            self._log.warning("supervisor.held_up", seconds=late)
            self._fleet.excuse(now)

    def _obey(self, number: signal.Signals, now: float) -> None:
        if number == signal.SIGHUP:
            if not self._daemon.stopping:
                with suppress(InvalidatorError):  # it is in the log, and in the status
                    self.reload()
        elif self._daemon.stopping:
            self._log.warning("supervisor.stopping_at_once", signal=number.name)
            self._fleet.kill()
        else:
            self._daemon.stopping = True
            self._stop_by = now + self._fleet.loaded.topology.supervisor.stop_timeout
            self._log.info("supervisor.stopping", signal=number.name)
            self._operations.stop(now)
            self._fleet.stop(now)

    def reload(self) -> Plan:
        """Read the file again. If anything about it is wrong, nothing changes. Raises InvalidatorError."""
        self._reload_began = clock()
        try:
            loaded = self._load()
            with self._doors.moving_to(loaded):
                self._change_hook(loaded)
        except InvalidatorError as error:
            self._reload_failed(error)
            raise
        except OSError as error:
            self._reload_failed(error)
            raise UnreachableError(str(error)) from error
        self._daemon.reload = Reload(ok=True, at=time.time())
        self._daemon.redacted = loaded.redacted
        self._daemon.was_ready = False
        todo = self._fleet.change(loaded, clock())  # reading may have taken seconds of what a worker has to stop in
        self._log.info("reload.done", kept=todo.keep, replaced=todo.replace, started=todo.start, stopped=todo.stop)
        return todo

    def _change_hook(self, loaded: Loaded) -> None:
        try:
            self._apply_hook(loaded)
        except InvalidatorError:
            with suppress(InvalidatorError):
                self._apply_hook(self._fleet.loaded)  # for plugins that had already taken the new one
            raise

    def _reload_failed(self, error: Exception) -> None:
        said = self._daemon.redacted(str(error))
        self._daemon.reload = Reload(ok=False, at=time.time(), error=said)
        self._fleet.errors.add(Event(at=time.time(), worker="", what="reload failed", detail=said))
        self._log.error("reload.failed", error=said)

    def _apply_hook(self, loaded: Loaded) -> None:
        try:
            loaded.plugins.hook.topology_applied(topology=loaded.topology)
        except InvalidatorError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(f"a plugin cannot work with this topology: {error!r}") from error
        if threading.active_count() > 1:
            names = ", ".join(thread.name for thread in threading.enumerate())
            raise PluginError(f"a plugin has started a thread in the supervisor, which must fork: {names}")

    def _listen(self, loaded: Loaded) -> Endpoint | None:
        address = loaded.topology.supervisor.metrics
        if address is None:
            return None
        pages = self._pages.paths()
        way_out = "choose another address, or null for none"
        return opened(lambda: Endpoint(address, pages), loaded.topology.file, "supervisor.metrics", address, way_out)

    def _mend_doors(self, now: float) -> None:
        if self._daemon.stopping:
            return
        try:
            if self._doors.mend(self._fleet.loaded, now):
                self._log.warning(
                    "door.reopened", detail="the file of a socket was gone; commands find the daemon again"
                )
        except InvalidatorError as error:
            if (held := self._seldom.due("door", now)) is not None:
                self._log.error("door.gone", error=str(error), held_back=held)

    def _notice_ready(self, now: float) -> None:
        if (
            not self._daemon.was_ready
            and not self._daemon.stopping
            and not self._fleet.unready(now)
            and not self._fleet.unproven()
        ):
            self._daemon.was_ready = True
            self._log.info("supervisor.ready", workers=len(self._fleet.workers))

    def _notify(self, now: float) -> None:
        self._was_ever_ready |= self._daemon.was_ready
        phase = phase_of(
            stopping=self._daemon.stopping,
            ready=self._daemon.was_ready,
            was_ever_ready=self._was_ever_ready,
            reloading_for=now - (now if self._reload_began is None else self._reload_began),
        )
        moment = Moment(phase, self._reload_began, self._stop_by)
        self._notifier.turn(moment, now, lambda: summary(report(self._daemon, self._fleet, now, time.time())))


def _to_obey(came: Sequence[signal.Signals]) -> list[signal.Signals]:
    """One reading answers every HUP that came before it. With one for each, HUPs that come faster than a file is read
    would keep the loop from its workers, and from a TERM behind them."""
    ends: list[signal.Signals] = [number for number in came if number is not signal.SIGHUP]
    return [*ends, signal.SIGHUP] if len(ends) < len(came) else ends

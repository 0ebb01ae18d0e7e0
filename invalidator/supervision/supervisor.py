"""The supervisor: one thread, one wait, and every worker a child of its own.

It forks, so it has one thread: a lock that another thread holds at the fork is held for ever in the child. It never
blocks but in `_wait`: not on a worker, not on whoever comes to one of its doors.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import invalidator
from invalidator import logs, signals
from invalidator.errors import EXIT_OK, InvalidatorError, PluginError
from invalidator.slots import clock
from invalidator.supervision import metrics
from invalidator.supervision.doors import opened
from invalidator.supervision.endpoint import Endpoint, Page
from invalidator.supervision.fleet import Fleet, Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.supervision.doors import Door
    from invalidator.topology.load import Loaded

LONGEST_WAIT = 3600.0
LATE = 1.0
"""Seconds by which a wait may end late before we call it a hold-up of our own."""


class Supervisor:
    """The daemon's parent process. `load` reads the topology's file anew, for a reload; it raises ConfigError."""

    def __init__(self, loaded: Loaded, load: Callable[[], Loaded]) -> None:
        self._load = load
        self._log = logs.get_logger()
        self._waker = signals.Waker()
        self._signals = signals.Signals(self._waker, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        self._fleet = Fleet(loaded, Surroundings(self._waker.wake, self._sockets, self._make_room), clock())
        self._endpoint: Endpoint | None = None
        self._stopping = False
        self._reload_ok = True
        self._was_ready = False

    def run(self) -> int:
        """Supervise until told to stop. Returns the exit code."""
        loaded = self._fleet.loaded
        self._endpoint = self._listen(loaded)
        self._apply_hook(loaded)
        gc.collect()
        gc.freeze()  # what is here now stays for good, and the children's collector need not copy its pages
        self._log.info("supervisor.started", pid=os.getpid(), workers=len(self._fleet.workers))
        while not self._fleet.has_ended():
            self._turn(self._wait())
        for door in self._doors():
            door.close()
        self._log.info("supervisor.stopped")
        return EXIT_OK

    def _turn(self, now: float) -> None:
        for number in self._signals.take():
            self._obey(number, now)
        self._fleet.turn(now)
        self._say_ready(now)

    def _wait(self) -> float:
        now = clock()
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        for sentinel in self._fleet.sentinels():
            poll.register(sentinel, select.POLLIN)
        for door in self._doors():
            for fd, events in door.fds(now):
                poll.register(fd, events)
        due = (LONGEST_WAIT, self._fleet.next_due(now), *(door.next_due(now) for door in self._doors()))
        seconds = max(0.0, min(due))
        ready = {fd for fd, _ in poll.poll(int(seconds * 1000) + 1)}
        if self._waker.fileno() in ready:
            self._waker.drain()
        woken = clock()
        self._excuse(woken - now - seconds, woken)
        for door in self._doors():
            door.turn(ready, woken)
        return woken

    def _doors(self) -> list[Door]:
        return [door for door in (self._endpoint,) if door]

    def _sockets(self) -> tuple[int, ...]:
        return tuple(fd for door in self._doors() for fd in door.sockets())

    def _make_room(self) -> bool:
        parted = [door.part_with_all() for door in self._doors()]
        return any(parted)

    def _excuse(self, late: float, now: float) -> None:
        # We, or the whole machine, stood still: the workers may have had no chance to beat either.
        if late > LATE:
            self._log.warning("supervisor.held_up", seconds=late)
            self._fleet.excuse(now)

    def _obey(self, number: signal.Signals, now: float) -> None:
        if number == signal.SIGHUP:
            self.reload(now)
        elif self._stopping:
            self._log.warning("supervisor.stopping_at_once", signal=number.name)
            self._fleet.kill()
        else:
            self._stopping = True
            self._log.info("supervisor.stopping", signal=number.name)
            self._fleet.stop(now)

    def reload(self, now: float) -> None:
        """Read the file again. If anything about it is wrong, nothing changes."""
        if self._stopping:
            return
        try:
            loaded = self._load()
            endpoint = self._relisten(loaded)
        except (InvalidatorError, OSError) as error:
            self._reload_failed(error)
            return
        try:
            self._apply_hook(loaded)
        except InvalidatorError as error:
            if endpoint and endpoint is not self._endpoint:
                endpoint.close()
            self._reload_failed(error)
            with suppress(InvalidatorError):
                self._apply_hook(self._fleet.loaded)  # for plugins that had already taken the new one
            return
        if self._endpoint and endpoint is not self._endpoint:
            self._endpoint.close()
        self._endpoint = endpoint
        self._reload_ok = True
        self._was_ready = False
        todo = self._fleet.change(loaded, now)
        self._log.info("reload.done", kept=todo.keep, replaced=todo.replace, started=todo.start, stopped=todo.stop)

    def _reload_failed(self, error: Exception) -> None:
        self._reload_ok = False
        self._log.error("reload.failed", error=str(error))

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
        pages = {"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}
        way_out = "choose another address, or null for none"
        return opened(lambda: Endpoint(address, pages), loaded.topology.file, "supervisor.metrics", address, way_out)

    def _relisten(self, loaded: Loaded) -> Endpoint | None:
        same = loaded.topology.supervisor.metrics == self._fleet.loaded.topology.supervisor.metrics
        return self._endpoint if same else self._listen(loaded)

    def _say_ready(self, now: float) -> None:
        if not self._was_ready and not self._stopping and not self._fleet.unready(now):
            self._was_ready = True
            self._log.info("supervisor.ready", workers=len(self._fleet.workers))

    def _metrics(self) -> Page:
        now = clock()
        views = [child.view(now) for child in self._fleet.workers.values()]
        text = metrics.render(views, reload_ok=self._reload_ok, version=invalidator.__version__)
        return Page(200, text, "text/plain; version=0.0.4; charset=utf-8")

    def _healthz(self) -> Page:
        return Page(200, "ok\n")

    def _readyz(self) -> Page:
        unready = self._fleet.unready(clock())
        if self._stopping:
            return Page(503, "stopping\n")
        return Page(503, f"not subscribed: {', '.join(unready)}\n") if unready else Page(200, "ready\n")

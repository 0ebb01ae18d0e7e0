"""The supervisor: start what is due, wait, reap, stop. One thread, one wait, and every worker a child of its own.

It forks, so it has one thread: a lock that another thread holds at the fork is held for ever in the child. It never
blocks but in `_wait`: not on a worker, not on a client of its endpoint.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import multiprocess

import invalidator
from invalidator import logs, signals
from invalidator.errors import EXIT_OK, ConfigError, InvalidatorError, PluginError, Problem, UnreachableError
from invalidator.pipeline.assembly import Part  # with all that a worker needs: loaded once, shared by all forks
from invalidator.slots import Region, clock
from invalidator.supervision import metrics
from invalidator.supervision.birth import Ties, be_worker
from invalidator.supervision.child import Child
from invalidator.supervision.endpoint import Endpoint, Page
from invalidator.supervision.reload import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from multiprocess.context import ForkProcess

    from invalidator.topology.load import Loaded

LONGEST_WAIT = 3600.0
LATE = 1.0
"""Seconds by which a wait may end late before we call it a hold-up of our own."""
_PASSING = (errno.EADDRINUSE, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Why an address cannot be had now, and may be later: the configuration is not wrong."""


class Supervisor:
    """The daemon's parent process. `load` reads the topology's file anew, for a reload; it raises ConfigError."""

    def __init__(self, loaded: Loaded, load: Callable[[], Loaded]) -> None:
        self._loaded = loaded
        self._load = load
        self._log = logs.get_logger()
        self._waker = signals.Waker()
        self._signals = signals.Signals(self._waker, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        self._lifeline = os.pipe2(os.O_CLOEXEC)
        self._context = multiprocess.get_context("fork")
        self._children: dict[str, Child] = {}
        self._leaving: list[Child] = []
        self._endpoint: Endpoint | None = None
        self._stopping = False
        self._reload_ok = True
        self._was_ready = False

    def run(self) -> int:
        """Supervise until told to stop. Returns the exit code."""
        self._endpoint = self._listen(self._loaded)
        self._apply_hook(self._loaded)
        now = clock()
        for spec in self._loaded.topology.workers:
            self._children[spec.name] = Child(spec, self._loaded.topology, self._log, now)
        gc.collect()
        gc.freeze()  # what is here now stays for good, and the children's collector need not copy its pages
        self._log.info("supervisor.started", pid=os.getpid(), workers=len(self._children))
        while not self._is_over():
            self._turn(self._wait())
        if self._endpoint:
            self._endpoint.close()
        self._log.info("supervisor.stopped")
        return EXIT_OK

    def _turn(self, now: float) -> None:
        for number in self._signals.take():
            self._obey(number, now)
        for child in self._all():
            if child.reap(now):
                self._reaped(child)
        for child in self._all():
            child.look(now, self._loaded.topology.supervisor)
            if child.is_due(now):
                self._fork(child)
        self._say_ready()

    def _all(self) -> list[Child]:
        return [*self._children.values(), *self._leaving]

    def _is_over(self) -> bool:
        return self._stopping and all(child.state == "EXITED" for child in self._all())

    def _wait(self) -> float:
        now = clock()
        settings = self._loaded.topology.supervisor
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        for child in self._all():
            if child.process is not None:
                poll.register(child.process.sentinel, select.POLLIN)
        due = [LONGEST_WAIT, *(child.next_due(now, settings) for child in self._all())]
        if self._endpoint:
            due.append(self._endpoint.next_due(now))
            for fd, events in self._endpoint.fds(now):
                poll.register(fd, events)
        seconds = max(0.0, min(due))
        ready = {fd for fd, _ in poll.poll(int(seconds * 1000) + 1)}
        if self._waker.fileno() in ready:
            self._waker.drain()
        woken = clock()
        self._excuse(woken - now - seconds, woken)
        if self._endpoint:
            self._endpoint.turn(ready, woken)
        return woken

    def _excuse(self, late: float, now: float) -> None:
        # We, or the whole machine, stood still: the workers may have had no chance to beat either.
        if late > LATE:
            self._log.warning("supervisor.held_up", seconds=late)
            for child in self._all():
                child.excuse(now)

    def _obey(self, number: signal.Signals, now: float) -> None:
        if number == signal.SIGHUP:
            self.reload(now)
        elif self._stopping:
            self._log.warning("supervisor.stopping_at_once", signal=number.name)
            for child in self._all():
                child.kill()
        else:
            self._stopping = True
            self._log.info("supervisor.stopping", signal=number.name)
            for child in self._all():
                child.stop(now, self._loaded.topology.supervisor.stop_timeout)

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
                self._apply_hook(self._loaded)  # for plugins that had already taken the new one
            return
        if self._endpoint and endpoint is not self._endpoint:
            self._endpoint.close()
        self._endpoint = endpoint
        self._reload_ok = True
        self._change(loaded, now)

    def _reload_failed(self, error: Exception) -> None:
        self._reload_ok = False
        self._log.error("reload.failed", error=str(error))

    def _change(self, loaded: Loaded, now: float) -> None:
        todo = plan(self._loaded.topology, loaded.topology)
        self._loaded = loaded
        specs = {spec.name: spec for spec in loaded.topology.workers}
        for name in todo.keep:
            self._children[name].adopt(specs[name], loaded.topology)
        for name in todo.stop:
            child = self._children.pop(name)
            child.stop(now, loaded.topology.supervisor.stop_timeout)
            self._leaving.append(child)
        for name in todo.replace:
            self._children[name].replace(specs[name], loaded.topology, now)
        for name in todo.start:
            self._children[name] = Child(specs[name], loaded.topology, self._log, now)
        self._was_ready = False
        self._log.info("reload.done", kept=todo.keep, replaced=todo.replace, started=todo.start, stopped=todo.stop)

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

    def _fork(self, child: Child) -> None:
        spec, topology = child.spec, child.topology
        region = Region([lane.backend for lane in spec.backends])
        part = Part(topology, spec, self._loaded.plugins, region, is_restart=child.starts > 0)
        try:
            process = self._forked(part)
        except OSError as error:  # no process or memory to be had: that may pass, and the others go on
            child.unborn(str(error), clock())
        else:
            child.begin(region, process, clock())

    def _forked(self, part: Part) -> ForkProcess:
        try:
            return self._started(part)
        except OSError:
            # A worker comes before whoever looks at the metrics: their connections may be what is in the way.
            if self._endpoint is None or not self._endpoint.part_with_all():
                raise
            return self._started(part)

    def _started(self, part: Part) -> ForkProcess:
        not_ours = self._endpoint.sockets() if self._endpoint else ()
        ties = Ties(os.getpid(), *self._lifeline, not_ours)
        process = self._context.Process(target=be_worker, args=(part, ties, self._waker.wake), name=part.spec.name)
        with signals.blocked():
            process.start()
        return process

    def _reaped(self, child: Child) -> None:
        try:
            self._loaded.plugins.hook.worker_stopped(worker=child.spec.name)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # an observer's fault is never the supervisor's
            self._log.error("plugin.raised", hook="worker_stopped", error=repr(error))
        if child in self._leaving and child.state == "EXITED" and not self._stopping:
            self._leaving.remove(child)

    def _listen(self, loaded: Loaded) -> Endpoint | None:
        address = loaded.topology.supervisor.metrics
        if address is None:
            return None
        pages = {"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}
        try:
            return Endpoint(address, pages)
        except OSError as error:
            text = f"cannot listen on {address}: {error.strerror or error}; choose another address, or null for none"
            problem = Problem(str(loaded.topology.file), 0, 0, "supervisor.metrics", text)
            if error.errno in _PASSING:
                raise UnreachableError(str(problem)) from error
            raise ConfigError([problem]) from error

    def _relisten(self, loaded: Loaded) -> Endpoint | None:
        same = loaded.topology.supervisor.metrics == self._loaded.topology.supervisor.metrics
        return self._endpoint if same else self._listen(loaded)

    def _unready(self) -> list[str]:
        now = clock()
        return [name for name, child in self._children.items() if not (child.is_up() and child.is_subscribed(now))]

    def _say_ready(self) -> None:
        if not self._was_ready and not self._stopping and not self._unready():
            self._was_ready = True
            self._log.info("supervisor.ready", workers=len(self._children))

    def _metrics(self) -> Page:
        now = clock()
        views = [child.view(now) for child in self._children.values()]
        text = metrics.render(views, reload_ok=self._reload_ok, version=invalidator.__version__)
        return Page(200, text, "text/plain; version=0.0.4; charset=utf-8")

    def _healthz(self) -> Page:
        return Page(200, "ok\n")

    def _readyz(self) -> Page:
        unready = self._unready()
        if self._stopping:
            return Page(503, "stopping\n")
        return Page(503, f"not subscribed: {', '.join(unready)}\n") if unready else Page(200, "ready\n")

"""The workers of a topology, and what becomes of each: forked when due, reaped when dead, replaced, stopped.

It never waits, and never decides when to look: the supervisor's loop does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import multiprocess

from invalidator import logs, signals
from invalidator.channel import pair
from invalidator.pipeline.assembly import Line, Part  # with all that a worker needs: loaded once, shared by all forks
from invalidator.slots import Region, clock
from invalidator.supervision.accounts import Account, Errors
from invalidator.supervision.birth import Ties, be_worker
from invalidator.supervision.child import Child
from invalidator.supervision.contact import Contact
from invalidator.supervision.handover import AT_ONCE
from invalidator.supervision.incarnation import Incarnation
from invalidator.supervision.reload import plan
from invalidator.supervision.sharing import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from multiprocess.context import ForkProcess

    from invalidator.channel import Channel
    from invalidator.supervision.contact import Watch
    from invalidator.supervision.handover import Birth
    from invalidator.supervision.reload import Plan
    from invalidator.topology.load import Loaded


class Surroundings(NamedTuple):
    """What the loop lends to the fleet.

    `wake` ends the loop's wait, from any process; `sockets` are the file descriptors that a child is to close;
    `make_room` parts with whoever only looks on, and says whether that gave descriptors back.
    """

    wake: Callable[[], None]
    sockets: Callable[[], tuple[int, ...]]
    make_room: Callable[[], bool]


class Fleet:
    """The topology's workers by name, and those that it does not name any more and that have not ended yet."""

    def __init__(self, loaded: Loaded, surroundings: Surroundings, now: float) -> None:
        self.loaded = loaded
        self._surroundings = surroundings
        self._log = logs.get_logger()
        self._lifeline = os.pipe2(os.O_CLOEXEC)
        self._context = multiprocess.get_context("fork")
        self._leaving: list[Child] = []
        self._unproven: set[str] = set()
        self._stopping = False
        self.errors = Errors()
        self.watch: Watch = lambda _: None
        """Called with each line for a tap, while a worker is ordered to be tapped."""
        topology = loaded.topology
        self.workers = {spec.name: Child(spec, topology, self._log, self.errors, now) for spec in topology.workers}

    def __iter__(self) -> Iterator[Child]:
        """Every worker, those that leave included."""
        return iter([*self.workers.values(), *self._leaving])

    def fds(self) -> Iterator[int]:
        """File descriptors that become readable when a worker's process ends, or has something to say."""
        for child in self:
            for one in child:
                yield from one.fds()

    def pids(self) -> set[int | None]:
        """Every process of a worker that has not been reaped."""
        return {one.pid for child in self for one in child}

    def next_due(self, now: float) -> float:
        """Seconds until `turn` has something to do, if nothing happens before."""
        settings = self.loaded.topology.supervisor
        due = [child.next_due(now, settings) for child in self]
        due += [child.history.next_due(now) for child in self.workers.values()]
        return min(due, default=float("inf"))

    def turn(self, now: float) -> None:
        """Hear what they say, reap the dead, look at the living, and fork those whose time has come."""
        for child in self:
            for one in child:
                one.contact.hear(self.watch)
            if child.reap(now, self.watch):
                self._reaped(child)
        for child in self:
            child.look(now, self.loaded.topology.supervisor)
            if child.is_due(now):
                self._fork(child)
        for child in self._next_in_line(now):
            self._fork(child)
        self._unproven = {name for name in self._unproven if name in self.workers and not self._is_proven(name, now)}
        for child in self.workers.values():
            child.sample(now)

    def excuse(self, now: float) -> None:
        """The supervisor itself stood still: a silence before says nothing about any worker."""
        for child in self:
            child.excuse(now)

    def change(self, loaded: Loaded, now: float) -> Plan:
        """Run this from now on. Workers whose part of it is as it was keep their process."""
        todo = plan(self.loaded, loaded)
        self.loaded = loaded
        specs = {spec.name: spec for spec in loaded.topology.workers}
        for name in todo.keep:
            self.workers[name].adopt(specs[name], loaded.topology)
        for name in todo.stop:
            child = self.workers.pop(name)
            child.stop(now, loaded.topology.supervisor.stop_timeout)
            if child.state != "EXITED":
                self._leaving.append(child)
        for name in todo.replace:
            self.workers[name].replace(specs[name], loaded.topology, now)
        for name in todo.start:
            self.workers[name] = Child(specs[name], loaded.topology, self._log, self.errors, now)
        self._unproven.update(todo.replace, todo.start)
        self.workers = {name: self.workers[name] for name in specs}  # in the order of the file, for whoever looks
        for child in self:
            child.watch_by(loaded.topology.supervisor, now)
        return todo

    def stop(self, now: float) -> None:
        """Ask every worker to end, for good."""
        self._stopping = True
        for child in self:
            child.stop(now, self.loaded.topology.supervisor.stop_timeout)

    def kill(self) -> None:
        """End every worker at once."""
        for child in self:
            child.kill()

    def has_ended(self) -> bool:
        """Whether every worker has been stopped, and is gone."""
        return self._stopping and all(child.state == "EXITED" for child in self)

    def unready(self, now: float) -> list[str]:
        """The names of the workers that do not run, or whose subscription is not known to be alive."""
        return [name for name, child in self.workers.items() if not (child.is_up() and child.is_subscribed(now))]

    def unproven(self) -> list[Child]:
        """The workers that some reload has changed and that are not as it says yet, in the file's order."""
        return [child for name, child in self.workers.items() if name in self._unproven]

    def _is_proven(self, name: str, now: float) -> bool:
        return self.workers[name].is_settled(now)

    def _next_in_line(self, now: float) -> list[Child]:
        """Whose successors are to be forked now. Those that have failed come last: they must not keep others."""
        room = AT_ONCE - sum(child.is_handing_over() for child in self)
        waiting = [(child.handover.failures, child) for child in self if child.handover and child.wants_successor(now)]
        return [child for _, child in sorted(waiting, key=lambda pair: pair[0])[: max(0, room)]]

    def _fork(self, child: Child) -> None:
        code = (self.loaded.topology.plugins, self.loaded.plugins.files())
        birth = child.birth(code)
        region = Region([lane.backend for lane in birth.spec.backends])
        prepare(birth.topology, birth.spec)
        try:
            process, channel = self._forked(birth, region)
        except OSError as error:  # no process or memory to be had: that may pass, and the others go on
            child.unborn(str(error), clock())
        else:
            contact = Contact(channel, birth.orders, Account(birth.spec.name, self.errors))
            child.begin(Incarnation(birth, code, process, region, contact, self._log, clock()))

    def _forked(self, birth: Birth, region: Region) -> tuple[ForkProcess, Channel]:
        try:
            return self._started(birth, region)
        except OSError:
            # A worker comes before whoever looks on: their connections may be what is in the way.
            if not self._surroundings.make_room():
                raise
            return self._started(birth, region)

    def _started(self, birth: Birth, region: Region) -> tuple[ForkProcess, Channel]:
        ours, theirs = pair()
        try:
            line = Line(theirs, birth.orders)
            plugins, spec = self.loaded.plugins, birth.spec
            part = Part(birth.topology, spec, plugins, region, line, is_restart=birth.is_restart, heard=birth.heard)
            channels = (fd for child in self for one in child if (fd := one.contact.fileno()) is not None)
            ties = Ties(os.getpid(), *self._lifeline, (*self._surroundings.sockets(), *channels, ours.fileno()))
            arguments = (part, ties, self._surroundings.wake)
            process = self._context.Process(target=be_worker, args=arguments, name=spec.name)
            with signals.blocked():
                process.start()
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()  # the worker's end is the worker's alone, so that we see when it goes
        return process, ours

    def _reaped(self, child: Child) -> None:
        try:
            self.loaded.plugins.hook.worker_stopped(worker=child.spec.name)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # an observer's fault is never the supervisor's
            self._log.error("plugin.raised", hook="worker_stopped", error=repr(error))
        if child in self._leaving and child.state == "EXITED" and not self._stopping:
            self._leaving.remove(child)

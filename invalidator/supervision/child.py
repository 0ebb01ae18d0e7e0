"""One worker through all the processes that are it, one after another: its state in words that operators know.

It is replaced without a pause (make before break): the successor starts beside it, and only when that one is ready and
subscribed is the elder asked to end. So up to two processes stand for one worker: the one in charge, and either one
that is to be, or one that was and purges what it still has.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from msgspec.structs import replace

from invalidator.backoff import equal_jitter
from invalidator.channel import Orders
from invalidator.supervision.deaths import Deaths
from invalidator.supervision.handover import READY_WITHIN, Birth, Handover
from invalidator.supervision.history import History
from invalidator.supervision.incarnation import exit_text, rest_of
from invalidator.supervision.metrics import Totals, WorkerView
from invalidator.supervision.recycling import Recycling
from invalidator.supervision.reload import heard_on
from invalidator.supervision.remains import remains

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.logs import Logger
    from invalidator.slots import Snapshot
    from invalidator.status import WorkerState
    from invalidator.supervision.accounts import Errors
    from invalidator.supervision.contact import Watch
    from invalidator.supervision.incarnation import Incarnation
    from invalidator.topology.models import SupervisorSettings, Topology, WorkerSpec


class Child:
    """A worker of the topology."""

    def __init__(self, spec: WorkerSpec, topology: Topology, log: Logger, errors: Errors, now: float) -> None:
        self.spec = spec
        self.topology = topology
        self.current: Incarnation | None = None
        self.successor: Incarnation | None = None
        self.leaving: Incarnation | None = None
        self.handover: Handover | None = None
        self.orders = Orders(rest=rest_of(topology.supervisor))
        self.history = History()
        self.totals = Totals()
        self._log = log.bind(worker=spec.name)
        self.deaths = Deaths(spec.name, self._log, errors, now)
        self._recycling = Recycling()
        self._tried: Handover | None = None
        self._is_over = False
        self._is_proof = False
        self._starts = 0
        self._sampled: tuple[tuple[int | None, int], ...] | None = None

    def __iter__(self) -> Iterator[Incarnation]:
        """Its processes that have not been reaped, the one in charge first."""
        return (one for one in (self.current, self.successor, self.leaving) if one is not None)

    @property
    def state(self) -> WorkerState:
        """That of the process in charge; without one, what is being waited for."""
        if self.current:
            return self.current.state
        if self._is_over:
            return "STOPPING" if any(True for _ in self) else "EXITED"
        return "BACKOFF"

    @property
    def pid(self) -> int | None:
        """The process in charge, if there is one."""
        return self.current.pid if self.current else None

    def is_up(self) -> bool:
        """Whether it runs and is ready."""
        return self.state == "RUNNING"

    def is_subscribed(self, now: float) -> bool:
        """Whether its subscription is known to be alive."""
        return self.current is not None and self.current.is_subscribed(now)

    def is_settled(self, now: float) -> bool:
        """Whether it is as it is to be: up and subscribed, and one process."""
        return self.is_up() and self.is_subscribed(now) and not (self.handover or self.successor or self.leaving)

    def uptime(self, now: float) -> float | None:
        """Seconds since the process in charge was forked."""
        return now - self.current.began if self.current else None

    def words(self) -> Snapshot:
        """Its counters, over all the processes that it has been and is."""
        return self.totals.plus([one.words() for one in self], [lane.backend for lane in self.spec.backends])

    def sample(self, now: float) -> None:
        """Have its history go on, if it is time."""
        if self.history.next_due(now) > 0:
            return
        standing = tuple((one.pid, one.region.changes()) for one in self)
        if standing == self._sampled:
            self.history.repeat(now)  # to read and sum up all words of an idle worker is most of what it costs us
        else:
            self.history.add(now, self.words())
        self._sampled = standing

    def view(self, now: float) -> WorkerView:
        """What the metrics show of it."""
        return WorkerView(self.spec.name, self.words(), self.is_up(), self.is_subscribed(now), self.deaths.restarts)

    def order(
        self,
        *,
        paused: bool | None = None,
        tapped: bool | None = None,
        retries: dict[str, int] | None = None,
        rest: float | None = None,
    ) -> None:
        """Want something else of its processes from now on, and of their successors."""
        wanted = {"paused": paused, "tapped": tapped, "retries": retries, "rest": rest}
        changed = {name: value for name, value in wanted.items() if value not in (None, getattr(self.orders, name))}
        if changed:
            self.orders = replace(self.orders, **changed)
            for one in self:
                one.contact.order(replace(one.contact.orders, **changed))

    def next_due(self, now: float, settings: SupervisorSettings) -> float:
        """Seconds until something has to be done with it, if nothing happens before."""
        due = [one.next_due(now, settings) for one in self]
        if self.state == "BACKOFF":
            due.append(self.deaths.due - now)
        if self.successor:
            due.append(self.successor.began + READY_WITHIN - now)
        elif self.handover and self.handover.due > now:  # one that only waits for others is woken by what they do
            due.append(self.handover.due - now)
        elif self.current and not self.handover:
            due.append(self._recycling.next_due(self.current, now))
        return max(0.0, min(due, default=float("inf")))

    def is_due(self, now: float) -> bool:
        """Whether it is time to fork a process that is in charge at once, as there is none."""
        return self.state == "BACKOFF" and now >= self.deaths.due

    def is_handing_over(self) -> bool:
        """Whether it has a second process because of a handover."""
        return self.successor is not None or self.leaving is not None

    def wants_successor(self, now: float) -> bool:
        """Whether it is time to fork one that is to take over."""
        if self.handover is None or self.current is None or self.is_handing_over():
            return False
        return self.current.state != "STOPPING" and now >= self.handover.due

    def birth(self, code: object) -> Birth:
        """What the process is made from that is due. `code` is that of all plugins."""
        wanted, current = self.handover, self.current
        if wanted is None or current is None:
            return Birth(self.spec, self.topology, self.orders, is_restart=self._starts > 0)
        heard: frozenset[str] = frozenset()  # a proof is one about one server, and one reading of its messages
        if current.code == code and current.server:
            heard = heard_on(current.topology, current.spec, wanted.topology, wanted.spec)
        orders = replace(self.orders, predecessor="hears")
        return Birth(wanted.spec, wanted.topology, orders, is_restart=True, heard=heard)

    def begin(self, one: Incarnation) -> None:
        """It has been forked, as `birth` said."""
        self._starts += 1
        if self.current is None:
            self.current = one
            self._log.info("worker.forked", pid=one.pid)
        else:
            self.successor, self._tried = one, self.handover
            self._log.info("worker.successor_forked", pid=one.pid, beside=self.pid)

    def unborn(self, error: str, now: float) -> None:
        """It could not be forked. A process that is there goes on."""
        if self.current is None or self.handover is None:
            self.deaths.unborn(error, now, self.topology.supervisor.restart)
        else:
            self._retry(self.handover, "unborn", error, now)

    def look(self, now: float, settings: SupervisorSettings) -> None:
        """Notice what its processes say of themselves, and do what follows from that."""
        for one in self:
            one.look(now, settings)
        if self.current and self.current.was_ready and not self.handover:
            self.deaths.forgive(now)
        if self.successor and self._is_wanted(self.successor, now):
            self._take_over(self.successor, now)
        elif self.successor and now - self.successor.began > READY_WITHIN:
            self.successor.kill("early")
        if self.leaving and self._has_heard_out(self.leaving):
            self._tell_of_predecessor(heard_out=True)
        if self.current and self.is_up() and not self.handover and (why := self._recycling.wanted(self.current, now)):
            self._log.info("worker.recycled", pid=self.pid, reason=why)
            self.restart(now, "recycled")

    def excuse(self, now: float) -> None:
        """The supervisor itself was held up until now: a silence before says nothing about the worker."""
        for one in self:
            one.excuse(now)

    def stop(self, now: float, timeout: float) -> None:
        """Ask all its processes to end, for good; `look` kills them once `timeout` seconds have passed."""
        self.handover = None  # a successor that was under way is not wanted any more
        self._is_over = True
        for one in self:
            one.ask_to_end(now + timeout)

    def kill(self) -> None:
        """End it at once."""
        for one in self:
            one.kill()

    def replace(self, spec: WorkerSpec, topology: Topology, now: float, reason: str = "reload") -> None:
        """Run this from now on. The process that there is goes on until its successor is ready."""
        if self.current is None:
            self.spec, self.topology, self.handover = spec, topology, None
            self.deaths.forgive(now)
            return
        self.handover = Handover(spec, topology, reason, due=now)
        if self.successor:
            self.successor.kill()  # it is none of this one
        if self._breaks_first(self.current):
            self.current.ask_to_end(now + topology.supervisor.stop_timeout)

    def restart(self, now: float, reason: str = "requested") -> None:
        """Replace the process by another one of the same."""
        wanted = self.handover
        if wanted is None:
            self.replace(self.spec, self.topology, now, reason)
        elif wanted.failures:
            self.replace(wanted.spec, wanted.topology, now, reason)
        # else: what is under way is what was asked for

    def watch_by(self, settings: SupervisorSettings, now: float) -> None:
        """From now on its processes are watched by these settings, whatever else they go on with."""
        self.order(rest=rest_of(settings))
        self.excuse(now)  # a rest that was short enough before may be too long now, until it has heard of it

    def adopt(self, spec: WorkerSpec, topology: Topology) -> None:
        """A new topology says the same of it: the process goes on, and its successors are made from the new one."""
        if self.handover:
            self.handover.spec, self.handover.topology = spec, topology
        else:
            self.spec, self.topology = spec, topology

    def reap(self, now: float, watch: Watch) -> bool:
        """Whether a process of it has ended since the last call; what follows from that is decided here."""
        ended = [one for one in self if one.exitcode is not None]
        for one in ended:
            one.contact.hear_out(watch)
            code, words = one.bury()
            if one is self.successor:
                self._successor_ended(one, code, words, now)
            elif one is self.leaving:
                self._predecessor_ended(one, code, words)
            else:
                self._current_ended(one, code, words, now)
        return bool(ended)

    def _breaks_first(self, current: Incarnation) -> bool:
        # One that has never been ready is no use to anybody beside its successor.
        return current.state != "RUNNING"

    def _is_wanted(self, successor: Incarnation, now: float) -> bool:
        # One that a later reload has killed may still look well until it is reaped. To take over then would end the
        # elder for it, make a gap, and forget what that reload wants.
        return self.handover is self._tried and successor.is_well(now)

    def _take_over(self, successor: Incarnation, now: float) -> None:
        elder, self.current, self.successor, self.leaving = self.current, successor, None, self.current
        assert elder is not None  # noqa: S101  # without one, the successor would be the one in charge
        assert self.handover is not None  # noqa: S101  # or there would be no successor
        self.spec, self.topology = successor.spec, successor.topology
        self.deaths.planned(self.handover.reason)
        self._log.info("worker.handed_over", reason=self.handover.reason, elder=elder.pid, pid=successor.pid)
        self.handover = None
        self._is_proof = successor.hears_as(elder)
        if not self._is_proof:
            self._tell_of_predecessor(heard_out=False)  # a failover in between: neither may have heard what came then
        # First the order, then the signal: without it, the elder would end without a proof of what it has heard.
        elder.contact.order(replace(elder.contact.orders, has_successor=True))
        elder.ask_to_end(now + self.topology.supervisor.stop_timeout)

    def _tell_of_predecessor(self, *, heard_out: bool, flush: tuple[str, ...] = ()) -> None:
        if self.current:
            orders = self.current.contact.orders
            said = "done" if heard_out else "failed"
            self.current.contact.order(replace(orders, predecessor=said, flush=flush or orders.flush))

    def _current_ended(self, one: Incarnation, code: int, words: Snapshot, now: float) -> None:
        pid, self.current = one.pid, None
        if self._is_over:
            self.totals.fold(words, remains(self.topology, self.spec, words))
            self._log.info("worker.stopped", pid=pid, exit=code)
            return
        wanted, self.handover = self.handover, None
        if wanted:
            self.spec, self.topology = wanted.spec, wanted.topology
        self.totals.fold(words, remains(self.topology, self.spec, words))
        if wanted and one.state == "STOPPING":
            self.deaths.planned(wanted.reason)
            self.deaths.forgive(now)
            self._log.info("worker.restarting", pid=pid, reason=wanted.reason, exit=code)
            return
        reason = one.reason(code)
        self.deaths.died(reason, exit_text(code), now, self.topology.supervisor.restart, was_ready=one.was_ready)
        self._log.warning("worker.restarting", pid=pid, reason=reason, exit=code, delay=self.deaths.due - now)
        if self.successor:
            self.current, self.successor = self.successor, None
            self._tell_of_predecessor(heard_out=False)

    def _successor_ended(self, one: Incarnation, code: int, words: Snapshot, now: float) -> None:
        self.successor = None
        # What it had pending for these, the elder has heard too, and purges.
        self.totals.fold(words, remains(self.topology, self.spec, words, one.heard))
        wanted = self.handover
        if wanted is None or wanted is not self._tried:
            self._log.info("worker.stopped", pid=one.pid, exit=code)
            return
        reason = one.reason(code)
        self.deaths.restarts[reason] += 1
        trouble = one.contact.account.hindrance()
        self._retry(wanted, trouble.reason if trouble else reason, trouble.detail if trouble else exit_text(code), now)

    def _retry(self, wanted: Handover, reason: str, detail: str, now: float) -> None:
        pace = wanted.topology.supervisor.restart
        delay = equal_jitter(wanted.failures + 1, pace.first, pace.longest, random.random())
        wanted.failed(self.deaths.tell("successor failed", reason, detail), now + delay)
        self._log.warning("worker.successor_failed", reason=reason, detail=detail, pid=self.pid, delay=delay)

    def _predecessor_ended(self, one: Incarnation, code: int, words: Snapshot) -> None:
        self.leaving = None
        account = one.contact.account
        undone = tuple(lane.backend for lane in one.spec.backends) if account.undone is None else account.undone
        self.totals.fold(words, remains(self.topology, self.spec, words))
        heard_out = self._has_heard_out(one)
        self._tell_of_predecessor(heard_out=heard_out, flush=undone)
        say = self._log.warning if undone or not heard_out else self._log.info
        say("worker.stopped", pid=one.pid, exit=code, heard_out=heard_out, undone=undone)

    def _has_heard_out(self, predecessor: Incarnation) -> bool:
        # What it has heard elsewhere proves nothing. Only its latest orders count for a successor that was busy.
        return self._is_proof and predecessor.contact.account.heard_out

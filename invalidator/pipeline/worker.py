"""The whole: one worker's loop. A message arrives, is decoded, coalesced, dispatched, purged and acknowledged.

`run` is the life of the process and `turn` is the path of a message; each line of it is one file of this folder.
"""

from __future__ import annotations

import select
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from invalidator.channel import Drained, HeardOut
from invalidator.messages import Gap
from invalidator.pipeline.collector import Collector
from invalidator.slots import READY, STOPPING, clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.logs import Logger
    from invalidator.pipeline.delivery import Delivery
    from invalidator.pipeline.dispatcher import Dispatcher
    from invalidator.pipeline.inheritance import Inheritance
    from invalidator.pipeline.intake import Intake
    from invalidator.pipeline.liaison import Liaison
    from invalidator.pipeline.publishers import Publishers
    from invalidator.signals import Signals, Waker
    from invalidator.slots import WorkerSlots
    from invalidator.subscription.subscriber import Subscriber
    from invalidator.wire.sideline import Sideline

Woken = Literal["", "messages", "lanes"]
"""What ended a wait, if that was nothing but messages, or answers to what lanes have sent."""
TENDED_EVERY = 0.005
"""Seconds for which nothing but messages is looked at while these come one by one: the next would wait for the rest."""
READY_PATIENCE = 6.0
"""Seconds that a start's flush may keep a worker from being ready: a cache that hangs must not keep the daemon down."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process brings along: its signals, what ends its wait, and its ties to the supervisor.

    `lifeline` is a pipe that ends with the supervisor, `liaison` what the two say to each other. `sideline` asks the
    Redis of the messages what their own connection cannot, and `publishers` are told there that the worker lives, and
    what became of their messages. `inheritance` is what another process hears for this one.
    """

    signals: Signals
    waker: Waker
    lifeline: int
    liaison: Liaison
    sideline: Sideline
    publishers: Publishers
    inheritance: Inheritance


@dataclass(frozen=True, slots=True)
class Events:
    """Whom a worker tells: the supervisor that its state has changed, and plugins of a Gap and of being ready."""

    announce: Callable[[], None]
    gap: Callable[[Gap], None]
    ready: Callable[[], None]


class Worker:
    """Everything that one process does for one channel pattern. Made of parts that can each be tried alone."""

    def __init__(
        self,
        subscriber: Subscriber,
        intake: Intake,
        delivery: Delivery,
        dispatcher: Dispatcher,
        slots: WorkerSlots,
        surroundings: Surroundings,
        events: Events,
        log: Logger,
    ) -> None:
        self._subscriber = subscriber
        self._intake = intake
        self._delivery = delivery
        self._dispatcher = dispatcher
        self._slots = slots
        self._surroundings = surroundings
        self._events = events
        self._liaison = surroundings.liaison
        self._publishers = surroundings.publishers
        self._inheritance = surroundings.inheritance
        self._log = log
        self._collector = Collector(clock())
        self._confirmed: float | None = None
        self._ready = self._orphaned = self._subscribed = False
        self._tended = 0.0
        self._woken: Woken = ""
        self._silent: frozenset[int | None] = frozenset()
        """What the last wait has found to have nothing to read. To ask each again costs most of an idle turn."""

    def run(self, stop_timeout: float) -> None:
        """Work until told to stop, then purge what is pending within `stop_timeout` seconds."""
        while not self._must_stop():
            self.turn(self._wait())
        self._slots.state(STOPPING)
        deadline = clock() + stop_timeout
        if not self._orphaned:
            self._hear_out(clock() + stop_timeout / 2)
        self._subscriber.close()
        self._vouch()
        if not self._orphaned:
            self._hand_over(clock() + stop_timeout / 2)
            self._liaison.say(Drained(self._dispatcher.stop(deadline)))
            self._delivery.stop(deadline)
            self._publishers.stop(deadline, has_successor=self._liaison.orders.has_successor)
        self._surroundings.sideline.close()
        self._slots.beat(clock())

    def _hear_out(self, deadline: float) -> None:
        """Take what Redis has sent us by now: it counts as delivered there, and will not be sent again."""
        self.turn(clock())
        if self._liaison.orders.has_successor:
            self._subscriber.sound_out(clock())
            while self._subscriber.is_sounding() and not self._orphaned and clock() < deadline:
                self.turn(self._wait())
        while self._subscriber.behind and clock() < deadline:
            self.turn(clock())
        if self._subscriber.behind:
            self._log.error("worker.cut_off", unread_bytes=self._subscriber.behind)

    def _hand_over(self, deadline: float) -> None:
        """To a successor, which has heard everything since: say so, and go on purging while something waits its time.

        From here on the successor vouches, so ours has been taken back before. A stop makes rebounds and delays short.
        """
        if not self._subscriber.is_heard_out:
            return
        self._liaison.say(HeardOut())
        self._events.announce()
        while not (self._dispatcher.is_idle() or self._liaison.orders.paused or self._orphaned or clock() > deadline):
            self._slots.beat(clock())
            self._liaison.turn(clock(), self._subscriber, self._delivery, self._dispatcher)
            self._dispatcher.turn()
            self._surroundings.sideline.turn()
            self._publishers.turn(clock())
            self._wait()

    def turn(self, now: float) -> None:
        """One turn of the loop: what has arrived goes all the way down; then what has become due is done."""
        woken, self._woken = self._woken, ""
        silent, self._silent = self._silent, frozenset()
        self._slots.beat(now)
        is_due = now >= self._tended + TENDED_EVERY
        if not (woken and self._ready):
            self._obey(now, silent)
            woken = ""
        is_plain = (woken == "lanes" and not is_due) or self._hear(now, silent)
        self._dispatcher.turn()  # purged and acknowledged: here, or on the lanes' own threads
        if woken and (is_due or not is_plain):
            self._obey(now, silent)
            self._dispatcher.turn()  # a resume, say, has more to be purged before anything is vouched for
            woken = ""
        if not woken:
            self._tended = now
            self._tend(now)
        # Last: what was asked in this turn goes out at once, and the answer to an echo may have come with the echo.
        self._surroundings.sideline.turn()

    def _hear(self, now: float, silent: frozenset[int | None]) -> bool:
        """Whether nothing but messages has come, on a subscription that goes on."""
        is_plain = True
        looked = self._subscriber.fileno() in silent
        for arrived in self._subscriber.turn(now, hold=self._delivery.is_crowded(), looked=looked):  # arrives
            if isinstance(arrived, Gap):
                is_plain = False
                self._gap(arrived, now)
            else:
                invalidations = self._intake.take(arrived)  # decoded
                self._delivery.heard(invalidations, now)  # coalesced and dispatched, lane by lane
        for gap in self._delivery.turn(now):
            is_plain = False
            # One outage is one Gap: another server is told of when the subscription is back, and is repaired already.
            if gap.cause != "role" or self._subscriber.state == "live":
                self._declare(gap)
        return is_plain and self._subscriber.state == "live"

    def _obey(self, now: float, silent: frozenset[int | None]) -> None:
        """What the supervisor wants, before anything is done; but messages that come one by one do not wait for it."""
        looked = self._liaison.fileno() in silent
        self._liaison.turn(now, self._subscriber, self._delivery, self._dispatcher, looked=looked)
        self._inherit(now)
        self._surroundings.sideline.turn()

    def _tend(self, now: float) -> None:
        """All that no message waits for."""
        self._publishers.turn(now)
        self._liaison.unheard(self._publishers.trouble)
        self._vouch()
        self._become_ready()
        self._collector.turn(now)

    def _wait(self) -> float:
        poll = select.poll()
        poll.register(self._surroundings.waker, select.POLLIN)
        poll.register(self._surroundings.lifeline, select.POLLIN)
        messages, answers = self._subscriber.fileno(), self._dispatcher.filenos()
        for fd in (messages, *answers, self._liaison.fileno()):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        now = clock()
        seconds = min(self._liaison.next_due(now, self._dispatcher), self._subscriber.next_due(now))
        seconds = min(seconds, self._delivery.next_due(now), self._publishers.next_due(now))
        seconds = min(seconds, self._dispatcher.next_due(now), self._liaison.rest)
        # poll() takes milliseconds and a wait that is rounded down would spin until its time has come.
        ready = [fd for fd, _ in poll.poll(int(seconds * 1000 + 0.999))]
        self._silent = frozenset({messages, self._liaison.fileno()}.difference(ready))
        others = [fd for fd in ready if fd not in answers]
        self._woken = "" if not ready else "lanes" if not others else "messages" if others == [messages] else ""
        if self._surroundings.waker.fileno() in others:
            self._surroundings.waker.drain()
        self._orphaned = self._orphaned or self._surroundings.lifeline in others
        return clock()

    def _must_stop(self) -> bool:
        # The lifeline's other end is the supervisor's alone: at its end of file, nobody is left to work for.
        return self._orphaned or signal.SIGTERM in self._surroundings.signals.take()

    def _inherit(self, now: float) -> None:
        """What our predecessor has left for us to repair."""
        orders = self._liaison.orders
        if gap := self._inheritance.learn(orders):
            self._gap(gap, now)
        if undone := self._inheritance.undone(orders):
            self._delivery.make_up_for(undone, now)
            self._liaison.inherit(undone)

    def _gap(self, gap: Gap, now: float) -> None:
        if self._inheritance.holds_back(gap):
            self._delivery.take_over(gap, now, self._inheritance.heard)
            self._confirmed = self._confirmed or now
            return
        if gap.cause != "start":
            self._slots.add(f"reconnect:{gap.cause}")
        self._delivery.gap(gap, now)
        self._confirmed = self._confirmed or now
        self._declare(gap)

    def _declare(self, gap: Gap) -> None:
        self._slots.add(f"gap:{gap.cause}")
        self._slots.add("gap_ns", int((gap.ended - gap.began) * 1e9))
        if gap.cause != "start":
            self._log.warning("gap", cause=gap.cause, seconds=gap.ended - gap.began)
        self._events.gap(gap)

    def _vouch(self) -> None:
        until = self._delivery.proven_until(self._subscriber.alive_until(), clock())
        self._slots.subscribed_until(until)
        self._slots.server(self._subscriber.server)
        # A predecessor that has not heard everything yet still vouches for what it hears, and we do not for that.
        current = self._delivery.current_until(self._subscriber.current_until())
        self._dispatcher.vouch(current if self._inheritance.may_vouch else 0.0)
        if (until > 0) != self._subscribed:
            self._subscribed = until > 0
            self._events.announce()

    def _become_ready(self) -> None:
        if self._ready or self._confirmed is None:
            return
        if not self._delivery.is_settled():
            return  # the promise is not there yet, and waiting for it has no end
        settled = self._dispatcher.is_settled() and self._publishers.has_spoken
        if settled or clock() - self._confirmed > READY_PATIENCE:
            self._ready = True
            self._slots.state(READY)
            self._log.info("worker.ready", flushed=not self._dispatcher.is_flushing())
            self._events.ready()
            self._events.announce()

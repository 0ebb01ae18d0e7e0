"""The whole: one worker's loop. A message arrives, is decoded, coalesced, dispatched, purged and acknowledged.

`run` is the life of the process and `turn` is the path of a message; each line of it is one file of this folder.
"""

from __future__ import annotations

import select
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.errors import DecodeError
from invalidator.logs import Logger, Occasionally
from invalidator.messages import Gap, Invalidation, Message
from invalidator.slots import READY, STOPPING, clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from invalidator.messages import RejectReason
    from invalidator.pipeline.dispatcher import Dispatcher
    from invalidator.pipeline.liaison import Liaison
    from invalidator.pipeline.subscriber import Subscriber
    from invalidator.signals import Signals, Waker
    from invalidator.slots import WorkerSlots

LONGEST_WAIT = 0.25
"""Seconds between two beats of an idle loop: far below any deadline that somebody measures them by."""
READY_PATIENCE = 6.0
"""Seconds that a start's flush may keep a worker from being ready: a cache that hangs must not keep the daemon down."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process brings along: its signals, what ends its wait, and its ties to the supervisor.

    `lifeline` is a pipe that ends with the supervisor, `liaison` what the two say to each other.
    """

    signals: Signals
    waker: Waker
    lifeline: int
    liaison: Liaison


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
        decode: Callable[[Message], Invalidation],
        dispatcher: Dispatcher,
        slots: WorkerSlots,
        surroundings: Surroundings,
        events: Events,
        log: Logger,
        *,
        flush_on_start: bool,
    ) -> None:
        self._subscriber = subscriber
        self._decode = decode
        self._dispatcher = dispatcher
        self._slots = slots
        self._surroundings = surroundings
        self._events = events
        self._liaison = surroundings.liaison
        self._log = log
        self._flush_on_start = flush_on_start
        self._seldom = Occasionally(10.0)
        self._confirmed: float | None = None
        self._ready = self._orphaned = self._subscribed = False

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
            self._dispatcher.stop(deadline)
        self._slots.beat(clock())

    def _hear_out(self, deadline: float) -> None:
        """Take what Redis has sent us by now: it counts as delivered there, and will not be sent again."""
        self.turn(clock())
        while self._subscriber.behind and clock() < deadline:
            self.turn(clock())
        if self._subscriber.behind:
            self._log.error("worker.cut_off", unread_bytes=self._subscriber.behind)

    def turn(self, now: float) -> None:
        """One turn of the loop: what has arrived goes all the way down; then what has become due is done."""
        self._slots.beat(now)
        self._liaison.turn(now, self._subscriber, self._dispatcher)
        for arrived in self._subscriber.turn(now):  # arrives
            if isinstance(arrived, Gap):
                self._gap(arrived, now)
            else:
                invalidations = self._decoded(arrived)  # decoded
                self._dispatcher.dispatch(invalidations, now)  # coalesced and dispatched, lane by lane
        self._dispatcher.turn()  # purged and acknowledged: here, or on the lanes' own threads
        self._vouch()
        self._become_ready()

    def _wait(self) -> float:
        poll = select.poll()
        poll.register(self._surroundings.waker, select.POLLIN)
        poll.register(self._surroundings.lifeline, select.POLLIN)
        for fd in (self._subscriber.fileno(), self._liaison.fileno()):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        now = clock()
        seconds = min(LONGEST_WAIT, self._subscriber.next_due(now), self._dispatcher.next_due(now))
        # poll() takes milliseconds and a wait that is rounded down would spin until its time has come.
        for fd, _ in poll.poll(int(seconds * 1000 + 0.999)):
            if fd == self._surroundings.waker.fileno():
                self._surroundings.waker.drain()
            self._orphaned = self._orphaned or fd == self._surroundings.lifeline
        return clock()

    def _must_stop(self) -> bool:
        # The lifeline's other end is the supervisor's alone: at its end of file, nobody is left to work for.
        return self._orphaned or signal.SIGTERM in self._surroundings.signals.take()

    def _decoded(self, messages: Iterable[Message]) -> list[Invalidation]:
        invalidations = []
        received = 0
        for message in messages:
            received += 1
            try:
                invalidation = self._decode(message)
            except DecodeError as error:
                self._reject(error.reason, message, str(error))
                if self._liaison.tap.on:
                    self._liaison.tap.heard(message, Invalidation((), rejected=(error.reason,)))
                continue
            invalidations.append(invalidation)
            if self._liaison.tap.on:
                self._liaison.tap.heard(message, invalidation)
            for reason in invalidation.rejected:
                self._reject(reason, message, f"one target: {reason}")
        self._slots.add("received", received)
        self._slots.last_message(time.time())
        return invalidations

    def _reject(self, reason: RejectReason, message: Message, detail: str) -> None:
        self._slots.add(f"rejected:{reason}")
        held = self._seldom.due(reason, clock())
        if held is not None:
            channel = message.channel.decode("utf-8", "backslashreplace")
            self._log.warning("message.rejected", reason=reason, channel=channel, detail=detail, held_back=held)

    def _gap(self, gap: Gap, now: float) -> None:
        self._slots.add(f"gap:{gap.cause}")
        self._slots.add("gap_ns", int((gap.ended - gap.began) * 1e9))
        if gap.cause != "start":
            self._slots.add(f"reconnect:{gap.cause}")
            self._log.warning("gap", cause=gap.cause, seconds=gap.ended - gap.began)
        # Memory is flushed at every start: it costs a refill, and an application may have outlived the last daemon.
        self._dispatcher.flush(gap, now, only_inline=gap.cause == "start" and not self._flush_on_start)
        self._confirmed = self._confirmed or now
        self._events.gap(gap)

    def _vouch(self) -> None:
        until = self._subscriber.alive_until()
        self._slots.subscribed_until(until)
        self._dispatcher.vouch(self._subscriber.current_until())
        if (until > 0) != self._subscribed:
            self._subscribed = until > 0
            self._events.announce()

    def _become_ready(self) -> None:
        if self._ready or self._confirmed is None:
            return
        settled = self._dispatcher.is_settled()
        if settled or clock() - self._confirmed > READY_PATIENCE:
            self._ready = True
            self._slots.state(READY)
            self._log.info("worker.ready", flushed=not self._dispatcher.is_flushing())
            self._events.ready()
            self._events.announce()

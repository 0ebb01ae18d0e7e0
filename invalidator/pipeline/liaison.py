"""A worker's end of the channel to its supervisor: takes orders, and reports what has changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator.channel import LONGEST_TEXT, Orders, Subscription, Unheard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.channel import Channel, Drained, HeardOut, LaneReport, Retried
    from invalidator.pipeline.delivery import Delivery
    from invalidator.pipeline.dispatcher import Dispatcher
    from invalidator.pipeline.resend import Resends
    from invalidator.pipeline.tap import Tap
    from invalidator.subscription.subscriber import Subscriber

REPORT_SECONDS = 0.25
"""How often lanes are asked for what has changed, while they do something: a supervisor's picture is at most so old."""
_ANYWAY = 5.0
"""How often they are asked while they are at rest."""
_ORDERS_AT_ONCE = 8


class Liaison:
    """Turned by the worker's loop."""

    def __init__(self, channel: Channel, tap: Tap, orders: Orders, resends: Resends) -> None:
        self.tap = tap
        self._channel = channel
        self._orders = Orders()
        self._wanted = orders
        self._due = 0.0
        self._offers = -1
        self._is_restless = True
        self._unheard = ""
        self._subscription: Subscription | None = None
        self._shown: object = None
        self._lanes: dict[tuple[str, str], LaneReport] = {}
        self._resends = resends
        self._retried: list[Retried] = []

    def fileno(self) -> int | None:
        """What to wait for, while there is a supervisor."""
        return None if self._channel.closed else self._channel.fileno()

    def next_due(self, now: float, dispatcher: Dispatcher) -> float:
        """Seconds until `turn` should be called, but for the sake of orders.

        Lanes that are at rest have nothing new to say before they are given something.
        """
        return max(0.001, self._due - now if self._is_astir(dispatcher) else self._due + _ANYWAY - now)

    @property
    def rest(self) -> float:
        """For how many seconds the supervisor lets the loop wait at most."""
        return self._wanted.rest

    @property
    def orders(self) -> Orders:
        """What the supervisor wants, as it last said."""
        return self._wanted

    def say(self, packet: HeardOut | Drained) -> None:
        """Tell the supervisor something once. What it does not hear it takes for not being so."""
        self._channel.send(packet)

    def inherit(self, undone: Iterable[str]) -> None:
        """Our predecessor had to leave something undone for these backends."""
        self._resends.inherit(undone)

    def unheard(self, why: str) -> None:
        """Why publishers do not hear of this worker; empty: they do. Told when it changes."""
        if why != self._unheard and self._channel.send(Unheard(why[:LONGEST_TEXT])):
            self._unheard = why

    def turn(
        self, now: float, subscriber: Subscriber, delivery: Delivery, dispatcher: Dispatcher, *, looked: bool = False
    ) -> None:
        """Obey, and report. `now` is in monotonic seconds. `looked`: `fileno` had nothing to read just now."""
        for packet in () if looked else self._channel.receive(_ORDERS_AT_ONCE):
            if isinstance(packet, Orders):
                self._wanted = packet
        if self._wanted != self._orders:
            self._obey(self._wanted, dispatcher)
        self.tap.turn()
        self._report_subscription(subscriber, delivery, now)
        self._resend(dispatcher, now)
        if now >= self._due and (self._is_astir(dispatcher) or now >= self._due + _ANYWAY):
            self._due = now + REPORT_SECONDS
            # In this order: what one of them does meanwhile is seen now, or keeps us asking.
            self._offers, is_idle = dispatcher.offers, dispatcher.is_idle()
            told = [self._report_lane(report) for report in delivery.describe(dispatcher.describe())]
            self._is_restless = any(told) or not is_idle

    def _is_astir(self, dispatcher: Dispatcher) -> bool:
        """Whether there may be something to say, now or soon. A lane that has done all has nothing new to say of it."""
        asked = self.tap.on or self._resends.is_running or bool(self._retried)
        return self._is_restless or asked or dispatcher.offers != self._offers

    def _obey(self, orders: Orders, dispatcher: Dispatcher) -> None:
        if orders.paused and not self._orders.paused:
            dispatcher.pause()
        elif self._orders.paused and not orders.paused:
            dispatcher.resume()
        self.tap.on = orders.tapped
        self._orders = orders
        self._is_restless = True

    def _resend(self, dispatcher: Dispatcher, now: float) -> None:
        # Of two processes that are this worker one does it: the younger, once the elder only purges what is left.
        if not self._wanted.has_successor and self._wanted.predecessor != "hears":
            ended = self._resends.turn(self._wanted.retries, dispatcher, now)
            self._retried += ended
            self._is_restless = self._is_restless or bool(ended)
        while self._retried and self._channel.send(self._retried[0]):
            self._retried.pop(0)

    def _report_subscription(self, subscriber: Subscriber, delivery: Delivery, now: float) -> None:
        live = delivery.proven_until(subscriber.alive_until(), now) > 0
        reason, detail = subscriber.trouble if subscriber.trouble[0] else delivery.trouble
        known, shown = self._subscription, subscriber.shown
        if (seen := (live, reason, detail, shown)) == self._shown:
            return
        report = Subscription(
            at=known.at if known and known.live == live else time.time(),
            live=live,
            reason=reason,
            detail=detail[:LONGEST_TEXT],
            heartbeat=shown.by,
            heartbeat_detail=shown.detail[:LONGEST_TEXT],
        )
        if report == known or self._channel.send(report):
            self._subscription, self._shown = report, seen

    def _report_lane(self, report: LaneReport) -> bool:
        """Whether there is something new of it, told or not."""
        # A backend that fails at each attempt has something new to say each time: once in a report is enough.
        if self._lanes.get((report.backend, report.node)) == report:
            return False
        if self._channel.send(report):
            self._lanes[report.backend, report.node] = report
        return True

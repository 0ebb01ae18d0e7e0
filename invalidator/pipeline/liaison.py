"""A worker's end of the channel to its supervisor: takes orders, and reports what has changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator.channel import LONGEST_TEXT, Orders, Subscription

if TYPE_CHECKING:
    from invalidator.channel import Channel, LaneReport
    from invalidator.pipeline.dispatcher import Dispatcher
    from invalidator.pipeline.subscriber import Subscriber
    from invalidator.pipeline.tap import Tap

REPORT_SECONDS = 0.25
"""How often lanes are asked for what has changed: a supervisor's picture of them is at most so old."""
_ORDERS_AT_ONCE = 8


class Liaison:
    """Turned by the worker's loop."""

    def __init__(self, channel: Channel, tap: Tap, orders: Orders) -> None:
        self.tap = tap
        self._channel = channel
        self._orders = Orders()
        self._wanted = orders
        self._due = 0.0
        self._subscription: Subscription | None = None
        self._lanes: dict[tuple[str, str], LaneReport] = {}

    def fileno(self) -> int | None:
        """What to wait for, while there is a supervisor."""
        return None if self._channel.closed else self._channel.fileno()

    def turn(self, now: float, subscriber: Subscriber, dispatcher: Dispatcher) -> None:
        """Obey, and report. `now` is in monotonic seconds."""
        for packet in self._channel.receive(_ORDERS_AT_ONCE):
            if isinstance(packet, Orders):
                self._wanted = packet
        if self._wanted != self._orders:
            self._obey(self._wanted, dispatcher)
        self.tap.turn()
        self._report_subscription(subscriber)
        if now >= self._due:
            self._due = now + REPORT_SECONDS
            for report in dispatcher.describe():
                self._report_lane(report)

    def _obey(self, orders: Orders, dispatcher: Dispatcher) -> None:
        if orders.paused and not self._orders.paused:
            dispatcher.pause()
        elif self._orders.paused and not orders.paused:
            dispatcher.resume()
        self.tap.on = orders.tapped
        self._orders = orders

    def _report_subscription(self, subscriber: Subscriber) -> None:
        live = subscriber.alive_until() > 0
        reason, detail = subscriber.trouble
        known = self._subscription
        if known and (known.live, known.reason, known.detail) == (live, reason, detail[:LONGEST_TEXT]):
            return
        report = Subscription(at=time.time(), live=live, reason=reason, detail=detail[:LONGEST_TEXT])
        if self._channel.send(report):
            self._subscription = report

    def _report_lane(self, report: LaneReport) -> None:
        # A backend that fails at each attempt has something new to say each time: once in a report is enough.
        if self._lanes.get((report.backend, report.node)) != report and self._channel.send(report):
            self._lanes[report.backend, report.node] = report

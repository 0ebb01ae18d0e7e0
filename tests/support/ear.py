"""A Subscriber with the loop that a worker would turn it with: what it has heard, and what it took for a Gap."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from invalidator import logs
from invalidator.messages import Gap, Message
from invalidator.signals import Waker
from invalidator.subscription.subscriber import Subscriber
from invalidator.topology.models import RedisSettings
from invalidator.wire.connection import Connector, connect
from invalidator.wire.route import route_to
from invalidator.wire.sideline import sideline_to

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL, DEADLINE = 0.1, 0.4


def settings(url: str, **more: object) -> RedisSettings:
    heartbeat = {"interval": "100ms", "deadline": "400ms"}
    backoff = {"first": "10ms", "longest": "100ms"}
    return RedisSettings.model_validate({"url": url, "heartbeat": heartbeat, "backoff": backoff, **more})


class Ear:
    """With `echo`, it has a sideline, as every worker has."""

    def __init__(self, wanted: RedisSettings, pattern: str = "cache:*", *, echo: bool = False) -> None:
        self.waker = Waker()
        self.route = route_to(wanted)
        self.sideline = sideline_to(wanted, "ear", self.waker.wake, avoid=lambda: self.route.at) if echo else None
        connector = Connector(lambda: connect(self.route, "ear"), self.waker.wake, wanted.password_file)
        self.subscriber = Subscriber(wanted, pattern, connector, self.sideline, logs.get_logger(), time.monotonic())
        self.messages: list[Message] = []
        self.gaps: list[Gap] = []
        self.longest_turn = 0.0

    @property
    def causes(self) -> list[str]:
        return [gap.cause for gap in self.gaps]

    def turn(self) -> None:
        poll = select.poll()
        poll.register(self.waker, select.POLLIN)
        fd = self.subscriber.fileno()
        if fd is not None:
            poll.register(fd, select.POLLIN)
        poll.poll(int(min(0.05, self.subscriber.next_due(time.monotonic())) * 1000) + 1)
        began = time.monotonic()
        self.waker.drain()
        if self.sideline:
            self.sideline.turn()
        for event in self.subscriber.turn(time.monotonic()):
            if isinstance(event, Gap):
                self.gaps.append(event)
            else:
                self.messages += event
        if self.sideline:
            self.sideline.hand_over()
        self.longest_turn = max(self.longest_turn, time.monotonic() - began)

    def until(self, condition: Callable[[], object], deadline: float = 10.0) -> None:
        end = time.monotonic() + deadline
        while not condition():
            assert time.monotonic() < end, f"state {self.subscriber.state}, gaps {self.gaps}"
            self.turn()

    def turn_for(self, seconds: float) -> None:
        """Go on for so long: for what must not happen."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, seconds + 10)

    def lost(self) -> float:
        """Turn until the subscription is given up; the monotonic second of it."""
        self.until(lambda: self.subscriber.state != "live")
        return time.monotonic()

    def close(self) -> None:
        self.subscriber.close()
        self.route.close()
        if self.sideline:
            self.sideline.close()
            if self.sideline._thread:
                self.sideline._thread.join(5)  # or it would wake who is not there
        self.waker.close()

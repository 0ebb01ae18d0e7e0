"""Says in Redis that this worker is there, and what it hears and purges, for publishers that wait for everybody.

It asks the sideline and hears of the answer later: a Redis that hangs, or a user that may not write there, costs the
worker nothing but that such publishers do not know of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from redis import ResponseError
from redis.exceptions import NoPermissionError

from invalidator.presence import COMMANDS, INDEX, REMEMBERED
from invalidator.subscription.heartbeat import COMPANY
from invalidator.wire.sideline import Answered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.logs import Logger
    from invalidator.wire.connection import Refused
    from invalidator.wire.identity import Command
    from invalidator.wire.sideline import Sideline

RIGHTS = f"{COMMANDS} ~invalidator:*"
"""What it takes beside a subscription."""
_TOGETHER = 0.05
"""Intervals by which it may be early, to go out with an echo: one request costs less than two."""
_PRUNED_EVERY = 60.0
_LIFETIMES = 3
_SHORTEST = 10.0
"""A key outlives so many deadlines, and so many seconds, without a word. A worker that crashes, or has to wait for a
processor, is soon back, and a publisher that took it for gone would speak of success without it."""


class Attendance:
    """One worker's; called by its loop, in monotonic seconds. `deadline` is that of its heartbeat."""

    def __init__(
        self, sideline: Sideline, key: str, value: bytes, interval: float, deadline: float, log: Logger
    ) -> None:
        self.trouble = ""
        """Why publishers do not know of this worker; empty while they do."""
        self.has_spoken = False
        """Whether it was said once, or could not be."""
        self._sideline = sideline
        self._key = key
        self._value = value
        self._interval = max(interval, 0.5)
        self._lifetime = max(_SHORTEST, _LIFETIMES * deadline)
        self._log = log
        self._due = 0.0
        self._prune_due = 0.0
        self._asking = False
        self._server_time: tuple[float, float] | None = None

    def next_due(self, now: float) -> float:
        """Seconds until `turn` should be called: what is due waits a while for the next echo, to go out with it."""
        if self._asking:
            return float("inf")
        patience = self._interval * COMPANY if self.has_spoken else 0.0
        return max(0.0, self._due + patience - now)

    def turn(self, now: float) -> None:
        """Say it again, if it is time and the last word has arrived."""
        if self._asking or now < self._due - self._interval * _TOGETHER:
            return
        self._due = now + self._interval
        # The first time the worker waits for it, to be ready.
        self._asking = self._sideline.ask(self._commands(now), self._answered, urgent=not self.has_spoken)

    def stop(self) -> None:
        """Say that it is there no more."""
        self._sideline.ask([("DEL", self._key), ("ZREM", INDEX, self._key)], lambda _: None)

    def _commands(self, now: float) -> Sequence[Command]:
        at = self._servers_time(now)
        commands: list[Command] = [
            ("SET", self._key, self._value, "PX", int(self._lifetime * 1000)),
            ("ZADD", INDEX, at + self._lifetime, self._key),
            ("EXPIRE", INDEX, REMEMBERED),
            ("TIME",),
        ]
        if self._server_time and now >= self._prune_due:
            self._prune_due = now + _PRUNED_EVERY
            commands.append(("ZREMRANGEBYSCORE", INDEX, "-inf", at - REMEMBERED))
        return commands

    def _servers_time(self, now: float) -> float:
        # Everybody's entries are compared by one clock: the server's, as far as we know it.
        if self._server_time is None:
            return time.time()
        said, heard = self._server_time
        return said + now - heard

    def _answered(self, outcome: Answered | Refused) -> None:
        self._asking = False
        self.has_spoken = True
        if not isinstance(outcome, Answered):
            return  # that there is no connection is said elsewhere
        for reply in outcome.replies[:2]:
            if isinstance(reply, ResponseError):
                self._fail(reply)
                break
        else:
            self._recover()
        said = outcome.replies[3]
        if isinstance(said, list) and said:
            self._server_time = float(said[0]), outcome.asked

    def _fail(self, error: ResponseError) -> None:
        why, remedy = str(error), _remedy(error)
        if not self.trouble:
            self._log.warning("presence.refused", detail=why[:200], remedy=remedy)
        said = f"publish --wait does not see this worker: {why[:120]}"
        self.trouble = f"{said}; {remedy}" if remedy else said

    def _recover(self) -> None:
        if self.trouble:
            self._log.info("presence.accepted")
        self.trouble = ""


def _remedy(error: ResponseError) -> str:
    """What to do about it, for a person; empty where Redis' own words say it: it has no disk, no memory, no replicas.

    Advice to grant rights that are there sends people to the wrong place.
    """
    if isinstance(error, NoPermissionError):
        return f"grant {RIGHTS}"
    return f"delete the key {INDEX}: somebody else has written it" if "WRONGTYPE" in str(error) else ""

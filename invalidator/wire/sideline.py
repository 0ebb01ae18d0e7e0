"""A second connection to the same Redis, for what the connection of a subscription must not be asked.

The worker's loop asks and goes on; a thread waits for the answers, and the loop hears of them when it turns.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from redis.exceptions import ClusterDownError, ReadOnlyError

from invalidator.slots import clock
from invalidator.wire.connection import Refused, explain
from invalidator.wire.hub import Hub
from invalidator.wire.options import OF_FEW_WORDS
from invalidator.wire.route import route_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from invalidator.topology.models import RedisSettings
    from invalidator.wire.identity import Address, Command, Identity

MOST_WAITING = 64
"""Requests not answered yet. A Redis that hangs answers none of them, and more would only be older when it does."""
MOST_TOGETHER = 8
"""Requests that go out at once: what a worker asks in one turn of its loop costs one round trip."""
_NOT_HERE = (ReadOnlyError, ClusterDownError)
"""READONLY, CLUSTERDOWN and MASTERDOWN: answers of a server that is the right one no more."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The replies, one for each command: as Redis gave them, or the ResponseError that stands in the place of one.

    `asked` is the monotonic second at which they were sent, `server` who has answered; in a Cluster, commands with keys
    may have been answered by others.
    """

    replies: tuple[object, ...]
    asked: float
    server: Identity


@dataclass(frozen=True, slots=True)
class _Request:
    commands: Sequence[Command]
    then: Callable[[Answered | Refused], None]
    urgent: bool
    anew: bool


class Sideline:
    """Asks in the order in which it is asked, over connections that the Hub keeps. `wake` ends the loop's wait."""

    def __init__(self, hub: Hub, wake: Callable[[], None], *, looks_back: bool = True) -> None:
        self._hub = hub
        self._wake = wake
        self._looks_back = looks_back
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._held: list[_Request] = []
        self._outcomes: deque[tuple[_Request, Answered | Refused]] = deque()
        self._waiting = 0
        self._astray = False
        self._answers_as = ("", "")
        self._thread: threading.Thread | None = None

    def ask(
        self,
        commands: Sequence[Command],
        then: Callable[[Answered | Refused], None],
        *,
        urgent: bool = True,
        anew: bool = False,
    ) -> bool:
        """Send these, together and in this order; `turn` calls `then`. False: too many wait, and nothing is sent.

        In a Cluster, commands whose keys another node owns are sent again to that node, after the others. What is not
        `urgent` is sent at the next `hand_over`, and its answer waits until the loop turns for some other reason, but
        for one that is news. `anew`: over a new connection, as the one that is open may lead to a server that is the
        right one no more.
        """
        if self._waiting >= MOST_WAITING:
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sideline", daemon=True)
            self._thread.start()
        self._waiting += 1
        self._held.append(_Request(tuple(commands), then, urgent, anew))
        if urgent:
            self.hand_over()
        return True

    def hand_over(self) -> None:
        """Have what is held sent. The last that a loop does before it waits: a thread that is woken while the loop goes
        on has to fight with it for the interpreter, which costs both more than the request does."""
        held, self._held = self._held, []
        for request in held:
            self._requests.put(request)

    def turn(self) -> None:
        """Tell those who asked what has come back, on the caller's thread."""
        self.hand_over()
        while self._outcomes:
            request, outcome = self._outcomes.popleft()
            self._waiting -= 1
            request.then(outcome)

    def was_astray(self) -> bool:
        """Whether others have published at a former master until lately. Says so once.

        It is of no request: the one whose turn it was to look may be another's, who would not know what it means.
        """
        if not self._astray:
            return False
        self._astray = False
        return True

    def close(self) -> None:
        """End, once what was asked before has been answered. Does not wait for that."""
        self.hand_over()
        self._requests.put(None)

    def wait(self, seconds: float) -> None:
        """For that, after `close`, but no longer than so many seconds."""
        if self._thread:
            self._thread.join(seconds)

    def _run(self) -> None:
        for requests in self._together():
            try:
                outcomes: Sequence[Answered | Refused] = self._answers(requests)
            except Exception as error:  # noqa: BLE001  # whatever it is, who asked must hear of it or would wait for ever
                self._hub.hang_up()
                outcomes = [explain(error)] * len(requests)
            self._outcomes.extend(zip(requests, outcomes, strict=True))
            if any(request.urgent for request in requests) or self._is_news(outcomes[0]):
                self._wake()
            self._look_back()
        self._hub.close()

    def _together(self) -> Iterator[list[_Request]]:
        """What waits, as much of it at once as may go over one connection, until the word to end."""
        waiting: deque[_Request | None] = deque()
        while True:
            if not waiting:
                waiting.append(self._requests.get())
            while not self._requests.empty():
                waiting.append(self._requests.get())
            if (first := waiting.popleft()) is None:
                return
            requests = [first]
            while waiting and len(requests) < MOST_TOGETHER and (following := waiting[0]) and not following.anew:
                requests.append(following)
                waiting.popleft()
            yield requests

    def _answers(self, requests: Sequence[_Request]) -> list[Answered]:
        if requests[0].anew:
            self._hub.hang_up()
        self._hub.prepare()
        asked = clock()
        replies = self._hub.exchange(tuple(command for request in requests for command in request.commands))
        server = self._hub.server
        if any(isinstance(reply, _NOT_HERE) for reply in replies):
            self._hub.hang_up()
        rest = iter(replies)
        return [Answered(tuple(islice(rest, len(request.commands))), asked, server) for request in requests]

    def _is_news(self, outcome: Answered | Refused) -> bool:
        """Whether it is not what there has been before: nobody has answered, or refused it, or it was somebody else."""
        if isinstance(outcome, Refused) or any(isinstance(reply, Exception) for reply in outcome.replies):
            return True
        before, self._answers_as = self._answers_as, (outcome.server.run_id, outcome.server.role)
        return before != self._answers_as

    def _look_back(self) -> None:
        """At former masters, after the answer was told: one whose machine is gone costs a look its whole timeout."""
        try:
            if self._looks_back and self._hub.was_astray():
                self._astray = True
                self._wake()
        except Exception:  # noqa: BLE001  # nobody has asked for this, and whoever asks next is not to miss the thread
            self._hub.hang_up()


def sideline_to(
    settings: RedisSettings,
    worker: str,
    wake: Callable[[], None],
    *,
    key: str = "",
    avoid: Callable[[], Address | None] = lambda: None,
) -> Sideline:
    """A Sideline of this worker. In a Cluster: to the owner of `key`, else to another node than `avoid()`.

    It has a name of its own, so that nobody takes it for the subscription. A proxy or a name says where to go only to
    whoever connects: so it connects again when a heartbeat's deadline has passed.
    """
    route = route_to(settings, key=key, avoid=avoid)
    few_words = {} if key else OF_FEW_WORDS  # a journal's entries are many
    hub = Hub(route, f"invalidator-aside:{worker}", settings.heartbeat.deadline, **few_words)
    return Sideline(hub, wake, looks_back=not key)  # the journal's need not: one of a worker's does it for all

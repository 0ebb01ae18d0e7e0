"""Acknowledged to the publisher: one receipt for each of the worker's backends, when a message asks for it.

Nobody is ever held up by them. They go out over the sideline, a bounded number in a second; there is room for a bounded
number of messages that some servers of a backend have done and others have not, and the oldest goes for the next.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import ResponseError
from redis.exceptions import NoPermissionError

from invalidator.reply import Reply, is_answered, worst, written
from invalidator.slots import clock
from invalidator.wire.sideline import Answered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from invalidator.lanes.replies import Answer, Fate
    from invalidator.messages import Invalidation
    from invalidator.presence import Presence
    from invalidator.reply import Outcome
    from invalidator.wire.connection import Refused
    from invalidator.wire.identity import Command
    from invalidator.wire.sideline import Sideline

MOST_OPEN = 1_000
_MOST_HEARD = 10 * MOST_OPEN
MOST_A_SECOND = 2_000
"""Receipts: what somebody publishes must not make us publish without a bound."""
AT_ONCE = 100
OLDEST = 60.0
"""Seconds. Whoever published a message that is older waits no more: what a journal brings back is not answered."""
RIGHTS = "+publish &invalidator:reply:*"
_REST = 0.05
"""Seconds until the next look at what had to wait."""

Key = tuple[str | int, ...]
"""A message as its publisher knows it (its reply channel, id, place in the journal, and targets), and a backend."""


class End(NamedTuple):
    """What became of a message in one lane; `node` is the server that it is for."""

    outcome: Outcome
    reason: str = ""
    node: str = ""


class Correspondence:
    """One worker's, turned by its loop; times are monotonic seconds. `wake` ends the loop's wait.

    Of a backend with several servers there is one receipt, once all of them have ended, and it says the worst.
    """

    def __init__(self, sideline: Sideline, presence: Presence, wake: Callable[[], None]) -> None:
        self.trouble = ""
        """Why receipts do not reach anybody; empty while they do."""
        self.dropped = 0
        """How many receipts there was no room for."""
        self._sideline = sideline
        self._presence = presence
        self._wake = wake
        self._lanes: Counter[str] = Counter()
        self._heard: deque[tuple[str, str, Invalidation, Fate, float]] = deque(maxlen=_MOST_HEARD)
        self._open: dict[Key, dict[str, End]] = {}
        self._answered: dict[Key, None] = {}
        self._ready: deque[tuple[str, Reply]] = deque()
        self._sending = False
        self._second = 0
        self._said = 0

    def follow(self, backends: Iterable[str]) -> None:
        """These are the worker's lanes: the backend of each."""
        self._lanes.clear()
        for backend in backends:  # not by Counter's own way: it asks all kinds of mapping what they are
            self._lanes[backend] += 1

    def answer_of(self, backend: str) -> Answer:
        """What a lane of this backend calls when it has done with a message that asks for it. From any thread."""

        def answer(node: str, message: Invalidation, fate: Fate, at: float) -> None:
            if is_awaited(message):
                self._heard.append((backend, node, message, fate, at))
                self._wake()

        return answer

    def declined(self, message: Invalidation, outcome: Outcome, reason: str) -> None:
        """The worker does nothing about a message."""
        if is_awaited(message):
            for backend in self._presence.backends:
                self._say(message, backend, End(outcome, reason), 0.0)
            self._wake()

    def next_due(self) -> float:
        """Seconds until `turn` should be called, if nothing wakes the loop before."""
        return _REST if self._ready and not self._sending else float("inf")

    def turn(self) -> None:
        """Tell those who wait."""
        while self._heard:
            self._take(*self._heard.popleft())
        self._send()

    def stop(self) -> None:
        """The lanes have ended: say what there is to say."""
        self.turn()
        while self._ready:
            before, self._sending = len(self._ready), False
            self._send()
            if len(self._ready) == before:
                break

    def _take(self, backend: str, node: str, message: Invalidation, fate: Fate, at: float) -> None:
        key = (message.reply, message.id, message.journal, hash(message.targets), backend)
        if key in self._answered:
            return  # it was read again from the journal
        ends = self._open.setdefault(key, {})
        ends[node] = End(fate.end, fate.reason, node)
        if len(ends) < self._lanes[backend]:
            _bound(self._open)
            return
        del self._open[key]
        if message.journal:
            self._answered[key] = None
            _bound(self._answered)
        self._say(message, backend, verdict(message, list(ends.values())), at - fate.began)

    def _say(self, message: Invalidation, backend: str, end: End, took: float) -> None:
        if len(self._ready) >= MOST_OPEN:
            self._ready.popleft()
            self.dropped += 1
        said = Reply(
            id=message.id,
            host=self._presence.host,
            worker=self._presence.worker,
            instance=self._presence.instance,
            backend=backend,
            outcome=end.outcome,
            reason=end.reason,
            node=end.node,
            at=time.time(),
            seconds=took,
            journal=message.journal,
        )
        self._ready.append((message.reply, said))

    def _send(self) -> None:
        if self._sending or not self._ready:
            return
        second = int(clock())
        if second != self._second:
            self._second, self._said = second, 0
        count = min(AT_ONCE, MOST_A_SECOND - self._said, len(self._ready))
        if count <= 0:
            return
        commands: list[Command] = []
        for _ in range(count):
            channel, said = self._ready.popleft()
            commands.append(("PUBLISH", channel, written(said)))
        self._said += count
        self._sending = self._sideline.ask(commands, self._sent)
        self.dropped += 0 if self._sending else count

    def _sent(self, outcome: Answered | Refused) -> None:
        self._sending = False
        if isinstance(outcome, Answered):  # that there is no connection is said elsewhere
            refused = next((reply for reply in outcome.replies if isinstance(reply, ResponseError)), None)
            # Only a right that is lacking is to be granted: a Redis that is busy with a script refuses as well.
            remedy = f"; grant {RIGHTS}" if isinstance(refused, NoPermissionError) else ""
            self.trouble = f"publish --wait gets no receipts: {str(refused)[:120]}{remedy}" if refused else ""


def is_awaited(message: Invalidation) -> bool:
    """Whether its publisher may be answered, and may still be waiting for it."""
    return is_answered(message.reply) and (message.ts is None or time.time() - message.ts <= OLDEST)


def _bound(table: dict[Key, Any]) -> None:
    if len(table) > MOST_OPEN:
        del table[next(iter(table))]


def verdict(message: Invalidation, ends: list[End]) -> End:
    """Of a message and a backend, from how it ended at each of the servers. Pure."""
    outcome = worst(*(end.outcome for end in ends))
    if message.rejected and worst(outcome, "rejected") == "rejected":
        return End("rejected", message.rejected[0])
    same = [end for end in ends if end.outcome == outcome]
    return End(outcome, same[0].reason, same[0].node if len(same) < len(ends) else "")

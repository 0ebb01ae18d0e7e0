"""What a worker hears and does, told to whoever looks on over the supervisor's channel. Off, it costs one comparison.

Onlookers are never a reason to wait or to keep anything: what has no room, or comes too fast, is counted and dropped.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator.backend import targets_of
from invalidator.channel import LONGEST_TEXT, Dropped, Heard, Outcome, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.channel import Channel
    from invalidator.lanes.policy import Policy
    from invalidator.messages import Invalidation, Message, Receipt, Target

MOST_A_SECOND = 250
"""Lines of one worker that say what was heard, and as many that say what became of it: a flood of the former would
leave no room for the latter. Nobody reads faster, and a worker has other things to do."""


class Tap:
    """One worker's, with these lanes. `heard` and `turn` are called on its loop, `done` from its lanes' threads."""

    def __init__(self, channel: Channel, worker: str, lanes: Iterable[Policy] = ()) -> None:
        self.on = False
        self._channel = channel
        self._worker = worker
        self._lanes = tuple(lanes)
        self._second = 0
        self._said: dict[type[Heard | Outcome], int] = {Heard: 0, Outcome: 0}
        self._dropped = 0

    def turn(self) -> None:
        """Tell of what was dropped in a second that is over: after a burst there may be no further line for long."""
        if not self.on:
            self._dropped = 0
        elif self._dropped and int(now := time.time()) != self._second:
            self._begin_second(now)

    def heard(self, message: Message, invalidation: Invalidation, ignored: str = "") -> None:
        """A message has come, and this was decoded of it. What some of the lanes cannot purge ends here.

        `ignored` says why nothing is done about it.
        """
        now = time.time()
        if self._may(Heard, now):
            self._say(self._heard(message, invalidation, ignored, now))
        for lane in self._lanes if not ignored else ():
            unfit = [target for target in invalidation.targets if not lane.takes(target.kind)]
            if unfit and self._may(Outcome, now):
                targets, more = shown(unfit)
                self._say(
                    Outcome(
                        at=now,
                        worker=self._worker,
                        backend=lane.backend,
                        end="skipped",
                        reason="unsupported",
                        targets=targets,
                        more=more,
                    )
                )

    def done(self, node: str, receipt: Receipt) -> None:
        """A backend has answered a batch: a line for each thing that became of some of its targets."""
        if not self.on:
            return
        batch, result = receipt.batch, receipt.result
        ends: dict[tuple[str, str], list[Target]] = {}
        for failure in result.failures:
            ends.setdefault(("failed" if failure.retry else "dead", failure.reason), []).append(failure.target)
        if result.deferred:
            ends["deferred", ""] = list(result.deferred)
        others = {target for targets in ends.values() for target in targets}
        good = [target for target in targets_of(batch) if target not in others]
        if good:
            ends["skipped" if receipt.dry_run else "flushed" if batch.cause else "purged", ""] = good
        for (end, reason), targets in ends.items():
            self._outcome(node, receipt, end, reason, targets)

    def _heard(self, message: Message, invalidation: Invalidation, ignored: str, now: float) -> Heard:
        targets, more = shown(invalidation.targets)
        return Heard(
            at=now,
            worker=self._worker,
            channel=message.channel[:LONGEST_TEXT].decode("utf-8", "backslashreplace"),
            targets=targets,
            more=more,
            id=invalidation.id[:LONGEST_TEXT],
            source=invalidation.source[:LONGEST_TEXT],
            soft=invalidation.soft,
            rejected=tuple(dict.fromkeys((*invalidation.rejected, *([f"ignored: {ignored}"] if ignored else [])))),
        )

    def _outcome(self, node: str, receipt: Receipt, end: str, reason: str, targets: Iterable[Target]) -> None:
        now = time.time()
        if not self._may(Outcome, now):
            return
        first, more = shown(targets)
        line = Outcome(
            at=now,
            worker=self._worker,
            backend=receipt.batch.backend,
            node=node,
            end=end,
            reason=reason,
            cause=receipt.batch.cause,
            seconds=receipt.seconds,
            targets=first,
            more=more,
        )
        self._say(line)

    def _may(self, sort: type[Heard | Outcome], now: float) -> bool:
        # Several threads come here. A count that one of them spoils is a line too many or too few, and nothing else.
        if int(now) != self._second:
            self._begin_second(now)
        self._said[sort] += 1
        if self._said[sort] <= MOST_A_SECOND:
            return True
        self._dropped += 1
        return False

    def _begin_second(self, now: float) -> None:
        self._second = int(now)
        self._said = {Heard: 0, Outcome: 0}
        if self._dropped and self._channel.send(Dropped(worker=self._worker, count=self._dropped)):
            self._dropped = 0

    def _say(self, line: Heard | Outcome) -> None:
        if not self._channel.send(line):
            self._dropped += 1

"""A lane with everything around it real but the server: its backend is whatever a test wants it to be."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from invalidator import Backend, Invalidation, PurgeResult, Target
from invalidator.lanes.deadletter import FILE_LIMIT, DeadLetters
from invalidator.lanes.direct import Direct
from invalidator.lanes.following import Follower
from invalidator.lanes.immediate import Immediate
from invalidator.lanes.lane import Lane
from invalidator.lanes.ordered import Ordered
from invalidator.lanes.policy import Policy
from invalidator.lanes.receipts import Receipts
from invalidator.lanes.subsumption import Subsuming
from invalidator.lanes.tiers import AT_ONCE
from invalidator.letters import Box
from invalidator.logs import get_logger
from invalidator.messages import Keys
from invalidator.slots import ENDS, Region, clock
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from invalidator import Batch
    from invalidator.lanes.coalescer import Pending
    from invalidator.lanes.replies import Fate
    from invalidator.messages import Receipt
    from invalidator.slots import End


class Scripted(Backend):
    """Notes what it is asked for, and answers what `answer` says: a result, or whatever that raises."""

    def __init__(self, answer: Callable[[Batch], Any] = lambda _: PurgeResult()) -> None:
        self.answer = answer
        self.batches: list[Batch] = []
        self.closed = 0
        self.vouched: list[float] = []

    def purge(self, batch: Batch) -> PurgeResult:
        self.batches.append(batch)
        return self.answer(batch)  # type: ignore[no-any-return]

    def subscribed(self, until: float) -> None:
        self.vouched.append(until)

    def close(self) -> None:
        self.closed += 1


class Inline(Scripted):
    inline = True


def raising(error: BaseException) -> Callable[[object], PurgeResult]:
    """An answer that is none."""

    def answer(_: object) -> PurgeResult:
        raise error

    return answer


@dataclass
class Rig:
    """A lane that is not started yet, and what one may see of it from outside."""

    backend: Scripted
    folder: Path
    policy: Policy = field(default_factory=lambda: Policy("users", "objects", on_gap=True, flush=(Target("all"),)))
    letters_limit: int = FILE_LIMIT
    changes: int = 0

    def __post_init__(self) -> None:
        log = get_logger()
        self.region = Region(["objects"])
        self.receipts: list[tuple[str, Receipt]] = []
        self.answers: list[tuple[str, Invalidation, Fate, float]] = []
        parts: dict[str, Any] = {
            "backend": self.backend,
            "purge": self.backend.purge,
            "receipts": Receipts(self.region.backend("objects"), log),
            "dead_letters": DeadLetters(self.folder, Box("users", self.policy.backend), log, self.letters_limit),
            "log": log,
            "changed": self._changed,
            "observe": lambda node, receipt: self.receipts.append((node, receipt)),
            "answer": lambda *answer: self.answers.append(answer),
        }
        order = self.policy.order
        self.pending: Pending
        self.lane: Lane
        if order != AT_ONCE:
            self.pending = ordered = Ordered(self.policy, lambda: 0.0)
            self.lane = Follower(ordered, **parts) if order.after else Lane(pending=ordered, **parts)
        elif type(self.backend).send is Backend.send:
            self.pending = Subsuming(self.policy, lambda: 0.0)
            self.lane = Lane(pending=self.pending, **parts)
        else:
            self.pending = immediate = Immediate(self.policy, lambda: 0.0)
            self.lane = Direct(pending=immediate, **parts)

    def _changed(self) -> None:
        self.changes += 1

    def start(self) -> Self:
        self.lane.start()
        return self

    def offer(self, *keys: str, soft: bool = False, ts: float | None = None) -> None:
        """A message that asks for these keys."""
        self.offer_targets(*(Target("key", key) for key in keys), soft=soft, ts=ts)

    def offer_in_bulk(self, *keys: str) -> None:
        """Messages that ask for these keys and no more, as the intake hands them on."""
        self.lane.offer([Invalidation(Keys(keys))], clock())

    def offer_targets(self, *targets: Target, soft: bool = False, ts: float | None = None) -> None:
        self.lane.offer([Invalidation(targets, soft=soft, ts=ts)], clock())

    def counts(self) -> dict[str, int]:
        """What the supervisor would read now, were the worker's loop through with its turn."""
        self.lane._count_what_waits()
        return self.region.snapshot().backends["objects"]

    def ended(self, end: End) -> int:
        return self.counts()[end]

    def adds_up(self) -> bool:
        """Whether every target that was received has come to one end, or is pending."""
        counts = self.counts()
        return counts["received"] == sum(counts[end] for end in ENDS) + counts["pending"]

    def wait(self, end: End, count: int) -> None:
        wait_until(lambda: self.ended(end) >= count, 10, lambda: f"{end}: {self.counts()}")

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters that were kept."""
        files = list(self.folder.rglob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def stop(self, patience: float = 10.0) -> int:
        """Stop, and wait for the end: how many targets were pending then."""
        self.lane.stop()
        return self.lane.join(clock() + patience)

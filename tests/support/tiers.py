"""Two tiers on a clock of their own: origin lanes, an edge lane behind them, and who purged what when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from invalidator import Failure, PurgeResult, Target
from invalidator.backend import targets_of
from invalidator.lanes.coalescer import Pending
from invalidator.lanes.news import News, of_answer, of_given_up
from invalidator.lanes.ordered import Ordered
from invalidator.lanes.policy import Policy
from invalidator.lanes.tiers import AT_ONCE, Order, Word
from invalidator.lanes.wishes import covers
from invalidator.messages import KINDS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from invalidator import Batch

Fate = Literal["ok", "again", "dead", "later"]


def fine(_: Target) -> Fate:
    return "ok"


@dataclass
class Origin:
    """A lane, what its backend has yet to purge, and when it last purged each target that a message asked for."""

    pending: Pending
    flight: Batch | None = None
    open: set[Target] = field(default_factory=set)
    covered: set[Target] = field(default_factory=set)
    purged: dict[Target, float] = field(default_factory=dict)

    def take(self, now: float) -> None:
        if self.flight is None and (batch := self.pending.take(now)):
            self.flight = batch
            if batch.cause:
                wider = list(targets_of(batch))
                self.covered |= {target for target in self.open if any(covers(one, target) for one in wider)}
                self.open -= self.covered
            else:
                self.open.difference_update(targets_of(batch))

    def settle(self, fate: Callable[[Target], Fate], now: float) -> News | None:
        """The backend answers. What those behind it are to be told."""
        batch, self.flight = self.flight, None
        if batch is None:
            return None
        result = answer(batch, fate)
        failed = {failure.target for failure in result.failures}
        going_on = {*result.deferred, *(failure.target for failure in result.failures if failure.retry)}
        before = self.pending.in_flight()
        self.pending.settle(batch, result, now)
        if not batch.cause:
            self.open |= going_on
            done = [target for target in targets_of(batch) if target not in failed | going_on]
            self.purged |= dict.fromkeys(done, now)
            self.covered.difference_update(done)  # a flush that comes yet finds nothing of them that is old
        elif not failed | going_on:
            self.purged |= dict.fromkeys(self.covered, now)
            self.covered.clear()
        return of_answer(batch, result, self.pending, now, before)


def answer(batch: Batch, fate: Callable[[Target], Fate]) -> PurgeResult:
    fates = [(target, fate(target)) for target in targets_of(batch)]
    failures = [Failure(target, "error", retry=word == "again") for target, word in fates if word in {"again", "dead"}]
    return PurgeResult(tuple(failures), deferred=tuple(target for target, word in fates if word == "later"))


@dataclass
class Tiers:
    """`chance` decides nothing here that a test looks at."""

    order: Order
    origins: int = 1
    limit: int = 100
    flush: tuple[Target, ...] = (Target("all"),)
    origin_flush: tuple[Target, ...] = (Target("all"),)
    on_gap: bool = True
    origin_kinds: frozenset[Kind] = frozenset(KINDS)
    now: float = 0.0
    number: int = 0
    told: bool = True
    """Whether the edge hears what the origins do: without, there is no order to speak of."""
    asked: dict[Target, float] = field(default_factory=dict)
    """When the edge was last asked for each target, in an attempt that succeeded."""
    attempts: list[tuple[float, Batch]] = field(default_factory=list)
    edge_fate: Callable[[Target], Fate] = fine
    journal: bool = False
    """Whether what is offered stands in a journal that the lanes are given again from."""
    far_order: Order | None = None
    """Of a third lane that comes after the edge, if there is one."""
    far_asked: dict[Target, float] = field(default_factory=dict)
    edge_purged: dict[Target, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        made = [
            Policy(
                "w",
                "objects",
                self.origin_kinds,
                self.origin_flush,
                on_gap=True,
                limit=self.limit,
                journal=self.journal,
            )
            for _ in range(self.origins)
        ]
        self.behind = [Origin(Pending(policy, lambda: 0.5)) for policy in made]
        both: dict[str, Any] = {
            "flush": self.flush,
            "on_gap": self.on_gap,
            "limit": self.limit,
            "journal": self.journal,
        }
        policy = Policy("w", "edge", order=self.order, **both)
        self.edge = Ordered(policy, lambda: 0.5)
        self.edge.follow(made)
        far = Policy("w", "far", order=self.far_order or AT_ONCE, **both)
        self.far = Ordered(far, lambda: 0.5)
        self.far.follow([policy])

    @property
    def lanes(self) -> list[Pending]:
        far = [self.far] if self.far_order else []
        return [*far, self.edge, *(origin.pending for origin in self.behind)]

    def offer(self, *targets: Target, soft: bool = False) -> None:
        """A message: to those that follow first, as the dispatcher does."""
        self.number += 1
        for lane in (self.far, self.edge) if self.far_order else (self.edge,):
            lane.heard = self.number
            self._end(lane, lane.add(targets, soft=soft, ts=None, now=self.now, journaled=self.journal))
        for place, origin in enumerate(self.behind):
            origin.pending.heard = self.number
            fit = [target for target in targets if target.kind in self.origin_kinds]
            homeless = origin.pending.add(fit, soft=soft, ts=None, now=self.now, journaled=self.journal)
            origin.pending.end("dead", len(homeless))
            origin.open |= {target for target in fit if target not in homeless}
            if homeless:
                self.tell(place, of_given_up(homeless, origin.pending, self.now))

    def gap(self) -> None:
        self.number += 1
        self.edge.heard = self.far.heard = self.number
        if self.on_gap and self.far_order:
            self.far.gap("disconnect", self.now, 1)
        if self.on_gap:
            self.edge.gap("disconnect", self.now, (1 << self.origins) - 1)
        for origin in self.behind:
            origin.pending.heard = self.number
            origin.pending.gap("disconnect", self.now)

    def take(self, place: int) -> None:
        self.behind[place].take(self.now)

    def settle(self, place: int, fate: Callable[[Target], Fate] = fine) -> None:
        self.tell(place, self.behind[place].settle(fate, self.now))

    def tell(self, place: int, news: News | None) -> None:
        if news is None or not self.told:
            return
        self._tell(self.edge, self.behind[place].pending.policy, 1 << place, news)

    def advance(self, seconds: float) -> None:
        """Time passes, and the edge is asked whenever something is due."""
        until = self.now + seconds
        for _ in range(10_000):
            dues = [self.edge.next_due(self.now), self.far.next_due(self.now)]
            if self.now + min(dues) > until:
                break
            self.now += min(dues)
            self._ask_edge()
            self._ask_far()
        else:
            raise AssertionError("the edge's lane spins")
        self.now = until

    def finish(self) -> None:
        """Every backend is well, and what is pending is done."""
        self.edge_fate = fine
        for _ in range(1_000):
            for place in range(self.origins):
                self.take(place)
                self.settle(place)
                self.now += 0.001
            self.advance(1.0)
            if not any(len(lane) or lane.is_flushing() for lane in self.lanes):
                return
        raise AssertionError("it does not come to an end")

    def adds_up(self) -> bool:
        return all(lane.received == sum(lane.ends.values()) + len(lane) for lane in self.lanes)

    def too_early(self) -> dict[Target, tuple[float, float]]:
        """Targets whose last purge at the edge came less than the delay after one at an origin: both times."""
        found = {}
        for origin in self.behind:
            for target, at in origin.purged.items():
                asked = self.asked.get(target, float("-inf"))
                if asked < at + self.order.delay - 1e-9:
                    found[target] = (at, asked)
        delay = self.far_order.delay if self.far_order else 0.0
        for target, at in self.edge_purged.items() if self.far_order else ():
            asked = self.far_asked.get(target, float("-inf"))
            if asked < at + delay - 1e-9:
                found[target] = (at, asked)
        return found

    def _ask_edge(self) -> None:
        batch = self.edge.take(self.now)
        if batch is None:
            return
        self.attempts.append((self.now, batch))
        result = answer(batch, self.edge_fate)
        before = self.edge.in_flight()
        self.edge.settle(batch, result, self.now)
        failed = {*result.deferred, *(failure.target for failure in result.failures)}
        done = [target for target in targets_of(batch) if target not in failed]
        self.asked |= dict.fromkeys(done, self.now)
        for origin in self.behind:
            known = {*origin.purged, *origin.open, *origin.covered}
            self.asked |= {target: self.now for target in known if any(covers(one, target) for one in done)}

        self.edge_purged |= dict.fromkeys(() if batch.cause else done, self.now)
        news = of_answer(batch, result, self.edge, self.now, before)
        if news and self.far_order:
            self._tell(self.far, self.edge.policy, 1, news)

    def _ask_far(self) -> None:
        if batch := self.far.take(self.now):
            self.far.settle(batch, PurgeResult(), self.now)
            known = {*targets_of(batch), *self.edge_purged}
            done = {target for target in known if any(covers(one, target) for one in targets_of(batch))}
            self.far_asked |= dict.fromkeys(done, self.now)

    def _tell(self, lane: Ordered, origin: Policy, bit: int, news: News) -> None:
        word = Word(bit, news.at, news.heard, news.root, news.journaled)
        if news.flush:
            self._end(lane, lane.flushed(origin, word, self.now))
        else:
            self._end(lane, lane.settled(news.targets, word, soft=news.soft, now=self.now))

    @staticmethod
    def _end(lane: Pending, homeless: Iterable[Target]) -> None:
        lane.end("dead", len(list(homeless)))

"""A backend that comes after another, read from the journal: no cursor moves beyond what is yet to be purged behind it.

An edge that went before its origin is purged once more when the origin has done it. Only the origin's cursor stands for
that purge: the edge's own has moved long ago.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from invalidator import BackendError, PurgeResult, Target
from invalidator.lanes.news import Herald
from invalidator.lanes.ordered import Ordered
from invalidator.lanes.policy import Policy
from invalidator.lanes.tiers import Order
from invalidator.pipeline.resend import Resend
from invalidator.replay.readership import Readership
from invalidator.slots import clock
from tests.support.exact import Process, started
from tests.support.journals import STREAM
from tests.support.lanes import Scripted

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from invalidator import Batch
    from tests.support.journals import Publisher
    from tests.support.stores import RedisServer

PATIENCE = 20.0
"""Seconds: an origin that was away for a while is asked again after some."""
EARLY = 0.05
"""Seconds that the edge waits for its origin."""


class Store(Scripted):
    """Purges what it is asked for; is away, or hangs, as a test wants it."""

    def __init__(self, *, away: bool = False) -> None:
        super().__init__(self._answer)
        self.away = away
        self.free = threading.Event()
        self.free.set()

    def _answer(self, _: Batch) -> PurgeResult:
        assert self.free.wait(20)
        if self.away:
            raise BackendError("unreachable", "away")
        return PurgeResult()

    @property
    def asked(self) -> list[str]:
        """The keys, as often as they were asked for, and `*` for a flush."""
        return [key for batch in self.batches for key in (("*",) if batch.cause else batch.keys)]


class Both:
    """One process: an origin, and an edge behind it."""

    def __init__(self, process: Process, origin: Store, edge: Store) -> None:
        self.process = process
        self.origin = origin
        self.edge = edge

    def cursors(self) -> tuple[str, str]:
        """Of the origin, and of the edge."""
        kept = self.process.cursors()
        return kept["objects"][0], kept["edge"][0]

    def keep(self) -> None:
        """Have it written now how far the lanes are."""
        book = self.process.delivery._book
        book.keep(self.process.delivery._readership.readers)
        self.process.until(lambda: self.process._keeper.kept == self.process._keeper._version)


@pytest.fixture
def start(source: RedisServer, tmp_path: Path, cleanup: ExitStack) -> Callable[..., Both]:
    def make(*, away: bool = False, limit: int = 100, on_gap: bool = True, rebound: float = 0.0) -> Both:
        flush = (Target("all"),)
        policies = [
            Policy("users", "objects", on_gap=True, flush=flush, limit=1_000, journal=True),
            Policy(
                "users",
                "edge",
                on_gap=on_gap,
                flush=flush if on_gap else (),
                limit=limit,
                journal=True,
                order=Order("objects", patience=EARLY, rebound=rebound),
            ),
        ]
        origin, edge = Store(away=away), Store()
        process = started(cleanup, Process(source, tmp_path, origin, edge, policies=policies))
        cleanup.callback(edge.free.set)
        return Both(process, origin, edge)

    return make


def killed_between_the_purges(start: Callable[..., Both], publisher: Publisher) -> tuple[Both, str, str]:
    """The edge went early; the origin has purged since, and the edge hangs in its second purge.

    With the ids of what both had done before, and of what is left.
    """
    one = start()
    done = publisher.add("users:done")
    one.process.until(lambda: one.cursors() == (done, done))
    one.origin.away = True
    last = publisher.add("users:1")
    one.process.until(lambda: one.edge.asked == ["users:done", "users:1"])
    one.process.until(lambda: one.cursors() == (done, last))
    one.edge.free.clear()
    one.origin.away = False
    one.process.until(lambda: one.edge.asked == ["users:done", "users:1", "users:1"], PATIENCE)
    one.keep()
    return one, done, last


def test_who_is_killed_between_the_origins_purge_and_the_edges_second_one_leaves_both_to_its_successor(
    start: Callable[..., Both], publisher: Publisher
) -> None:
    one, done, last = killed_between_the_purges(start, publisher)
    assert one.cursors() == (done, last), "the origin's cursor stands for what the edge has yet to do"
    publisher.add("users:2")
    one.process.until(lambda: "users:2" in one.origin.asked)  # the edge that hangs holds up nothing but a cursor

    other = start()
    other.process.until(lambda: "users:1" in other.edge.asked)
    assert other.origin.asked[0] == "users:1"
    one.edge.free.set()
    one.process.until(lambda: one.cursors()[0] > last)


def test_an_origin_whose_cursor_moves_with_its_own_answer_leaves_the_edge_stale(
    start: Callable[..., Both], publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control for the test above.
    monkeypatch.setattr(Herald, "followed_through", lambda *_: float("inf"))
    one, _, last = killed_between_the_purges(start, publisher)
    assert one.cursors() == (last, last)
    end = publisher.add("users:end")

    other = start()
    other.process.until(lambda: other.cursors() == (end, end))
    assert other.edge.asked == ["users:end"]


# An edge that is full.


def second_purges_of_a_full_edge(
    start: Callable[..., Both], publisher: Publisher, *, on_gap: bool
) -> tuple[Both, list[str]]:
    """What it was asked for after its origin, which had been away for more than the edge can hold."""
    names = [f"users:{number}" for number in range(60)]
    one = start(limit=10, on_gap=on_gap)
    one.origin.away = True
    for name in names:
        last = publisher.add(name)
    one.process.until(lambda: set(one.edge.asked) == set(names))
    one.process.until(lambda: one.cursors()[1] == last)
    early = len(one.edge.asked)
    one.edge.free.clear()
    one.origin.away = False
    one.process.until(lambda: set(one.origin.asked[-60:]) == set(names), PATIENCE)
    one.edge.free.set()
    one.process.until(lambda: one.cursors() == (last, last), PATIENCE)
    return one, one.edge.asked[early:]


@pytest.mark.parametrize("on_gap", [True, False])
def test_an_edge_that_is_full_neither_collapses_on_its_origins_news_nor_loses_any_of_it(
    start: Callable[..., Both], publisher: Publisher, *, on_gap: bool
) -> None:
    one, again = second_purges_of_a_full_edge(start, publisher, on_gap=on_gap)
    assert set(again) == {f"users:{number}" for number in range(60)}
    assert (one.process.rigs[1].ended("lost"), one.process.rigs[1].letters()) == (0, [])
    assert all(rig.adds_up() for rig in one.process.rigs)


@pytest.mark.parametrize("on_gap", [True, False])
def test_a_full_edge_that_does_not_refuse_collapses_or_gives_up(
    start: Callable[..., Both], publisher: Publisher, monkeypatch: pytest.MonkeyPatch, *, on_gap: bool
) -> None:
    # The control for the test above.
    monkeypatch.setattr(Ordered, "_refuses", lambda *_: False)
    one, again = second_purges_of_a_full_edge(start, publisher, on_gap=on_gap)
    assert "*" in again if on_gap else one.process.rigs[1].letters()


def flushed_after_the_origin_was_trimmed(start: Callable[..., Both], publisher: Publisher) -> tuple[int, int]:
    """How often the origin and its edge are. Whoever has gone early does not know it by name after a restart."""
    one = start()
    done = publisher.add("users:done")
    one.process.until(lambda: one.cursors() == (done, done))
    one.origin.away = True
    early = publisher.add("users:1")
    one.process.until(lambda: one.cursors() == (done, early))
    publisher.client.xtrim(STREAM, minid=early, approximate=False)
    last = publisher.add("users:2")

    other = start()
    other.process.until(lambda: other.cursors() == (last, last) and other.process._dispatcher.is_idle())
    return other.origin.asked.count("*"), other.edge.asked.count("*")


def test_an_origin_that_is_behind_what_the_journal_still_has_is_flushed_with_all_that_comes_after_it(
    start: Callable[..., Both], publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert flushed_after_the_origin_was_trimmed(start, publisher) == (1, 1)
    monkeypatch.setattr(Readership, "line_from", lambda _, reader: [reader])
    assert flushed_after_the_origin_was_trimmed(start, publisher) == (1, 0), "the control"


def test_a_flush_that_the_origin_still_owes_is_done_by_the_edge_after_it_once_more(
    start: Callable[..., Both], publisher: Publisher
) -> None:
    one = start()
    done = publisher.add("users:done")
    one.process.until(lambda: one.cursors() == (done, done))
    one.origin.away = True
    publisher.client.delete(STREAM)
    one.process.until(lambda: "*" in one.edge.asked)
    one.process.until(lambda: one.process.cursors() == {"objects": ("0-0", "trimmed"), "edge": ("0-0", "")})

    other = start()
    other.process.until(lambda: other.process.cursors() == {"objects": ("0-0", ""), "edge": ("0-0", "")})
    assert other.origin.asked == other.edge.asked == ["*"]


# A stop.


def test_what_a_stop_leaves_of_the_edges_second_purge_is_begun_again_at_the_origin_and_is_no_letter(
    start: Callable[..., Both], publisher: Publisher
) -> None:
    one, done, _ = killed_between_the_purges(start, publisher)
    one.process.stop()
    assert one.cursors()[0] == done
    assert one.process.rigs[1].letters() == []

    other = start()
    other.process.until(lambda: "users:1" in other.edge.asked)


def test_a_letter_of_the_origin_is_one_until_the_edge_has_purged_it_once_more(
    start: Callable[..., Both], publisher: Publisher
) -> None:
    one = start()
    publisher.add("users:done")
    one.process.until(lambda: one.edge.asked == ["users:done"])
    box = one.process.rigs[0].lane.dead_letters
    box.write([(Target("key", "users:1"), "rejected")], 0.0)
    one.edge.free.clear()
    resend = Resend(one.process.rigs[0].lane)
    resend.begin()

    def turned() -> Resend:
        resend.turn(one.process._dispatcher, clock() + 1)
        return resend

    one.process.until(lambda: turned() and "users:1" in one.edge.asked)
    assert "users:1" in one.origin.asked
    turned()
    assert box.is_set_aside()
    one.edge.free.set()
    one.process.until(lambda: turned().done)
    assert not box.is_set_aside()

"""What was heard before it is known where reading begins stood in the journal all the same, and is not read there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from invalidator.journal.cursors import Cursor, Cursors
from invalidator.journal.entry import Entry, EntryId
from invalidator.journal.reading import Facts, Look
from invalidator.journal.stream import Sight
from invalidator.logs import get_logger
from invalidator.messages import Invalidation, Target
from invalidator.pipeline.dispatcher import Dispatcher
from invalidator.replay.book import Book
from invalidator.replay.exact import Journal, Journaled
from invalidator.slots import Region, clock
from invalidator.topology.models import Heartbeat
from tests.support.lanes import Inline, Rig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVER = "a" * 40
LAST = EntryId(50, 0)
"""The last entry that there was when reading began: the one that was heard before that, and what came before it."""


class Reading:
    """A worker's delivery, with itself in the place of the Stream: it gives the answers."""

    def __init__(self, folder: Path, kept: Cursors | None) -> None:
        self.region = Region([])
        self.trouble = ("", "")
        self.since: float | None = None
        self.due = 0.0
        self._then: Callable[[Sight], None] | None = None
        keeper = cast("Any", Keeper())
        journal = Journal(cast("Any", self), cast("Any", Nothing()), Book(keeper, "journal", "cache:*", {}), kept)
        self.delivery = Journaled(
            journal,
            Dispatcher([Rig(Inline(), folder).lane], get_logger()),
            lambda *_: False,
            self.region.worker(),
            Heartbeat(),
            get_logger(),
            flush_on_start=True,
        )

    def hear(self, entry: EntryId) -> None:
        self.delivery.heard([Invalidation((Target("key", "users:1"),), journal=str(entry))], clock())

    def read(self, asked: float) -> None:
        """Look, and find nothing but the last entry."""
        self.delivery._tail.hurry()
        self.delivery.turn(clock())
        assert self._then
        self._then(Sight(Look((Entry(LAST, None),), Facts(1, LAST, 1)), 100, asked, SERVER))

    def unjournaled(self) -> int:
        return self.region.snapshot().worker["unjournaled"]

    # As the Stream, which is another's part.

    def look(self, _: object, then: Callable[[Sight], None], *, urgent: bool) -> bool:
        self._then = then
        return True

    def turn(self, now: float) -> None:
        del now

    def hand_over(self) -> None:
        pass


class Nothing:
    def of(self, *_: object, **__: object) -> tuple[()]:
        return ()


class Keeper:
    trouble = ""
    kept = 1

    def keep(self, _: bytes) -> int:
        return 1


@pytest.fixture(params=["first start", "successor"])
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Reading:
    # A predecessor may have read, and written down, what the successor hears while it is put together.
    lanes = {"objects": Cursor(str(LAST))}
    kept = Cursors(stream="journal", pattern="cache:*", server=SERVER, lanes=lanes)
    made = Reading(tmp_path, kept if request.param == "successor" else None)
    assert (made.delivery._tail.position is None) == (request.param == "first start")
    return made


def test_what_was_heard_before_reading_began_makes_no_publisher_one_without_a_journal(worker: Reading) -> None:
    worker.hear(LAST)
    worker.read(clock())
    worker.read(clock())
    assert len(worker.delivery._hearing) == 0
    assert worker.unjournaled() == 0


def test_without_that_place_it_would_be_one(worker: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    # The control for the first.
    monkeypatch.setattr(Journaled, "_had_an_entry", lambda self, heard: heard.at <= self._breaks.last)
    worker.hear(LAST)
    worker.read(clock())
    worker.read(clock())
    assert worker.unjournaled() == 1


def test_who_names_an_entry_that_was_never_there_is_one(worker: Reading) -> None:
    worker.hear(EntryId(60, 0))
    worker.read(clock())
    worker.read(clock())
    assert worker.unjournaled() == 1


def test_so_is_who_names_an_old_one_for_ever(worker: Reading) -> None:
    worker.read(clock() - Heartbeat().deadline - 1)
    worker.hear(LAST)
    worker.read(clock())
    assert worker.unjournaled() == 1

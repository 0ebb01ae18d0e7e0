"""What nobody will purge is tried again without ever losing one: a lane and its box, turned by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from invalidator import Failure, PurgeResult, Target
from invalidator.backend import targets_of
from invalidator.lanes.policy import Policy
from invalidator.letters import FOLDER, encode
from invalidator.logs import get_logger
from invalidator.pipeline.dispatcher import Dispatcher
from invalidator.pipeline.resend import Resends
from invalidator.slots import clock
from tests.support.lanes import Inline, Rig, Scripted
from tests.support.letterbox import BOX, write

if TYPE_CHECKING:
    from pathlib import Path

    from invalidator import Batch
    from invalidator.channel import Retried


def away(batch: Batch) -> PurgeResult:
    return PurgeResult(tuple(Failure(target, "unreachable") for target in targets_of(batch)))


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invalidator.pipeline.resend._LOOK_SECONDS", 0.0)


class Worker:
    """A lane and the part of a worker that gives it its letters again."""

    def __init__(self, folder: Path, backend: Scripted | None = None, **policy: Any) -> None:
        self.folder = folder
        self.rig = Rig(backend or Inline(), folder, Policy("users", "objects", **policy))
        self.dispatcher = Dispatcher([self.rig.lane], get_logger())
        self.resends = Resends(get_logger())
        self.reports: list[Retried] = []

    def turn(self, number: int = 1) -> bool:
        self.reports += self.resends.turn({"objects": number}, self.dispatcher, clock())
        self.dispatcher.turn()
        return bool(self.reports)

    def finish(self, number: int = 1) -> Retried:
        for _ in range(1_000):
            if self.turn(number):
                return self.reports.pop()
        raise AssertionError(f"it does not come to an end: {self.rig.counts()}")

    @property
    def purged(self) -> set[str]:
        return {key for batch in self.rig.backend.batches for key in batch.keys}

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / FOLDER).iterdir())


def test_letters_are_purged_and_their_file_goes(tmp_path: Path) -> None:
    write(tmp_path, "a", "b")
    worker = Worker(tmp_path)
    assert worker.rig.lane.describe().dead_letters == 2
    said = worker.finish()

    assert (said.tried, said.died, said.garbage, said.error) == (2, 0, 0, "")
    assert (worker.purged, worker.files()) == ({"a", "b"}, [])
    assert worker.rig.lane.describe().dead_letters == 0
    assert worker.rig.adds_up()


def test_what_an_elder_could_not_wait_for_is_tried_again_unasked_and_an_order_still_counts(tmp_path: Path) -> None:
    write(tmp_path, "a")
    worker = Worker(tmp_path)
    worker.resends.inherit(["objects", "gone"])
    unasked = worker.finish(number=0)
    assert (unasked.number, unasked.tried, worker.purged) == (0, 1, {"a"})
    write(tmp_path, "b")
    assert worker.finish(number=1).number == 1
    worker.resends.inherit(["objects"])
    worker.finish(number=1)
    assert not any(worker.turn(number=1) for _ in range(5)), "an order that was obeyed is obeyed once more"


@pytest.mark.parametrize(("reason", "again"), [("stopped", True), ("overflow", False), ("rejected", False)])
def test_a_start_tries_again_what_a_stop_has_left_and_nothing_that_anybody_refused(
    reason: str, again: bool, tmp_path: Path
) -> None:
    write(tmp_path, 'a"reason": "stopped"}', "b", more=encode(BOX, Target("key", "c"), reason, 1.0))
    worker = Worker(tmp_path)
    worker.resends.inherit_from_disk(worker.dispatcher.lanes)
    turned = [worker.turn(number=0) for _ in range(5)]

    assert (any(turned), worker.files() == []) == (again, again)


def test_a_rehearsal_ends_none_of_them(tmp_path: Path) -> None:
    file = write(tmp_path, more=encode(BOX, Target("key", "c"), "stopped", 1.0))
    worker = Worker(tmp_path, dry_run=True)
    worker.resends.inherit_from_disk(worker.dispatcher.lanes)
    assert not any(worker.turn(number=0) for _ in range(5))
    assert file.exists()


def test_stop_after_stop_with_its_backend_away_leaves_each_of_them_once(tmp_path: Path) -> None:
    write(tmp_path, more=encode(BOX, Target("key", "old"), "stopped", 1.0))
    for number in range(4):
        worker = Worker(tmp_path, Inline(away))
        worker.resends.inherit_from_disk(worker.dispatcher.lanes)
        worker.turn(number=0)
        worker.rig.offer(f"new:{number}")
        worker.rig.stop()
        assert worker.rig.adds_up()
        assert worker.rig.ended("lost") == 0
    worker = Worker(tmp_path)
    worker.resends.inherit_from_disk(worker.dispatcher.lanes)
    assert worker.finish(number=0).tried == 5
    assert worker.purged == {"old", *(f"new:{number}" for number in range(4))}
    assert worker.files() == []


def test_their_file_stays_until_the_backend_has_answered(tmp_path: Path) -> None:
    write(tmp_path, "a")
    worker = Worker(tmp_path, Inline(away))
    for _ in range(20):
        assert not worker.turn()
    assert worker.files() == ["users.objects.jsonl.retry"]
    worker.rig.backend.answer = lambda _: PurgeResult()
    worker.rig.pending.pace.hurry()
    worker.finish()
    assert worker.files() == []


def test_a_file_that_went_once_it_was_read_would_be_lost_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control for the test above, and for the one below.
    monkeypatch.setattr("invalidator.lanes.lane.Lane.settled_through", lambda _: 1 << 60)
    write(tmp_path, "a")
    worker = Worker(tmp_path, Inline(away))
    worker.finish()
    assert worker.files() == []


def test_whoever_is_killed_in_the_middle_leaves_all_of_them_to_the_next(tmp_path: Path) -> None:
    write(tmp_path, *(f"old:{n}" for n in range(3_000)))
    first = Worker(tmp_path, Inline(away))
    for _ in range(5):
        first.turn()
    assert first.rig.counts()["pending"] > 0
    # Nothing more is heard of it: as after kill -9. Meanwhile others die.
    write(tmp_path, "new")
    second = Worker(tmp_path)
    assert second.rig.lane.describe().dead_letters == 3_001
    said = second.finish()

    assert (said.tried, second.files()) == (3_001, [])
    assert second.purged == {"new", *(f"old:{n}" for n in range(3_000))}


def test_what_dies_again_is_a_letter_again(tmp_path: Path) -> None:
    write(tmp_path, "bad", "good")

    def poison(batch: Batch) -> PurgeResult:
        return PurgeResult(
            tuple(Failure(Target("key", "bad"), "rejected", retry=False) for key in batch.keys if key == "bad")
        )

    worker = Worker(tmp_path, Inline(poison))
    said = worker.finish()

    assert (said.tried, said.died) == (2, 1)
    (letter,) = worker.rig.letters()
    assert (letter["target"], letter["reason"]) == ("bad", "rejected")
    assert worker.rig.lane.describe().dead_letters == 1


def test_lines_that_are_no_letters_are_kept_apart_and_harm_nobody(tmp_path: Path) -> None:
    garbage = (
        b'{"kind":"key"}\n\xff\xfe\n[1,2]\n\n'
        + b"x" * 300_000
        + b'\n{"at":1,"kind":"flower","target":"a","reason":"b"}\n'
    )
    file = write(tmp_path, "a", more=garbage)
    half = encode(BOX, Target("key", "half"), "overflow", 1.0)[:20]
    file.write_bytes(file.read_bytes() + encode(BOX, Target("key", "b"), "overflow", 1.0) + half)
    worker = Worker(tmp_path)
    said = worker.finish()

    assert (said.tried, said.garbage) == (2, 6)
    assert (worker.purged, worker.files()) == ({"a", "b"}, ["users.objects.garbage"])
    kept = (tmp_path / FOLDER / "users.objects.garbage").read_bytes()
    assert b"flower" in kept
    assert half in kept


def test_a_lane_is_given_no_more_than_it_has_room_for(tmp_path: Path) -> None:
    write(tmp_path, *(f"k:{n}" for n in range(500)))
    worker = Worker(tmp_path, Inline(away), limit=50)
    for _ in range(30):
        worker.turn()
    assert 40 <= worker.rig.counts()["pending"] <= 45
    assert worker.rig.letters() == [], "nothing overflows"
    worker.rig.backend.answer = lambda _: PurgeResult()
    worker.rig.pending.pace.hurry()
    assert worker.finish().tried == 500


def test_an_order_that_is_heard_twice_is_obeyed_once(tmp_path: Path) -> None:
    write(tmp_path, "a")
    worker = Worker(tmp_path)
    worker.finish(number=7)
    write(tmp_path, "b")
    for _ in range(5):
        assert not worker.turn(number=7)
    assert worker.finish(number=8).tried == 1


def test_an_order_that_joins_what_is_under_way_is_told_of_all_of_it(tmp_path: Path) -> None:
    write(tmp_path, "a", "b")
    worker = Worker(tmp_path, Inline(away))
    worker.resends.inherit(["objects"])
    worker.turn(number=0)
    worker.turn(number=3)
    worker.rig.backend.answer = lambda _: PurgeResult()
    worker.rig.pending.pace.hurry()
    unasked, ordered = worker.finish(number=3), worker.finish(number=3)
    assert (unasked.number, unasked.tried, worker.files()) == (0, 2, [])
    assert (ordered.number, ordered.tried) == (3, 2), "whoever gave it would be told that there was nothing"


def test_what_is_tried_again_counts_towards_the_bound_of_the_box(tmp_path: Path) -> None:
    write(tmp_path, *(f"k:{n}" for n in range(50)), part="retry")
    rig = Rig(Inline(), tmp_path, Policy("users", "objects", limit=1), letters_limit=10_000)
    rig.lane.pause()
    rig.offer(*(f"more:{n}" for n in range(200)))
    sizes = sum(path.stat().st_size for path in (tmp_path / FOLDER).iterdir())
    assert sizes <= 10_000
    assert rig.ended("lost") > 0
    assert rig.adds_up()


def test_a_disk_that_cannot_be_read_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    file = write(tmp_path, "a")
    worker = Worker(tmp_path)
    (tmp_path / FOLDER / "users.objects.jsonl.retry").mkdir()
    said = worker.finish()
    assert said.error
    assert file.exists()

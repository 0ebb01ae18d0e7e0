"""replies.py: whoever has asked what became of a message is told so by each lane, once it has come to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator import Failure, Invalidation, PurgeResult, Target
from invalidator.backend import targets_of
from invalidator.lanes.policy import Policy
from invalidator.lanes.replies import Replies
from invalidator.slots import clock
from tests.support.lanes import Inline, Rig, Scripted, raising
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from invalidator import Batch

POLICY = Policy("users", "objects", on_gap=True, flush=(Target("prefix", "users:"),), limit=4)


def asked(*names: str, kind: str = "key", journal: str = "") -> Invalidation:
    """A message whose publisher waits."""
    targets = tuple(Target(kind, name) for name in names)  # type: ignore[arg-type]
    return Invalidation(targets, id="one", reply="invalidator:reply:1", journal=journal)


def ends(rig: Rig) -> list[tuple[str, str]]:
    return [(fate.end, fate.reason) for _, _, fate, _ in rig.answers]


def offer(rig: Rig, *messages: Invalidation, number: int = 1) -> None:
    rig.lane.offer(messages, clock(), number)
    rig.lane.turn()


def test_a_message_is_answered_once_all_of_it_is_purged_and_not_before(tmp_path: Path) -> None:
    later = PurgeResult(deferred=(Target("key", "b"),))
    rig = Rig(
        Inline(lambda batch: later if "b" in batch.keys and "a" in batch.keys else PurgeResult()), tmp_path, POLICY
    )
    message = asked("a", "b")
    before = clock()
    offer(rig, message, Invalidation((Target("key", "c"),)))
    assert rig.answers == []
    rig.pending.pace.hurry()
    rig.lane.turn()
    ((node, answered, fate, at),) = rig.answers
    assert (node, answered, fate.end) == ("", message, "purged")
    assert before <= fate.began <= at <= clock()
    rig.stop()
    assert len(rig.answers) == 1


def test_a_lane_with_a_thread_answers_from_there(tmp_path: Path) -> None:
    rig = Rig(Scripted(), tmp_path, POLICY).start()
    offer(rig, asked("a"))
    wait_until(lambda: ends(rig) == [("purged", "")])
    rig.stop()


def test_what_a_flush_stands_for_is_flushed(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path, POLICY)
    offer(rig, asked(*(f"users:{n}" for n in range(6))))
    assert ends(rig) == [("flushed", "")]


def poison(batch: Batch) -> PurgeResult:
    return PurgeResult(tuple(Failure(t, "rejected", retry=False) for t in targets_of(batch) if t.value == "bad"))


def test_what_is_given_up_is_dead_and_says_why_and_what_is_not_even_kept_is_lost(tmp_path: Path) -> None:
    kept, unkept = tmp_path / "kept", tmp_path / "unkept"
    rig, full = Rig(Inline(poison), kept, POLICY), Rig(Inline(poison), unkept, POLICY, letters_limit=0)
    for each in (rig, full):
        offer(each, asked("good", "bad"), Invalidation((Target("key", "other"),)))
    assert (ends(rig), ends(full)) == ([("dead", "rejected")], [("lost", "rejected")])


def test_an_overflow_and_a_stop_are_ends_too(tmp_path: Path) -> None:
    away = Inline(lambda batch: PurgeResult(tuple(Failure(target, "unreachable") for target in targets_of(batch))))
    rig = Rig(away, tmp_path, Policy("users", "objects", limit=2))
    offer(rig, asked("a", "b"))
    offer(rig, asked("c"), number=2)
    assert ends(rig) == [], "the one before it has not ended"
    rig.stop()
    assert ends(rig) == [("dead", "stopped"), ("dead", "overflow")]


def test_a_kind_that_the_backend_lacks_and_a_rehearsal_are_skipped(tmp_path: Path) -> None:
    lacking = Rig(Inline(), tmp_path, Policy("users", "objects", kinds=frozenset({"key"})))
    dry = Rig(Inline(), tmp_path, Policy("users", "objects", dry_run=True))
    offer(lacking, asked("t", kind="tag"))
    offer(dry, asked("a"))
    assert (ends(lacking), ends(dry)) == ([("skipped", "")], [("skipped", "")])


def test_what_comes_again_from_the_journal_is_answered_then(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path, Policy("users", "objects", limit=2, journal=True))
    rig.lane.offer([asked("a", "b", journal="1-1"), refused := asked("c", journal="1-2")], clock(), 1)
    rig.lane.turn()
    assert len(rig.answers) == 1
    offer(rig, refused, number=2)
    assert ends(rig) == [("purged", "")] * 2


def test_what_is_left_to_the_journal_at_a_stop_is_not_answered(tmp_path: Path) -> None:
    away = Inline(lambda batch: PurgeResult(tuple(Failure(target, "unreachable") for target in targets_of(batch))))
    rig = Rig(away, tmp_path, Policy("users", "objects", journal=True))
    offer(rig, asked("a", journal="1-1"))
    rig.stop()
    assert rig.answers == []


def test_of_too_many_the_oldest_are_forgotten() -> None:
    replies = Replies(POLICY, limit=3)
    for number in range(5):
        replies.add(asked(str(number)), number, 0.0)
    assert [message.targets[0].value for message, _ in replies.take(9)] == ["2", "3", "4"]
    assert not replies


def test_nobody_is_kept_in_mind_who_has_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replies, "add", raising(AssertionError("asked for nothing")))
    rig = Rig(Inline(), tmp_path, POLICY)
    offer(rig, Invalidation((Target("key", "a"),)))
    assert rig.ended("purged") == 1

"""hearing.py: what was heard and what was read, told apart and put together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from invalidator import Invalidation, Target
from invalidator.journal.entry import EntryId
from invalidator.replay.hearing import Hearing


def message(at: str, *keys: str) -> Invalidation:
    return Invalidation(tuple(Target("key", key) for key in keys or ("k",)), journal=at)


def test_heard_then_read_and_read_then_heard_are_one() -> None:
    hearing = Hearing()
    assert hearing.hear(message("1-0"), 7, now=1.0) == "new"
    assert hearing.read(EntryId(1, 0), message("1-0"), now=1.1) == 7
    assert hearing.read(EntryId(2, 0), message("2-0"), now=1.1) == 0
    assert hearing.hear(message("2-0"), 8, now=1.2) == "read"
    assert hearing.hear(message("2-0"), 9, now=1.3) == "new", "once"
    assert hearing.overdue(since=99.0) == 0
    assert [heard.number for heard in hearing.absent(asked=99.0)] == [9]


def test_what_is_heard_late_is_not_missed_while_what_was_before_it_comes() -> None:
    hearing = Hearing()
    for number in range(1, 5):
        hearing.read(EntryId(number, 0), message(f"{number}-0"), now=1.0)
    hearing.hear(message("2-0"), 1, now=5.0)
    assert hearing.overdue(since=4.0) == 1, "the first: it would have come before the second"
    assert hearing.hear(message("3-0"), 2, now=8.0) == "read"
    assert hearing.overdue(since=7.0) == 0
    assert hearing.overdue(since=8.5) == 1, "nothing comes any more"
    assert hearing.unheard() == 0


def test_what_there_was_no_room_for_is_read_again_and_not_missed() -> None:
    hearing = Hearing(most_heard=1)
    for number in (1, 2):
        hearing.hear(message(f"{number}-0"), number, now=1.0)
        assert hearing.is_crowded
    assert [heard.number for heard in hearing.overflow()] == [1]
    assert [hearing.read(EntryId(number, 0), message(f"{number}-0"), now=1.0) for number in (1, 2)] == [0, 2]
    assert hearing.overdue(since=9.0) == 0
    assert not hearing.is_crowded


def test_what_is_read_and_not_heard_is_missed_once_and_may_still_come_late() -> None:
    hearing = Hearing()
    hearing.read(EntryId(1, 0), message("1-0"), now=1.0)
    hearing.read(EntryId(2, 0), message("2-0"), now=5.0)
    assert hearing.overdue(since=1.0) == 0
    assert hearing.overdue(since=2.0) == 1
    assert hearing.overdue(since=2.0) == 0
    assert hearing.hear(message("1-0"), 9, now=9.0) == "known"


def test_what_was_read_before_a_break_is_not_missed_when_it_is_read_again() -> None:
    hearing = Hearing()
    for _ in range(2):
        hearing.read(EntryId(1, 0), message("1-0"), now=1.0)
        hearing.hear(message("1-0"), 1, now=1.0)
    assert hearing.overdue(since=9.0) == 0


def test_so_is_what_was_heard_before_it_was_read_and_what_a_predecessor_has_read() -> None:
    hearing = Hearing()
    hearing.reached(EntryId(1, 0))
    hearing.hear(message("2-0"), 1, now=1.0)
    for again in (1.0, 2.0):
        for number in (1, 2):
            hearing.read(EntryId(number, 0), message(f"{number}-0"), now=again)
    assert hearing.overdue(since=9.0) == 0
    hearing.read(EntryId(3, 0), message("3-0"), now=3.0)
    assert hearing.overdue(since=9.0) == 1, "this one is new"


def test_an_id_that_no_entry_has_is_found_out_at_the_end_of_the_journal() -> None:
    hearing = Hearing()
    lie = message("99999999999999-0")
    assert hearing.hear(lie, 3, now=1.0) == "new"
    assert hearing.absent(asked=1.0) == []
    assert [heard.invalidation for heard in hearing.absent(asked=1.1)] == [lie]
    assert len(hearing) == 0


def test_the_id_of_another_entry_is_not_believed() -> None:
    hearing = Hearing()
    assert hearing.hear(message("1-0", "lie"), 1, now=1.0) == "new"
    assert hearing.hear(message("1-0", "true"), 2, now=1.0) == "unjournaled"
    assert hearing.read(EntryId(1, 0), message("1-0", "true"), now=1.0) == 0
    assert [heard.invalidation for heard in hearing.absent(asked=2.0)] == [message("1-0", "lie")]
    hearing.read(EntryId(2, 0), message("2-0", "true"), now=1.0)
    assert hearing.hear(message("2-0", "lie"), 3, now=1.0) == "new"


def test_what_stands_in_no_journal_says_so() -> None:
    assert [Hearing().hear(message(text), 1, now=1.0) for text in ("", "x", "1", "1-1-1")] == ["unjournaled"] * 4


def test_nothing_grows_without_bound() -> None:
    hearing = Hearing(most_heard=10, most_read=10)
    left = []
    for number in range(100):
        hearing.hear(message(f"{number}-1"), number, now=1.0)
        left += hearing.overflow()
        hearing.read(EntryId(number, 2), message(f"{number}-2"), now=1.0)
    assert [heard.number for heard in left] == list(range(90))
    assert hearing.overdue(since=0.5) == 90
    assert len(hearing._unheard) == len(hearing._missed) == 10


@given(st.lists(st.sampled_from(["hear", "read"]), max_size=40))
def test_in_whatever_order_the_two_go_on_each_message_is_dispatched_once(steps: list[str]) -> None:
    hearing = Hearing()
    heard = read = 0
    dispatched = []
    for step in [*steps, *["hear", "read"] * len(steps)]:
        if step == "hear":
            heard += 1
            if hearing.hear(message(f"{heard}-1"), heard, now=1.0) == "new":
                dispatched.append(heard)
        else:
            read += 1
            if not hearing.read(EntryId(read, 1), message(f"{read}-1"), now=1.0):
                dispatched.append(read)
    assert sorted(dispatched) == list(range(1, max(heard, read) + 1))

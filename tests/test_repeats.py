"""repeats.py and ignoring.py: what is a repetition, what is not to be acted on, and what is neither."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator import Invalidation, Target
from invalidator.messages import EVERYTHING, Keys
from invalidator.pipeline.envelope import Envelope
from invalidator.pipeline.ignoring import MOST_HOPS, Ignoring
from invalidator.pipeline.repeats import Repeats, key_of, keys_of

A = Invalidation((Target("key", "users:42"),), id="a")

_target = st.builds(Target, st.sampled_from(["key", "tag"]), st.sampled_from(["a", "b", "ab"])) | st.just(EVERYTHING)
_message = st.builds(
    Invalidation,
    st.lists(_target, min_size=1, max_size=2).map(tuple),
    soft=st.booleans(),
    id=st.sampled_from(["", "x", "y"]),
    source=st.sampled_from(["", "s"]),
    journal=st.sampled_from(["", "1-0", "2-0"]),
)


def test_the_same_again_is_a_repetition_and_its_first_copy_is_not() -> None:
    repeats = Repeats()
    assert not repeats.is_repeat(A, 0.0)
    assert repeats.is_repeat(A, 1.0)
    assert repeats.is_repeat(replace(A, ts=5.0, traceparent="t", reply="invalidator:reply:x"), 2.0)


@pytest.mark.parametrize(
    "other",
    [
        replace(A, id="b"),
        replace(A, targets=(Target("key", "users:43"),)),
        replace(A, targets=(*A.targets, Target("key", "users:43"))),
        replace(A, targets=(Target("tag", "users:42"),)),
        replace(A, soft=True),
        replace(A, source="another"),
    ],
)
def test_an_id_that_is_used_for_something_else_loses_nothing(other: Invalidation) -> None:
    repeats = Repeats()
    repeats.is_repeat(A, 0.0)
    assert not repeats.is_repeat(other, 0.0)


def test_without_an_id_nothing_is_known_again() -> None:
    repeats = Repeats()
    assert not any(repeats.is_repeat(replace(A, id=""), 0.0) for _ in range(3))


def test_what_comes_again_from_the_same_place_of_the_journal_is_for_others_to_judge() -> None:
    repeats = Repeats()
    there = replace(A, journal="1-0")
    assert not repeats.is_repeat(there, 0.0)
    assert not repeats.is_repeat(there, 0.0), "it may be read again because it was not done"
    assert repeats.is_repeat(replace(A, journal="2-0"), 0.0), "its publisher has sent it twice"
    assert repeats.is_repeat(A, 0.0)


def test_it_is_known_for_a_minute_at_least_and_for_two_at_most() -> None:
    repeats = Repeats(window=60.0)
    repeats.is_repeat(A, 59.9)
    repeats.is_repeat(replace(A, id="b"), 60.0)  # a new generation
    assert repeats.is_repeat(A, 119.9)
    assert not repeats.is_repeat(A, 120.1)
    assert not repeats.is_repeat(replace(A, id="b"), 1000.0)


@pytest.mark.parametrize(
    ("message", "envelope"),
    [
        (A, Envelope(id="a", keys=("users:42",))),
        (replace(A, targets=Keys(["users:42"])), Envelope(id="a", keys=("users:42",), ts=1.0)),
        (replace(A, targets=Keys(["b", "c"]), source="s"), Envelope(id="a", keys=("b", "c"), source="s")),
        (replace(A, journal="1-0"), Envelope(id="a", keys=("users:42",))),
    ],
)
def test_what_comes_among_many_and_what_comes_alone_are_known_to_each_other(
    message: Invalidation, envelope: Envelope
) -> None:
    repeats, others = Repeats(), Repeats()
    assert repeats.all_new(keys_of([envelope]), 0.0)
    assert repeats.is_repeat(message, 0.0)
    assert not others.is_repeat(message, 0.0)
    assert not others.all_new(keys_of([envelope]), 0.0)
    assert others.all_new(keys_of([msgspec.structs.replace(envelope, id="b")]), 0.0)
    assert keys_of([msgspec.structs.replace(envelope, id=None)]) == []


def test_in_doubt_is_what_has_come_before_and_what_stands_twice_and_nothing_else() -> None:
    repeats = Repeats(window=10.0)
    assert repeats.all_new([1], 0.0)
    assert repeats.all_new([2], 10.0), "a generation later"
    repeats.is_repeat(replace(A, journal="1-0"), 10.0)
    assert repeats.doubtful([1, 2, 3, 4, 4, key_of(A)]) == {1, 2, 4, key_of(A)}
    assert repeats.doubtful([3, 5]) == set()
    assert repeats.all_new([3, 5], 10.0), "to ask changes nothing"


def test_a_flood_of_ids_is_bounded() -> None:
    repeats = Repeats(most=100)
    for number in range(10_000):
        repeats.is_repeat(replace(A, id=f"{number}" * 100), 0.0)
        assert len(repeats) <= 100
    assert repeats.is_repeat(replace(A, id="9999" * 100), 0.0)
    assert not repeats.is_repeat(replace(A, id="1" * 100), 0.0), "forgotten: it is purged for once more"


@given(st.lists(_message, max_size=30))
def test_only_what_has_come_before_word_for_word_is_a_repetition(messages: list[Invalidation]) -> None:
    repeats = Repeats()
    seen: list[Invalidation] = []
    for message in messages:
        twins = [one for one in seen if (one.id, one.targets, one.soft, one.source)
                 == (message.id, message.targets, message.soft, message.source)]  # fmt: skip
        if repeats.is_repeat(message, 0.0):
            assert message.id
            assert twins
            assert not message.journal or twins[0].journal != message.journal
        seen.append(message)


@pytest.mark.parametrize(
    ("source", "ignored"),
    [("shop", True), ("shop-1", False), ("web-", True), ("web-7", True), ("we", False), ("", False), ("*", False)],
)
def test_a_source_is_ignored_by_its_name_or_by_its_beginning(source: str, ignored: bool) -> None:
    assert Ignoring(["shop", "web-*"]).reason(replace(A, source=source)) == ("source" if ignored else None)
    assert Ignoring().reason(replace(A, source=source)) is None


def test_a_star_alone_ignores_all_that_say_who_they_are() -> None:
    assert Ignoring(["*"]).reason(replace(A, source="x")) == "source"
    assert Ignoring(["*"]).reason(A) is None


def test_what_has_been_passed_on_too_often_goes_round_in_a_circle() -> None:
    assert Ignoring().reason(replace(A, hops=MOST_HOPS - 1)) is None
    assert Ignoring().reason(replace(A, hops=MOST_HOPS)) == "hops"


def test_a_relay_that_feeds_itself_comes_to_an_end() -> None:
    def heard(counts: bool) -> int:
        """How often a message is acted on, between two relays that pass on to each other what they hear."""
        ignoring, message, times = Ignoring(), A, 0
        while times < 100 and ignoring.reason(message) is None:
            times += 1
            message = replace(message, hops=message.hops + counts)
        return times

    assert heard(counts=True) == MOST_HOPS
    assert heard(counts=False) == 100, "without a count it would never end"

"""subsumption.py: purged once and with what contains it, and in the end every cache is as if each had been purged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invalidator import Failure, Invalidation, PurgeResult, Target
from invalidator.backend import targets_of
from invalidator.lanes import subsumption
from invalidator.lanes.admission import admit
from invalidator.lanes.policy import Policy
from invalidator.lanes.replies import Replies
from invalidator.lanes.subsumption import MOST_LOOKS, Subsuming, subsume
from invalidator.lanes.wishes import Stamp, Wishes, covers, name_of
from invalidator.slots import ENDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator import Batch
    from invalidator.lanes.coalescer import Pending

KEYS = ["a", "a:1", "a:1:x", "b", "b:2", "a:"]
TARGET = st.one_of(
    st.sampled_from(KEYS).map(lambda key: Target("key", key)),
    st.sampled_from(["a", "a:", "a:1", "b:", "c"]).map(lambda prefix: Target("prefix", prefix)),
    st.sampled_from([Target("all"), Target("tag", "a:1"), Target("url", "a:1")]),
)
STEP = st.one_of(
    st.tuples(st.lists(TARGET, min_size=1, max_size=3), st.booleans()),
    st.sampled_from(["ok", "ok", "first fails", "all fail", "put off", "refill"]),
)
AFTER = 1_000.0


class Cache:
    """What is in it, and since which step; and what is only marked as stale."""

    def __init__(self) -> None:
        self.fresh = dict.fromkeys(KEYS, 0)

    def purge(self, targets: Sequence[Target]) -> None:
        for key in list(self.fresh):
            if any(covers(target, Target("key", key)) for target in targets):
                del self.fresh[key]


def purged(lane: Pending, batch: Batch, how: str, cache: Cache, now: float) -> None:
    targets = list(targets_of(batch))
    failed = targets if how == "all fail" else targets[:1] if how == "first fails" else []
    put_off = tuple(targets) if how == "put off" else ()
    cache.purge([target for target in targets if target not in failed and target not in put_off])
    result = PurgeResult(tuple(Failure(target, "error") for target in failed), deferred=put_off)
    lane.settle(batch, lane.judge(result, now), now)


@given(st.lists(STEP, max_size=20), st.sampled_from([2, 100]))
@settings(max_examples=300)
def test_in_the_end_a_cache_is_as_if_each_had_been_purged_in_its_turn(steps: list[Any], limit: int) -> None:
    lane = Subsuming(Policy("w", "b", on_gap=True, flush=(Target("all"),), limit=limit), lambda: 0.5)
    cache, asked, stored, overflowed, now = Cache(), dict.fromkeys(KEYS, -1), dict.fromkeys(KEYS, 0), False, 0.0
    batch: Batch | None = None
    for number, step in enumerate(steps, 1):
        now += 10.0
        if step == "refill":
            missing = [key for key in KEYS if key not in cache.fresh]
            cache.fresh |= dict.fromkeys(missing, number)
            stored |= dict.fromkeys(missing, number)
        elif isinstance(step, tuple):
            lane.heard = number
            admit(lane, [Invalidation(tuple(step[0]), soft=step[1])], now)
            asked |= {key: number for key in KEYS if any(covers(one, Target("key", key)) for one in step[0])}
        elif batch:
            purged(lane, batch, step, cache, now)
            batch = None
        batch = batch or lane.take(now)
        overflowed = overflowed or lane.is_flushing()
        assert lane.received == sum(lane.ends[end] for end in ENDS) + len(lane)
    while batch or len(lane) or lane.is_flushing():
        now += AFTER
        if batch:
            purged(lane, batch, "ok", cache, now)
        batch = lane.take(now)
    assert lane.settled_through() == lane.heard
    for key, since in cache.fresh.items():
        assert asked[key] <= since, f"{key} is stale"
    if not overflowed:
        assert {key for key in KEYS if asked[key] < 0} <= set(cache.fresh), "more is gone than anybody has asked for"


def wished(*targets: Target, soft: Sequence[Target] = ()) -> Wishes:
    wishes = Wishes()
    for number, target in enumerate(targets):
        wishes.put(name_of(target), Stamp(None, number), soft=False)
    for target in soft:
        wishes.put(name_of(target), Stamp(None, 99), soft=True)
    return wishes


def test_keys_and_prefixes_go_with_the_shortest_prefix_and_anything_with_all() -> None:
    a, longer, key, tag = Target("prefix", "a"), Target("prefix", "a:"), Target("key", "a:1"), Target("tag", "a")
    wishes = wished(key, longer, a, tag, Target("key", "b"))
    assert subsume(wishes) == 2
    assert {*wishes.hard} == {a, tag, "b"}
    assert wishes.hard[a].number == 0, "the oldest of them has not ended before"
    wishes.put("a:2", Stamp(None, 6), soft=False)
    assert subsume(wishes) == 1, "the prefix is pending yet"
    wishes.put(Target("all"), Stamp(None, 7), soft=False)
    assert subsume(wishes) == 3
    assert {*wishes.hard} == {Target("all")}


def test_what_is_to_be_marked_goes_with_what_is_removed_and_never_the_other_way() -> None:
    prefix, key = Target("prefix", "a:"), Target("key", "a:1")
    assert subsume(wished(prefix, soft=[key])) == 1
    assert subsume(wished(key, soft=[prefix])) == 0
    assert subsume(wished(soft=[prefix, key])) == 1


def test_of_keys_alone_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    wishes = wished(Target("key", "a"), Target("tag", "a"))
    monkeypatch.setattr(subsumption, "wider_of", None)
    assert subsume(wishes) == 0


def test_a_lane_that_waits_for_its_backend_looks_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Subsuming(Policy("w", "b"), lambda: 0.5)
    looks: list[Wishes] = []

    def look(wishes: Wishes) -> int:
        looks.append(wishes)
        return 0

    monkeypatch.setattr(subsumption, "subsume", look)
    admit(lane, [Invalidation((Target("prefix", "a:"), Target("key", "a:1")))], 0.0)
    lane.pace.deferred_until = 5.0
    assert [lane.take(now) for now in (1.0, 2.0, 3.0)] == [None] * 3
    assert not looks
    assert lane.take(5.0)
    assert len(looks) == 1


def test_a_lane_that_is_followed_keeps_each_by_itself() -> None:
    said = [Invalidation((Target("key", "a:1"), Target("prefix", "a:")))]
    for is_followed, left in ((False, 1), (True, 2)):
        lane = Subsuming(Policy("w", "b"), lambda: 0.5, is_followed=is_followed)
        admit(lane, said, 0.0)
        batch = lane.take(0.0)
        assert batch
        assert (len([*targets_of(batch)]), lane.ends["coalesced"]) == (left, 2 - left)


def test_more_prefixes_than_can_be_looked_for_cost_purges_and_no_time() -> None:
    prefixes = [Target("prefix", "a" * length) for length in range(1, 301)]
    keys = [Target("key", "a" * 400 + str(number)) for number in range(MOST_LOOKS // 300 + 1)]
    assert subsume(wished(*prefixes, *keys)) == 0
    assert subsume(wished(*prefixes[:2], *keys)) == len(keys) + 1


@pytest.mark.parametrize("how", ["purged", "dead", "lost"])
def test_who_waits_for_a_key_hears_what_became_of_the_prefix_with_which_it_went(how: str) -> None:
    replies, prefix = Replies(Policy("w", "b")), Target("prefix", "a:")
    replies.add(Invalidation((Target("key", "a:1"),), reply="r"), 1, 0.0)
    replies.add(Invalidation((Target("key", "b"),), reply="r"), 1, 0.0)
    if how == "purged":
        replies.purged([prefix])
    else:
        replies.died([prefix], int(how == "dead"), "rejected")
    (_, first), (_, second) = replies.take(1)
    assert (first.end, second.end) == (how, "flushed")

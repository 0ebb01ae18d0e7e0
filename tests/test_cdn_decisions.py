"""What the CDN backends decide: pure functions of values and `now`."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator import Target
from invalidator.cdn import Limit, Named, Pace, grant, own_url, parse_template
from invalidator.cdn.gathering import Rest, due
from invalidator.cdn.packing import Unit, halves, pack
from invalidator.cdn.plan import Planner
from invalidator.cdn.record import State, decode, encode, record_size
from invalidator.testing.bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Iterable

# The bucket.

COSTS = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 100).map(float)), max_size=30)


@given(COSTS, st.floats(0, 50), st.floats(0, 500))
def test_no_more_is_granted_than_there_is(costs: list[tuple[float, float]], calls: float, urls: float) -> None:
    limits = (Limit(5, 50), Limit(800, 500))
    granted = grant(limits, (calls, urls), tuple(costs))
    taken = [cost for cost, given in zip(costs, granted.given, strict=True) if given]
    assert sum(cost[0] for cost in taken) <= calls + 1e-6
    assert sum(cost[1] for cost in taken) <= urls + 1e-6
    assert (granted.wait == 0) == all(granted.given)
    assert granted.wait < 60


@given(st.lists(st.floats(0.001, 3), max_size=60), st.integers(1, 30), st.floats(0.5, 50))
def test_a_vendor_that_counts_alike_refuses_nothing(pauses: list[float], burst: int, rate: float) -> None:
    limit, vendor = Limit(rate, burst), TokenBucket(rate, burst)
    tokens, now = float(burst), 0.0
    for pause in pauses:
        now += pause
        tokens = limit.refilled(tokens, pause)
        granted = grant((limit,), (tokens,), ((1.0,),) * 5)
        tokens = granted.tokens[0]
        assert [vendor.take(now) for given in granted.given if given] == [0.0] * sum(granted.given)


def test_the_wait_is_as_long_as_it_takes_and_then_it_is_granted() -> None:
    limits = (Limit(5 / 60, 25),)
    granted = grant(limits, (0.0,), ((1.0,),))
    assert granted.wait == pytest.approx(12)
    assert grant(limits, (limits[0].refilled(0.0, granted.wait),), ((1.0,),)).given == (True,)


def test_who_must_wait_keeps_the_turn() -> None:
    limits = (Limit(1, 10), Limit(100, 500))
    assert grant(limits, (10.0, 60.0), ((1.0, 100.0), (1.0, 50.0), (1.0, 0.0))).given == (False, False, True)


def test_what_a_bucket_can_never_hold_is_granted_when_it_is_full() -> None:
    assert grant((Limit(1, 10),), (10.0,), ((25.0,), (1.0,))).given == (True, False)


# Packing.

VALUES = st.integers(1, 7)


def units(counts: Iterable[int], **more: int) -> list[Unit]:
    return [
        Unit(Target("key", f"k{n}"), tuple(f"k{n}.{i}" for i in range(count)), float(n), **more)
        for n, count in enumerate(counts)
    ]


@given(st.lists(VALUES, max_size=300), st.integers(1, 100))
def test_each_target_is_packed_once_and_no_call_is_too_large(counts: list[int], size: int) -> None:
    given = units(counts)
    parcels = pack("files", given, size)
    assert sorted(unit for parcel in parcels for unit in parcel.units) == sorted(given)
    assert all(len(call) <= size for parcel in parcels for call in parcel.calls(size))
    assert [parcel.full for parcel in parcels[:-1]] == [True] * len(parcels[:-1])


@given(st.integers(1, 4), st.integers(0, 1000), st.integers(4, 100))
def test_there_is_hardly_a_call_more_than_the_fewest(width: int, count: int, size: int) -> None:
    calls = sum(len(parcel.calls(size)) for parcel in pack("files", units([width] * count), size))
    assert calls == math.ceil(count / (size // width))


def test_suspects_go_in_halves_until_one_is_alone() -> None:
    names, asked = itertools.count(1), 0
    left = tuple(units([1] * 100))
    while len(left) > 1:
        parcels = pack("files", halves(left, names), 100)
        assert all(parcel.full for parcel in parcels), "nothing else is put to them"
        asked += len(parcels)
        (left,) = [parcel.units for parcel in parcels if any(unit.target.value == "k67" for unit in parcel.units)]
    assert asked <= 14


# Gathering.


def test_a_lone_target_waits_for_a_moment_and_a_call_for_no_longer_than_said() -> None:
    pace = Pace()
    assert due(Rest(1, 100, 10.0, 10.0), pace, 1.0).at == pytest.approx(10.02)
    # A trickle that is never quiet, and would take too long to fill it.
    assert due(Rest(3, 100, 10.0, 10.24), pace, 1.0).at == pytest.approx(10.25)


def test_what_grows_steadily_is_waited_for_until_it_is_full() -> None:
    rest = Rest(50, 100, 10.0, 10.2)  # 250 a second
    assert due(rest, Pace(), 1.0) == pytest.approx((10.45, 10.4))


def test_calls_are_dearer_once_the_bucket_is_drawn_on() -> None:
    rest = Rest(25, 100, 10.0, 10.5)  # 50 a second: two seconds until it is full
    assert due(rest, Pace(), 1.0).at < 10.5
    assert due(rest, Pace(), 0.5).at == pytest.approx(10.75)


@given(st.integers(1, 99), st.floats(0, 100), st.floats(0, 5), st.floats(0, 1))
def test_nothing_waits_for_ever(count: int, since: float, age: float, fullness: float) -> None:
    at, full = due(Rest(count, 100, since, since + age), Pace(), fullness)
    assert at <= since + Pace().scarce
    assert full <= at


def key(n: int) -> tuple[Target, Named]:
    return Target("key", f"k{n}"), Named("files", (f"u{n}",))


def test_full_calls_go_at_once_and_the_rest_gathers() -> None:
    planner = Planner()

    def plan(count: int, now: float, *, hurry: bool = False) -> tuple[list[int], list[int]]:
        found = planner.plan(
            map(key, range(count)), lambda _: 100, now, soft=False, hurry=hurry, fullness=lambda _: 1.0
        )
        return [len(parcel.units) for parcel in found.ready], [len(parcel.units) for parcel, _ in found.later]

    assert plan(250, 10.0) == ([100, 100], [50])
    assert plan(250, 10.01) == ([100, 100], [50])
    assert plan(250, 10.021) == ([100, 100, 50], []), "nothing was added for a moment"
    assert plan(270, 10.03) == ([100, 100], [70]), "now something was"
    assert plan(270, 10.03, hurry=True) == ([100, 100, 70], [])


def test_soft_and_hard_never_share_a_call() -> None:
    planner = Planner()
    for soft in (True, False):
        found = planner.plan([key(1)], lambda _: 100, 10.0, soft=soft, hurry=False, fullness=lambda _: 1.0)
        assert [len(parcel.units) for parcel, _ in found.later] == [1]
    assert planner.known(Target("key", "k1"), soft=True)
    planner.done([parcel for parcel, _ in found.later], soft=False)
    assert planner.known(Target("key", "k1"), soft=True)
    assert not planner.known(Target("key", "k1"), soft=False)


# The record.

BOOT, OTHER = b"b" * 16, b"c" * 16


def test_a_record_is_read_as_it_was_written() -> None:
    state = State((3.5, 700.0), 100.0, 5000.0, 130.0)
    data = encode(state, BOOT)
    assert len(data) == record_size(2)
    assert decode(data, 2, BOOT, 101.0, 5001.0) == state._replace(wall=5001.0)


@given(st.binary(max_size=200))
def test_garbage_is_no_record(data: bytes) -> None:
    assert decode(data, 2, BOOT, 100.0, 5000.0) is None


@given(st.integers(0, record_size(2) - 1), st.integers(0, 7))
def test_one_wrong_bit_and_it_is_no_record(place: int, bit: int) -> None:
    data = bytearray(encode(State((3.5, 700.0), 100.0, 5000.0), BOOT))
    data[place] ^= 1 << bit
    assert decode(bytes(data), 2, BOOT, 100.0, 5000.0) is None


def test_after_a_reboot_the_wall_clock_says_how_much_time_has_passed() -> None:
    data = encode(State((0.0, 0.0), 9000.0, 5000.0, 9020.0), BOOT)
    after = decode(data, 2, OTHER, 30.0, 5015.0)
    assert after is not None
    assert (after.at, after.before) == (15.0, 35.0)


def test_a_clock_that_went_backwards_refills_nothing_and_blocks_nobody_for_long() -> None:
    data = encode(State((1.0, 1.0), 9000.0, 5000.0, 9e9), BOOT)
    after = decode(data, 2, BOOT, 100.0, 4000.0)
    assert after is not None
    assert after.at == 100.0
    assert after.before <= 400.0


# URLs.


@given(st.text(max_size=40))
def test_a_key_chooses_a_path_and_never_a_host(key: str) -> None:
    template = parse_template("https://shop.example/a/{key}")
    try:
        url = template.url(key)
        beginning = template.beginning(key)
    except (ValueError, UnicodeError):
        return
    assert url.startswith("https://shop.example/a/")
    assert url.isascii()
    assert own_url(url, ["shop.example"]) == url
    assert url.startswith(beginning)
    assert not set(url.removeprefix("https://")) & set("?#\\ ")

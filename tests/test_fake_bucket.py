"""How the fakes count: whatever a client does, no more is granted than was documented, and what it was told is true."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from invalidator.testing import TokenBucket, Window

rates = st.floats(0.01, 5000)
sizes = st.integers(1, 5000)
steps = st.lists(st.tuples(st.floats(0, 1000), st.integers(1, 600)), max_size=60)


def test_a_bucket_begins_full_and_refills_steadily_up_to_its_capacity() -> None:
    bucket = TokenBucket(5 / 60, 25)
    assert [bucket.take(0) for _ in range(25)] == [0] * 25
    assert bucket.take(0) == 12
    assert bucket.take(11.99) > 0
    assert bucket.take(12) == 0
    assert bucket.level(1e9) == 25


def test_a_full_bucket_gains_nothing_so_its_clock_begins_with_the_first_arrival() -> None:
    """Why a client that counts from when it sent its first call, and spends to the last token, is refused at times."""
    bucket = TokenBucket(10, 5)
    sent, latency = 100.0, 0.03
    assert [bucket.take(sent + latency) for _ in range(5)] == [0] * 5
    assert bucket.take(sent + 0.1) > 0
    assert bucket.take(sent + 0.1 + latency) == 0


@given(rates, sizes, steps)
def test_no_stretch_of_time_is_granted_more_than_a_burst_and_its_refill(
    rate: float, size: int, asked: list[tuple[float, int]]
) -> None:
    bucket, now, granted = TokenBucket(rate, size), 1000.0, []
    for wait, count in asked:
        now += wait
        if bucket.take(now, count) == 0:
            granted.append((now, count))
    for first, (began, _) in enumerate(granted):
        for ended, _ in granted[first:]:
            total = sum(count for at, count in granted if began <= at <= ended)
            assert total <= size + rate * (ended - began) + 1e-3


@given(rates, sizes, steps, st.floats(0, 1e7))
def test_waiting_as_long_as_it_says_is_enough_and_much_less_is_not(
    rate: float, size: int, asked: list[tuple[float, int]], now: float
) -> None:
    bucket = TokenBucket(rate, size)
    for wait, count in asked:
        now += wait
        bucket.take(now, count)
    before = bucket.level(now)
    told = bucket.take(now, size)
    if told:
        assert bucket.level(now) == before, "what is refused takes nothing"
        assert bucket.wait(now + told * 0.9, size) > 0 or told * rate < 1e-4
        now = math.nextafter(now + told, math.inf)
    assert bucket.take(now, size) == 0 or told == 0


def test_more_than_the_capacity_is_never_granted() -> None:
    bucket = TokenBucket(10, 5)
    assert bucket.take(0, 6) == math.inf
    assert bucket.level(0) == 5


def test_a_clock_that_runs_backwards_refills_nothing() -> None:
    bucket = TokenBucket(10, 5)
    bucket.take(100, 3)
    assert bucket.level(50) == 2
    assert bucket.take(50, 2) == 0
    assert bucket.take(100) > 0


@given(st.integers(1, 50), st.lists(st.floats(0, 5000), max_size=200))
def test_a_window_grants_its_limit_and_no_more_until_it_is_over(limit: int, waits: list[float]) -> None:
    window, now, granted = Window(limit, 3600), 0.0, []
    for wait in waits:
        now += wait
        remaining, told = window.remaining(now), window.take(now)
        assert (told == 0) == (remaining > 0)
        assert told <= 3600
        if told == 0:
            granted.append(now)
        else:
            assert math.isclose(told, window.resets_in(now))
    assert all(late - early >= 3600 - 1e-6 for early, late in zip(granted, granted[2 * limit :], strict=False))

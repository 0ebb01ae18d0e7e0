"""supervision/history.py: rates and latencies of the last minute, from samples of counters."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from invalidator.slots import PURGE_BOUNDS, Region, Snapshot
from invalidator.supervision.history import SECONDS, History, quantile


def words(received: int = 0, purged: int = 0, *seconds: float) -> Snapshot:
    region = Region(["b"])
    region.worker().add("received", received)
    slots = region.backend("b")
    slots.add({"purged": purged})
    for value in seconds:
        slots.add({}, purge=value)
    return region.snapshot()


def test_a_rate_is_the_mean_of_the_last_seconds() -> None:
    history = History()
    for second in range(8):
        history.add(float(second), words(received=second * second))

    assert history.rate() == (49 - 4) / 5
    assert history.rates() == (1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0)


def test_the_purge_rate_is_of_one_backend() -> None:
    history = History()
    history.add(0.0, words(purged=0))
    history.add(1.0, words(purged=40))

    assert history.purge_rate("b") == 40.0
    assert history.purge_rate("another") == 0.0


def test_a_sample_is_taken_once_a_second_and_only_a_minute_is_kept() -> None:
    history = History()
    for tick in range(SECONDS * 20):
        history.add(tick / 10, words(received=tick))

    assert len(history.rates()) == SECONDS
    assert history.next_due(119.5) == pytest.approx(0.5)


def test_what_was_slow_more_than_a_minute_ago_is_forgotten() -> None:
    history = History()
    slow = [9.0] * 100
    history.add(0.0, words(0, 0, *slow))
    assert history.latency("b", "purge", words(0, 0, *slow, 0.0004)).p99 == pytest.approx(0.0005, abs=0.0001)

    empty = History()
    p99 = empty.latency("b", "purge", words(0, 0, *slow, 0.0004)).p99
    assert p99 is not None, "without the sample from before"
    assert p99 > 5, "the same counters are those of a slow backend"


def test_nothing_measured_is_no_latency() -> None:
    assert History().latency("b", "purge", words()).p50 is None
    assert quantile([0] * (len(PURGE_BOUNDS) + 1), 0.5) is None


def test_what_lies_beyond_the_last_bound_is_said_to_be_the_bound() -> None:
    assert quantile([0] * len(PURGE_BOUNDS) + [5], 0.5) == PURGE_BOUNDS[-1]


@example([1.0] * 3 + [0.001953125] * 3, 0.5)
@given(st.lists(st.floats(min_value=0, max_value=9.9), min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    bounds = [0.0, *PURGE_BOUNDS]
    counts = [
        sum(low < v <= high or (low == 0 and v == 0) for v in values)
        for low, high in zip(bounds, PURGE_BOUNDS, strict=False)
    ]
    rank = share * len(values)
    true = next(value for index, value in enumerate(sorted(values), 1) if index >= rank)
    bucket = next(index for index, bound in enumerate(PURGE_BOUNDS) if true <= bound)
    found = quantile([*counts, 0], share)

    assert found is not None
    assert bounds[bucket] <= found <= PURGE_BOUNDS[bucket]

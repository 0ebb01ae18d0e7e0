"""backoff.py: when to try again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from invalidator.backoff import RESTARTS_AT_ONCE, equal_jitter, full_jitter, restart_delay

CHANCE = st.floats(0, 1, exclude_max=True)
ATTEMPT = st.integers(1, 10**6)


@given(attempt=ATTEMPT, chance=CHANCE)
def test_full_jitter_stays_below_a_bound_that_doubles_up_to_the_longest(attempt: int, chance: float) -> None:
    delay = full_jitter(attempt, 0.05, 5.0, chance)

    assert 0 <= delay <= min(5.0, 0.05 * 2 ** min(attempt - 1, 20))


@given(attempt=ATTEMPT, chance=CHANCE)
def test_equal_jitter_never_goes_below_half_of_its_bound(attempt: int, chance: float) -> None:
    bound = min(30.0, 0.5 * 2 ** min(attempt - 1, 20))

    assert bound / 2 <= equal_jitter(attempt, 0.5, 30.0, chance) <= bound


def test_a_crash_of_a_ready_worker_restarts_it_at_once() -> None:
    assert restart_delay([100.0], failures=0, now=100.0, first=0.5, longest=30.0, chance=0.5) == 0.0


def test_the_thirty_first_crash_within_ten_seconds_waits() -> None:
    crashes = [100.0 + index / 10 for index in range(RESTARTS_AT_ONCE + 1)]

    allowed = restart_delay(crashes[:-1], failures=0, now=103.0, first=0.5, longest=30.0, chance=0.5)
    refused = restart_delay(crashes, failures=0, now=103.0, first=0.5, longest=30.0, chance=0.5)

    assert allowed == 0.0
    assert refused >= 0.25


def test_crashes_that_are_long_past_do_not_count() -> None:
    crashes = [float(index) for index in range(100)]

    assert restart_delay(crashes, failures=0, now=1000.0, first=0.5, longest=30.0, chance=0.5) == 0.0


def test_a_worker_that_dies_at_its_start_is_started_at_most_ten_times_in_the_first_minute() -> None:
    for chance in (0.0, 0.5, 0.999):
        now, starts = 0.0, 0
        while now < 60.0:
            starts += 1
            now += restart_delay([], failures=starts, now=now, first=0.5, longest=30.0, chance=chance)
        assert starts <= 10

"""collector.py: what waits for a backend is not looked at again and again for garbage that it cannot be."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from invalidator import Target
from invalidator.pipeline.collector import EVERY, Collector

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@contextmanager
def full_collections() -> Iterator[list[int]]:
    """The objects that were collected in each."""
    seen: list[int] = []

    def note(phase: str, info: dict[str, Any]) -> None:
        if phase == "stop" and info["generation"] == 2:
            seen.append(info["collected"])

    gc.callbacks.append(note)
    try:
        yield seen
    finally:
        gc.callbacks.remove(note)


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "control"])
def test_a_hundred_thousand_targets_that_wait_cost_no_full_collection(ours: bool) -> None:
    if ours:
        Collector(0.0)
    gc.collect()
    gc.freeze()  # as the supervisor does, before it forks
    try:
        with full_collections() as seen:
            waiting = [[Target("key", f"users:{number}"), [number]] for number in range(100_000)]
        assert len(waiting) == 100_000
        assert (seen == []) is ours
    finally:
        gc.unfreeze()


def test_cycles_are_found_all_the_same_now_and_then() -> None:
    collector = Collector(0.0)
    gc.collect()
    cycle: list[Any] = []
    cycle.append(cycle)
    del cycle
    with full_collections() as seen:
        collector.turn(EVERY - 1)
        assert seen == []
        collector.turn(EVERY)
        collector.turn(EVERY + 1)
    assert len(seen) == 1
    assert seen[0] >= 1

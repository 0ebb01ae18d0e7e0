"""recycling.py: when a process has served long enough. Pure but for the memory, which /proc knows."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import pytest

from invalidator.supervision.recycling import EVERY, LONGEST_REST, REST, Recycling, rss_of

if TYPE_CHECKING:
    from invalidator.supervision.incarnation import Incarnation


@dataclass
class Limits:
    max_messages: int | None = None
    max_rss: int | None = None


@dataclass
class Process:
    """As much of an Incarnation as is looked at."""

    spec: Limits = field(default_factory=Limits)
    pid: int = os.getpid()
    began: float = 0.0
    messages: int = 0

    def received(self) -> int:
        return self.messages


def process(**fields: object) -> Incarnation:
    return cast("Incarnation", Process(**fields))  # type: ignore[arg-type]


def test_without_limits_nobody_looks() -> None:
    assert Recycling().wanted(process(messages=10**9), 1.0) == ""
    assert Recycling().next_due(process(), 1.0) == float("inf")


def test_so_many_messages_are_enough_and_one_less_is_not() -> None:
    recycling = Recycling()

    assert recycling.wanted(process(spec=Limits(max_messages=100), messages=99), 1.0) == ""
    assert recycling.wanted(process(spec=Limits(max_messages=100), messages=100), 1.0 + EVERY) != ""


def test_memory_is_that_of_the_process() -> None:
    resident = rss_of(os.getpid())

    assert resident > 1 << 20
    assert Recycling().wanted(process(spec=Limits(max_rss=resident // 2)), 1.0) != ""
    assert Recycling().wanted(process(spec=Limits(max_rss=resident * 2)), 1.0) == ""
    assert rss_of(2**22 + 1) == 0


def in_an_hour(limits: Limits) -> list[float]:
    """When it is recycled, if each process is beyond its limit as soon as it has started."""
    recycling = Recycling()
    at: list[float] = []
    began = now = 1.0
    while now < 3600:
        if recycling.wanted(process(spec=limits, began=began, messages=1), now):
            at.append(now)
            began = now + 0.1
        now += EVERY
    return at


@pytest.mark.parametrize("limits", [Limits(max_rss=1), Limits(max_messages=1)])
def test_a_limit_below_what_a_start_needs_is_no_hot_loop(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    at = in_an_hour(limits)
    pauses = [after - before for before, after in pairwise(at)]

    assert min(pauses) >= REST
    assert pauses[-1] >= LONGEST_REST
    assert len(at) < 20
    # The control: without a rest, it would be replaced whenever it is looked at.
    monkeypatch.setattr("invalidator.supervision.recycling.REST", 0.0)
    assert len(in_an_hour(limits)) > 1000


def test_a_worker_that_grows_slowly_is_recycled_whenever_it_has() -> None:
    recycling = Recycling()
    for now in (1000.0, 2000.0, 3000.0):
        assert recycling.wanted(process(spec=Limits(max_rss=1), began=now - 900), now)
        assert not recycling.wanted(process(spec=Limits(max_rss=1 << 60), began=now), now + EVERY)

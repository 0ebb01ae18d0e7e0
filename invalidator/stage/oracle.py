"""The oracle: waits until nothing is under way, then compares every entry of every cache with the truth."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.stage.shop import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from invalidator.stage.building import Stage
    from invalidator.stage.readings import Readings
    from invalidator.stage.truth import Truth

QUIET = 1.2
"""Seconds without any change: longer than the second over which the flush after a gap may be spread."""
QUIET_TIMEOUT = 20.0
_POLL = 0.05
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """One cache at the end: how many entries it holds, and how many of them are older than what was last published."""

    held: int
    stale: int


def await_quiet(stage: Stage) -> bool:
    """Whether the daemon has come to rest, subscribed and with nothing pending, within QUIET_TIMEOUT."""
    deadline = time.monotonic() + QUIET_TIMEOUT
    before: tuple[int, ...] = ()
    since = time.monotonic()
    while (now := time.monotonic()) < deadline:
        readings = stage.readings()
        state = _state(readings)
        if state != before or readings.sum("pending") or not readings.sum("subscribed"):
            before, since = state, now
        if now - since >= QUIET:
            return True
        time.sleep(_POLL)
    return False


def examine(stage: Stage, truth: Truth) -> dict[str, Finding]:
    """What is held and what is stale, by kind of cache. The shop is not to refill anything meanwhile."""
    return {kind: _compare(_held(stage, kind, address, truth), truth) for kind, address in stage.addresses.items()}


def _state(readings: Readings) -> tuple[int, ...]:
    names = ("messages_received_total", "gaps_total", "flushes_total", "targets_total", "worker_restarts_total")
    return tuple(readings.sum(name) for name in names)


def _held(stage: Stage, kind: str, address: str, truth: Truth) -> Mapping[str, int]:
    if kind == "lru":
        served: dict[str, int] = stage.shop.ask("served")
        return served
    with closing(SHARED[kind](address)) as store:
        return {key: version for part in _parts(truth) for key, version in store.held(part).items()}


def _parts(truth: Truth) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(truth.keys), _AT_ONCE):
        yield truth.keys[start : start + _AT_ONCE]


def _compare(held: Mapping[str, int], truth: Truth) -> Finding:
    return Finding(len(held), sum(version != truth.version(key) for key, version in held.items()))

"""Bursts that are as fast as Redis can speak: is all of it received, whatever the caches cost?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks import contenders, load
from benchmarks.flood import flood
from benchmarks.runs.run import Found, Run

if TYPE_CHECKING:
    from benchmarks.runs.run import Task

LANES = {"lru": contenders.OURS_LRU, "memcached": contenders.OURS_MEMCACHED}


def _missing() -> str:
    return load.missing() or contenders.no_memcached()


def _do(task: Task) -> Found:
    rounds = task.rounds(10)
    count = task.sized(2_000_000, 20_000)
    parts = {name: partial(flood, task, lane, load.bare(), count) for name, lane in LANES.items()}
    outcomes = task.in_turn(rounds, parts)
    samples = {name: [each.whole for each in found] for name, found in outcomes.items()}
    for name, found in outcomes.items():
        whole = [each.share == 1.0 and not each.killed and not each.gaps for each in found]
        samples[f"{name} whole"] = [float(each) for each in whole]
    shares = {name: [each.share for each in found] for name, found in outcomes.items()}
    return Found(rounds, {"unit": "messages/s", "published": count, "samples": samples, "share": shares})


RUNS = (Run("bursts", "bursts of 2 M messages over 50,000 keys", _do, _missing),)

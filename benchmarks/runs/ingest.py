"""How many messages a second are handled while Redis publishes as fast as it can: live, not from a backlog."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks import contenders, load
from benchmarks.flood import flood
from benchmarks.runs.run import Found, Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.contenders import Contender
    from benchmarks.flood import Outcome
    from benchmarks.runs.run import Task

FAST: Mapping[str, Contender] = {
    "limit": contenders.LIMIT,
    "bare": contenders.BARE,
    "ours": contenders.OURS_LRU,
}
PEERS: Mapping[str, Contender] = {
    **FAST,
    "node-redis": contenders.NODE_REDIS,
    "ioredis": contenders.IOREDIS,
    "redis-py": contenders.REDIS_PY,
    "redis.asyncio": contenders.REDIS_ASYNCIO,
    "faststream": contenders.FASTSTREAM,
    "ping-each": contenders.PING_EACH,
}


def side_by_side(task: Task, among: Mapping[str, Contender], payload: str, count: int, rounds: int) -> Found:
    """The same flood for each of these, in turn."""
    there = {name: contender for name, contender in among.items() if not contender.missing()}
    parts = {name: partial(flood, task, contender, payload, count) for name, contender in there.items()}
    outcomes = task.in_turn(rounds, parts)
    missing = {name: contender.missing() for name, contender in among.items() if name not in there}
    return Found(rounds, {"unit": "messages/s", "published": count, "missing": missing, **recorded(outcomes)})


def recorded(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, object]:
    """Every round of everybody; `ours unhurt` is 1 for a round in which we received all, on one connection."""
    samples = {name: [each.live for each in rounds] for name, rounds in outcomes.items()}
    ours = outcomes.get("ours", ())
    samples["ours unhurt"] = [float(each.share == 1.0 and not each.killed and not each.gaps) for each in ours]
    return {
        "samples": samples,
        "until_all": {name: [each.whole for each in rounds] for name, rounds in outcomes.items()},
        "share": {name: [each.share for each in rounds] for name, rounds in outcomes.items()},
        "gaps": [each.gaps for each in ours],
        "killed": {name: sum(each.killed for each in rounds) for name, rounds in outcomes.items()},
    }


def _keys(task: Task) -> Found:
    return side_by_side(task, FAST, load.bare(), task.sized(1_000_000, 20_000), task.rounds(5))


def _envelope(task: Task) -> Found:
    return side_by_side(task, FAST, load.envelope(), task.sized(1_000_000, 20_000), task.rounds(5))


def _peers(task: Task) -> Found:
    return side_by_side(task, PEERS, load.bare(), task.sized(1_000_000, 10_000), task.rounds(3))


RUNS = (
    Run("ingest.keys", "bare keys, against the limit and a bare loop", _keys, load.missing),
    Run("ingest.envelope", "JSON envelopes, against the same", _envelope, load.missing),
    Run("ingest.peers", "bare keys, against what others receive", _peers, load.missing),
)

"""The law of conservation, lane by lane: what a lane received has come to an end there, or is pending.

It is exact as long as no worker is killed. A SIGKILL may tear what a lane was just writing down of one batch. How large
a batch was is taken from the ledgers: theirs are the smallest of all lanes', as nothing gathers while one is asked.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos import ledger
from chaos.scene import LANES
from invalidator.slots import ENDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from chaos.scene import Scene
    from tests.support.metrics import Metrics

KILLED = ("signal", "early")
"""The reasons under which the daemon counts a worker that somebody has killed: after it was ready, or before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """`off_by` has the lanes that do not add up, as `worker/backend`: targets that came to no end, or to two (below 0).

    `killed` counts the SIGKILLs of each worker, `batch` is the most targets that its ledger was given at once.
    """

    off_by: Mapping[str, int]
    killed: Mapping[str, int]
    batch: Mapping[str, int]


def account(scene: Scene, metrics: Metrics) -> Account:
    """How the lanes of this daemon add up now."""
    balances = {lane: _balance(metrics, *lane) for lane in _lanes(metrics)}
    return Account(
        off_by={f"{worker}/{backend}": off for (worker, backend), off in balances.items() if off},
        killed={
            worker: sum(total(metrics, "worker_restarts_total", worker=worker, reason=reason) for reason in KILLED)
            for worker in LANES
        },
        batch={worker: _largest(ledger.of(scene.ledger, worker)) for worker in LANES},
    )


def total(metrics: Metrics, name: str, **labels: str) -> int:
    """The sum over all series of this name with these labels; 0 if there is none."""
    with suppress(KeyError):
        return int(metrics.value(f"invalidator_{name}", **labels))
    return 0


def slower(metrics: Metrics, histogram: str, than: float, **labels: str) -> int:
    """How many of what this histogram counts took longer. `than` has to be one of its bounds."""
    within = total(metrics, f"{histogram}_bucket", le=f"{than:g}", **labels)
    return total(metrics, f"{histogram}_count", **labels) - within


def _lanes(metrics: Metrics) -> Iterator[tuple[str, str]]:
    for series, labels in metrics:
        if series == "invalidator_targets_received_total":
            lane = dict(labels)
            yield lane["worker"], lane["backend"]


def _balance(metrics: Metrics, worker: str, backend: str) -> int:
    lane = {"worker": worker, "backend": backend}
    ended = sum(total(metrics, "targets_total", **lane, end=end) for end in ENDS)
    return total(metrics, "targets_received_total", **lane) - ended - total(metrics, "pending", **lane)


def _largest(file: Path) -> int:
    lines = file.read_text().splitlines() if file.exists() else []
    return max((len(line.split()) - 1 for line in lines), default=0)

"""The drill from its beginning to its end: for each delivery its own stage, and on it one fault after the other."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from invalidator.drill.faults import FAULTS as OWN_FAULTS
from invalidator.drill.outages import OUTAGES
from invalidator.drill.scene import Scene
from invalidator.drill.topology import topology
from invalidator.drill.trial import LONGEST_FAULT, Trial
from invalidator.stage import building, proxy, truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from invalidator.drill.fault import Fault
    from invalidator.drill.promises import Outcome
    from invalidator.stage.building import Stage

FAULTS = (*OWN_FAULTS, *OUTAGES)


@dataclass(frozen=True, slots=True)
class Plan:
    """`faults` by name, in this order; `lead` seconds of load before each; `guards` off: gaps are ignored."""

    deliveries: Sequence[str]
    faults: Sequence[Fault]
    rate: float
    lead: float
    seed: int
    guards: bool = True


@dataclass(frozen=True, slots=True)
class Watcher:
    """Whom the drill tells: what stands on the stage, that a fault begins, and what came of it."""

    stage: Callable[[str, Stage], None]
    begins: Callable[[Fault], None]
    ended: Callable[[Outcome], None]


def run(plan: Plan, watcher: Watcher) -> list[Outcome]:
    """Every fault that applies, with each delivery. Raises UnreachableError when something needed does not start."""
    outcomes = []
    for delivery in plan.deliveries:
        with tempfile.TemporaryDirectory(prefix="invalidator-drill-") as directory:
            for outcome in _with(delivery, plan, Path(directory), watcher):
                watcher.ended(outcome)
                outcomes.append(outcome)
    return outcomes


def _with(delivery: str, plan: Plan, directory: Path, watcher: Watcher) -> Iterator[Outcome]:
    products = building.HOT + int(plan.rate * (plan.lead + LONGEST_FAULT) / 2) + 1
    with building.built(directory, products) as stage, proxy.opened(("127.0.0.1", stage.broker.port)) as path:
        described = topology(stage, path.address, delivery=delivery, guards=plan.guards)
        with building.open_for_business(stage, described), truth.opened(stage.truth) as database:
            watcher.stage(delivery, stage)
            scene = Scene(stage, path, Random(plan.seed), described)
            trial = Trial(scene, database, delivery=delivery, rate=plan.rate, lead=plan.lead)
            for fault in plan.faults:
                if fault.applies(delivery, stage.addresses):
                    watcher.begins(fault)
                    yield trial.run(fault)

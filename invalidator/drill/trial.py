"""One fault, from warm caches to its outcome."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator.drill.promises import Check, Outcome, accounted, gained, nothing_stale, replayed
from invalidator.drill.scene import PATIENCE
from invalidator.errors import UnreachableError
from invalidator.lanes.pace import LARGEST_BATCH
from invalidator.publisher import Publisher
from invalidator.stage.building import CHANNEL, writing
from invalidator.stage.oracle import examine
from invalidator.stage.rest import unaccounted

if TYPE_CHECKING:
    from invalidator.drill.fault import Fault
    from invalidator.drill.scene import Scene
    from invalidator.stage.truth import Truth

LONGEST_LOAD = 120.0
LONGEST_FAULT = 8.0
"""Seconds of load in which no product but the hot ones changes twice: a later change heals what is stale."""


class Trial:
    """`rate` changes a second are published before, during and after each fault; `lead` seconds before it."""

    def __init__(self, scene: Scene, database: Truth, *, delivery: str, rate: float, lead: float) -> None:
        self._scene = scene
        self._database = database
        self._delivery = delivery
        self._rate = rate
        self._lead = lead
        self._leaves_stale = False

    def run(self, fault: Fault) -> Outcome:
        """Try it. Raises UnreachableError when a process of ours has failed."""
        scene = self._scene
        self._renew_what_is_stale()
        scene.stage.shop.ask("warm")
        gaps, spared, published = scene.gaps(), scene.bystander(), self._database.published
        flushes, daemon = scene.flushes(), scene.stage.daemon.pid
        scene.stage.shop.ask("read")
        checks, seconds = self._under_load(fault)
        rests = scene.come_to_rest()
        scene.stage.shop.ask("pause")
        found = examine(scene.stage, self._database)
        stale = {kind: finding.stale for kind, finding in found.items()}
        self._leaves_stale = any(stale.values())
        entries = sum(finding.held for finding in found.values())
        checks += [nothing_stale(stale, entries), *self._after(fault, rests=rests)]
        if fault.replayed and self._delivery == "journal":
            checks.append(replayed(scene.flushes() - flushes))
        if fault.spares:
            now = scene.bystander()
            evidence = f"process and gaps are {now}, were {spared}"
            checks.append(Check("the other worker does not notice", now == spared, evidence))
        return Outcome(
            fault=fault.name,
            delivery=self._delivery,
            recovered=seconds if rests else None,
            gaps=gained(gaps if scene.stage.daemon.pid == daemon else {}, scene.gaps()),  # a new daemon begins anew
            stale=stale,
            entries=entries,
            published=self._database.published - published,
            checks=tuple(checks),
            about=fault.about,
        )

    def _under_load(self, fault: Fault) -> tuple[list[Check], float]:
        before = self._database.published
        with writing(self._scene.stage, self._rate, LONGEST_LOAD, self._delivery) as writer:
            # To start it takes longer than many a fault: one that strikes before there is any load shows nothing.
            if self._scene.seconds_until(lambda: self._database.published > before) is None:
                writer.check_end()
                raise UnreachableError("nothing is published: Redis does not take it, or the machine is too busy")
            # Not always at the same moment of a heartbeat or of a batch.
            self._scene.passes(self._lead * (0.5 + self._scene.chance.random() / 2))
            began = time.monotonic()
            checks = list(fault.strike(self._scene))
            seconds = time.monotonic() - began
            writer.check_end()
            self._scene.passes(self._lead / 2)
            writer.finish(PATIENCE)  # of its own accord: what it has changed, it has also published
        return checks, seconds

    def _renew_what_is_stale(self) -> None:
        """What an earlier fault has left stale would be counted again after this one, which has not done it."""
        if self._leaves_stale:
            with Publisher(self._scene.stage.broker.url, journal=self._delivery == "journal") as publisher:
                publisher.invalidate(CHANNEL, self._database.keys)
            self._scene.come_to_rest()

    def _after(self, fault: Fault, *, rests: bool) -> list[Check]:
        status = self._scene.status()
        checks = [Check("the daemon comes to rest", rests, "it did" if rests else "something is still owed")]
        if status is None:
            return [*checks, Check("the daemon answers", kept=False, evidence="it does not")]
        checks.append(accounted(unaccounted(status), LARGEST_BATCH if fault.kills else 0))
        well = status.state == "running"
        return [*checks, Check("the daemon is well", well, "; ".join(status.troubles) or status.state)]

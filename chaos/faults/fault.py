"""What every fault has: how it begins, how it ends, and what it needs."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from chaos import programs
from chaos.conservation import total
from chaos.delivery import MODES
from chaos.scene import LANES, pause
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from chaos.delivery import Mode
    from chaos.oracle import Verdict
    from chaos.scene import Scene


class UnseenError(AssertionError):
    """A fault has left no trace: it did not take place, or nobody has noticed it."""


class Fault:
    """One fault, injected `times` times into a scene. `chance` decides what is left to chance, by the run's seed."""

    name: ClassVar[str]
    title: ClassVar[str]
    """What it is, for the README."""
    times: ClassVar[int] = 3
    hold: ClassVar[float] = 0.5
    """Seconds from the injection to the healing."""
    recovery: ClassVar[float] = 20.0
    """Seconds in which every worker has to be subscribed again."""
    modes: ClassVar[tuple[Mode, ...]] = MODES
    programs: ClassVar[tuple[str, ...]] = ()
    root: ClassVar[bool] = False
    """Whether it needs a network namespace of its own, or rights over one."""
    setting: ClassVar[Mapping[str, Any]] = {}
    """What this fault changes about the scene, see Setting."""
    least: ClassVar[int] = 1
    """By how much `trace` has to grow each time: else the fault did nothing, and the run has shown nothing."""
    notice: ClassVar[float] = 5.0
    """Seconds after the recovery in which that has to be seen."""

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        self.scene = scene
        self.chance = chance
        self.done = 0
        """How often the injection itself has seen that it took place."""
        self.seen: list[int] = []
        """By how much `trace` has grown, each time."""

    @classmethod
    def missing(cls) -> str:
        """Why it cannot be injected on this machine; empty if it can."""
        absent = [program for program in cls.programs if programs.find(program) is None]
        if absent:
            return f"{', '.join(absent)} is not on this machine"
        return "it needs root" if cls.root and os.geteuid() != 0 else ""

    @classmethod
    def is_kept(cls, verdict: Verdict) -> bool:
        """Whether what is promised of this fault in particular was kept."""
        return True

    def trace(self) -> int:
        """A number that grows when this fault takes place, and by nothing else: the gaps, if it makes any."""
        return total(self.scene.run.metrics(), "gaps_total")

    def prepare(self) -> None:
        """Once, before the load."""

    def inject(self) -> None:
        """Begin. Returns once it has begun."""
        raise NotImplementedError

    def heal(self) -> None:
        """End it. To be called also after an injection that failed half-way."""

    def clean_up(self) -> None:
        """Once, after everything, whatever happened."""

    def strike(self) -> None:
        """One whole fault: begun, held under load, healed, every worker subscribed again, and its trace found."""
        before = self.trace()
        try:
            self.inject()
            pause(self.hold)
        finally:
            self.heal()
        self.recovered()
        try:
            wait_until(lambda: self.trace() - before >= self.least, self.notice)
        except AssertionError:
            counts = f"{before} before, {self.trace()} after"
            raise UnseenError(f"nothing is seen of {self.name}, so that nothing is shown: {counts}") from None
        self.seen.append(self.trace() - before)

    def recovered(self) -> None:
        """Wait until every worker is subscribed, and alive."""
        run = self.scene.run

        def subscribed() -> bool:
            with suppress(OSError, AssertionError, KeyError):
                return run.metrics().value("invalidator_subscribed") == len(LANES) and run.status("/readyz") == 200
            return False

        wait_until(subscribed, self.recovery, lambda: f"not subscribed after {self.name}: {run.logs()[-3000:]}")

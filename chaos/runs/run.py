"""What every run gets, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from chaos.delivery import MODES
from chaos.scene import Setting
from tests.support import experiment
from tests.support.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.delivery import Mode


@dataclass(frozen=True, slots=True)
class Task(experiment.Task):
    """One run to do."""

    mode: Mode
    seed: int

    def setting(self, **own: Any) -> Setting:
        """A scene in this mode and with this seed, under the promised load or, in short, under less."""
        return Setting(**{"mode": self.mode, "seed": self.seed, "rate": self.sized(2_000, 600), **own})


class Found(NamedTuple):
    """How often something was tried, and what was seen."""

    samples: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Run(Experiment[Task, Found]):
    """One of them, in each of its modes."""

    modes: tuple[Mode, ...] = MODES

"""What every run gets, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from chaos.delivery import MODES
from chaos.scene import Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from chaos.delivery import Mode


@dataclass(frozen=True, slots=True)
class Task:
    """One run to do. `short` asks for a small size: to see that it works, not for the table."""

    folder: Path
    mode: Mode
    seed: int
    short: bool

    def sized(self, full: int, short: int) -> int:
        """How often."""
        return short if self.short else full

    def setting(self, **own: Any) -> Setting:
        """A scene in this mode and with this seed, under the promised load or, in short, under less."""
        return Setting(**{"mode": self.mode, "seed": self.seed, "rate": self.sized(2_000, 600), **own})


class Found(NamedTuple):
    """How often something was tried, and what was seen."""

    samples: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One of them. `missing` says why it cannot be done on this machine; empty if it can."""

    name: str
    title: str
    do: Callable[[Task], Found]
    modes: tuple[Mode, ...] = MODES
    missing: Callable[[], str] = lambda: ""

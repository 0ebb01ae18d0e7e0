"""Experiments as `chaos` and `benchmarks` do them: what one gets, and a JSON file for what it found."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from invalidator.embedded import find_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

TaskT = TypeVar("TaskT")
FoundT = TypeVar("FoundT")


@dataclass(frozen=True, slots=True)
class Task:
    """One experiment to do. `short` asks for a small size: to see that it works, not for the table."""

    folder: Path
    short: bool = field(kw_only=True)

    def sized(self, full: int, short: int) -> int:
        """How much, or how often."""
        return short if self.short else full


@dataclass(frozen=True, slots=True)
class Experiment(Generic[TaskT, FoundT]):
    """One of them. `missing` says why it cannot be done on this machine; empty if it can."""

    name: str
    title: str
    do: Callable[[TaskT], FoundT]
    missing: Callable[[], str] = lambda: ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one found. `values` are raw: every sample, in base units. `problem` is empty unless it failed."""

    run: str
    values: Mapping[str, Any]
    seconds: float = 0.0
    short: bool = False
    problem: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Its name in the folder of results."""
        return f"{self.run}.json"

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    def keep(self, folder: Path) -> None:
        """In its own file, in the place of an earlier one of the same name."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.file).write_text(self.text(), encoding="utf-8")

    def append(self, file: Path) -> None:
        """In a line of its own, after those that are there."""
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, folder: Path) -> list[Self]:
        """All that are kept in a folder, by name."""
        return [cls(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(folder.glob("*.json"))]


def environment() -> dict[str, str]:
    """What a number depends on, and nothing that tells whose machine it is."""
    redis = find_redis()
    return {
        "kernel": ".".join(platform.release().split("-")[0].split(".")[:2]),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "redis": _version(redis) if redis else "none",
        "cores": str(len(os.sched_getaffinity(0))),
    }


def _version(program: Path) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.split()
    return next((f"{said[0]} {word[2:]}" for word in said if word.startswith("v=")), "unknown")

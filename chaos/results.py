"""Results as they are kept: one JSON file for each run and mode, from which the README's table is made."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from invalidator.embedded import find_redis
from tests.support.environments import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COMMITTED = REPOSITORY / "chaos" / "results"
BUILD = REPOSITORY / "build" / "chaos"
"""Where every run leaves its results, a line each, and the logs of what has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one run found. `run` and `mode` name it; `samples` says how often something was tried.

    `values` are raw: a verdict of the oracle, or every latency in seconds. `problem` is empty unless the run failed.
    """

    run: str
    mode: str
    seed: int
    samples: int
    values: Mapping[str, Any]
    seconds: float = 0.0
    short: bool = False
    problem: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Its name in the folder of results."""
        return f"{self.run}.{self.mode}.json"

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


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


def keep(result: Result, folder: Path) -> None:
    """In its own file, in the place of an earlier one of the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / result.file).write_text(result.text(), encoding="utf-8")


def read(folder: Path) -> list[Result]:
    """All that are in a folder, by name."""
    return [Result(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(folder.glob("*.json"))]


def _version(program: Path) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.split()
    return next((f"{said[0]} {word[2:]}" for word in said if word.startswith("v=")), "unknown")

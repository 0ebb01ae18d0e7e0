"""Results as they are kept: one JSON file for each run, from which the README's table and its picture are made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.environments import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COMMITTED = REPOSITORY / "benchmarks" / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one run found, over so many rounds. `values` are raw: every round of every contender, in base units.

    `problem` is empty unless the run failed.
    """

    run: str
    rounds: int
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


def keep(result: Result, folder: Path) -> None:
    """In its own file, in the place of an earlier one of the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / result.file).write_text(result.text(), encoding="utf-8")


def read(folder: Path) -> list[Result]:
    """All that are in a folder, by name."""
    return [Result(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(folder.glob("*.json"))]

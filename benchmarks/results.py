"""Results as they are kept: one JSON file for each run, from which the README's table and its picture are made."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support import experiment
from tests.support.environments import REPOSITORY

COMMITTED = REPOSITORY / "benchmarks" / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(experiment.Result):
    """What one run found, over so many rounds. `values` are those of every round of every contender."""

    rounds: int

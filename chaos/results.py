"""Results as they are kept: one JSON file for each run and mode, from which the README's table is made."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support import experiment
from tests.support.environments import REPOSITORY

COMMITTED = REPOSITORY / "chaos" / "results"
BUILD = REPOSITORY / "build" / "chaos"
"""Where every run leaves its results, a line each, and the logs of what has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(experiment.Result):
    """What one run found. `run` and `mode` name it; `samples` says how often something was tried.

    `values` hold a verdict of the oracle, or every latency in seconds.
    """

    mode: str
    seed: int
    samples: int

    @property
    def file(self) -> str:
        """Its name in the folder of results: that of both modes may be there."""
        return f"{self.run}.{self.mode}.json"

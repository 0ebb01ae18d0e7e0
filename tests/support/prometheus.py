"""Prometheus itself, and promtool."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from invalidator import embedded
from tests.support.origin import fetch
from tests.support.required import require
from tests.support.waiting import free_port

if TYPE_CHECKING:
    from pathlib import Path


class Prometheus(embedded.Server):
    """A Prometheus with the configuration of `config`, and its data in the same folder."""

    name = "prometheus"

    def __init__(self, config: Path) -> None:
        super().__init__(require("prometheus"), config.parent, (), unix=False)
        self.port = free_port()
        self._config = config

    def alerts(self) -> dict[str, str]:
        """Each active alert's name and state: `pending` or `firing`."""
        return {alert["labels"]["alertname"]: alert["state"] for alert in self._data("alerts")["alerts"]}

    def targets(self) -> list[str]:
        """The health of each target: `up`, `down` or `unknown`."""
        return [target["health"] for target in self._data("targets")["activeTargets"]]

    def evaluated(self) -> bool:
        """Whether every rule has been evaluated, without an error."""
        groups = self._data("rules")["groups"]
        return bool(groups) and all(rule["health"] == "ok" for group in groups for rule in group["rules"])

    def _data(self, what: str) -> Any:
        return json.loads(fetch(f"http://{self.address}/api/v1/{what}").body)["data"]

    def _arguments(self) -> list[str]:
        data = ["--storage.tsdb.path", str(self.directory / "data")]
        return [f"--config.file={self._config}", f"--web.listen-address={self.address}", *data]

    def _pid_that_answers(self) -> int:
        return self.pid if fetch(f"http://{self.address}/-/ready").status == 200 else 0


def promtool(*arguments: str | Path) -> tuple[bool, str]:
    """Whether it found everything in order, and what it said."""
    command = [str(require("promtool")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode == 0, done.stdout + done.stderr

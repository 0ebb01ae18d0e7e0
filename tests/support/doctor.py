"""The doctor as a program sees it (`--json`), and what it examines: a small topology, and who is subscribed."""

from __future__ import annotations

import io
import json
import re
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis
import yaml

from invalidator.cli import main
from tests.support.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATTERN = "cache:invalidate:users:*"


@dataclass(frozen=True)
class Report:
    """What one run said."""

    code: int
    findings: list[dict[str, str]]

    def ids(self, *levels: str) -> set[str]:
        """Of these levels; of all without one."""
        return {found["id"] for found in self.findings if not levels or found["level"] in levels}

    def trouble(self) -> set[str]:
        """What is not in order."""
        return self.ids("wrong", "warning", "note")

    def the(self, name: str) -> dict[str, str]:
        """The one finding of this id."""
        found = [each for each in self.findings if each["id"] == name]
        assert len(found) == 1, f"{name}: {len(found)} of {sorted(self.ids())}\n{json.dumps(self.findings, indent=1)}"
        return found[0]

    def evidence(self, name: str) -> str:
        return self.the(name)["evidence"]


def topology(url: str, **more: Any) -> dict[str, Any]:
    """One worker, whose backend only says what it would purge."""
    whole: dict[str, Any] = {
        "redis": {"url": url},
        "backends": {"said": {"type": "log"}},
        "workers": [worker("users", PATTERN)],
    }
    return whole | more


def worker(name: str, pattern: str, *backends: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "pattern": pattern,
        "backends": list(backends or ("said",)),
        "allow": ["key"],
        "flush": {"all": True},
        **more,
    }


def diagnose(folder: Path, whole: dict[str, Any], metrics: str | None = "") -> Report:
    """Writes the topology, and runs the doctor on it. `metrics`: where its daemon would listen."""
    state = {"metrics": f"127.0.0.1:{free_port()}" if metrics == "" else metrics, "state_dir": str(folder / "state")}
    file = folder / "topology.yaml"
    file.write_text(yaml.safe_dump({"supervisor": state, **whole}, sort_keys=False))
    return diagnosed(file)


def diagnosed(file: Path) -> Report:
    """The doctor's word on a topology that is there."""
    said = io.StringIO()
    with redirect_stdout(said):
        code = main(["doctor", "-c", str(file), "--json"])
    answer = json.loads(said.getvalue())
    assert answer["ok"] == (code == 0), answer
    for found in answer["findings"]:
        assert found["evidence"]
        assert found["level"] == "ok" or (found["meaning"] and found["fix"]), found
    return Report(code, answer["findings"])


@contextmanager
def subscribed(url: str, pattern: str = PATTERN, name: str = "invalidator:users") -> Iterator[redis.Connection]:
    """Somebody who is subscribed as a worker is, and reads nothing unless told to."""
    connection: Any = redis.ConnectionPool.from_url(url, client_name=name, protocol=2).make_connection()
    connection.connect()
    try:
        connection.send_command("PSUBSCRIBE" if "*" in pattern else "SUBSCRIBE", pattern)
        connection.read_response()
        yield connection
    finally:
        connection.disconnect()


def apply(fix: str, url: str) -> None:
    """Do what a fix says of rights, as redis-cli would; Redis refuses what a user has already."""
    with client(url) as asked:
        for command in re.findall(r"ACL SETUSER \S+(?: [+~&'][^ ,;]*)+", fix):
            with suppress(redis.ResponseError):
                asked.execute_command(*[word.strip("'") for word in command.split()])


@contextmanager
def client(url: str) -> Iterator[Any]:
    """redis-py's client, for breaking a server."""
    made = redis.Redis.from_url(url)
    try:
        yield made
    finally:
        made.close()

"""A small daemon on somebody's Redis, for who has no topology yet: what it needs is in a folder, and goes with it."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import redis
import yaml

from invalidator.control.client import Client
from invalidator.control.protocol import GetStatus
from invalidator.doctor.session import session, unreached
from invalidator.embedded import find_memcached, memcached_server
from invalidator.errors import UnreachableError
from invalidator.publisher.client import shown_url
from invalidator.screen.words import failure
from invalidator.stage.process import Child
from invalidator.topology.models import RedisSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORKER = "bench"
_READY = 15.0
_STOP = 10.0
_AGAIN = 0.02


@contextmanager
def daemon(url: str, folder: Path) -> Iterator[Path]:
    """Its topology, once it is ready: one worker, on channels that nobody else has. Raises UnreachableError."""
    try:
        with session(RedisSettings.model_validate({"url": url})):
            pass  # or it would be asked again and again
    except (redis.RedisError, OSError) as error:
        raise UnreachableError(f"{shown_url(url)} cannot be used: {unreached(error).why}") from None
    with ExitStack() as stack:
        file, control = folder / "topology.yaml", folder / "control.sock"
        file.write_text(yaml.safe_dump(_topology(url, folder, _backends(stack, folder)), sort_keys=False))
        child = Child(["invalidator", "run", "-c", str(file)], folder / "daemon.log")
        stack.callback(child.close)
        stack.callback(child.terminate, _STOP)  # in order: a killed one would leave its presence in Redis for a while
        _await_ready(child, control)
        yield file


def _backends(stack: ExitStack, folder: Path) -> dict[str, dict[str, Any]]:
    """One in the worker's own loop, and one with a thread and a server, where there is one."""
    installed = {point.name for point in entry_points(group="invalidator")}
    found: dict[str, dict[str, Any]] = {}
    if "lru" in installed:
        found["lru"] = {"type": "lru", "path": str(folder / "bench.gen")}
    if "memcached" in installed and find_memcached():
        server = stack.enter_context(memcached_server(folder))
        found["memcached"] = {"type": "memcached", "servers": [server.address]}
    return found or {"log": {"type": "log", "level": "debug"}}


def _topology(url: str, folder: Path, backends: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "redis": {"url": url},
        "supervisor": {
            "control_socket": str(folder / "control.sock"),
            "state_dir": str(folder / "state"),
            "metrics": None,
        },
        "backends": backends,
        "workers": [
            {
                "name": WORKER,
                "pattern": f"invalidator:bench:{secrets.token_hex(6)}:*",
                "backends": list(backends),
                "allow": ["key"],
                "flush": {"all": True},
            }
        ],
    }


def _await_ready(child: Child, control: Path) -> None:
    until = time.monotonic() + _READY
    clock = threading.Event()
    trouble = ""
    while child.is_running and time.monotonic() < until:
        with suppress(UnreachableError), Client(control) as client:
            status = client.ask(GetStatus()).status
            if status and status.state == "running":
                return
            failures = [worker.trouble for worker in status.workers if worker.trouble] if status else []
            trouble = failure(failures[0]) if failures else ""
        clock.wait(_AGAIN)
    raise UnreachableError(f"the daemon did not become ready: {trouble or child.last_words()}")

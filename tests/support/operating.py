"""A daemon as its operator sees it: workers that only say what they would purge, and the commands that ask it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from invalidator.status import Status
from tests.support.topologies import logging

if TYPE_CHECKING:
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer

RESTARTS = "invalidator_worker_restarts_total"


class Tell(Protocol):
    """Runs a command, found by the daemon's file: its exit code, stdout and stderr."""

    def __call__(self, daemon: Daemon, *arguments: str) -> tuple[int, str, str]: ...


def topology(server: RedisServer, *names: str, **supervisor: object) -> dict[str, Any]:
    """Workers of these names, quick to connect again."""
    return logging(server, *names, longest="100ms", **supervisor)


def status_of(run: Daemon, tell: Tell) -> Status:
    """What `status --json` prints."""
    return msgspec.json.decode(tell(run, "status", "--json")[1], type=Status)

"""The daemon's control socket, as its commands use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.control.client import Client
from invalidator.control.protocol import GetStatus

if TYPE_CHECKING:
    from invalidator.control.protocol import Answer, AnyRequest
    from invalidator.status import Status
    from tests.support.daemon import Daemon


def ask(run: Daemon, request: AnyRequest) -> Answer:
    with Client(run.control) as client:
        return client.ask(request, 30)


def status(run: Daemon) -> Status:
    found = ask(run, GetStatus()).status
    assert found is not None
    return found

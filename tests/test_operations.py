"""operations.py: what is asked for is done a little at a time, once for all who asked, and bounded."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from invalidator.doors.peers import Peers
from invalidator.errors import ConfigError, PluginError, Problem
from invalidator.slots import clock
from invalidator.supervision import operations
from invalidator.supervision.fleet import Fleet, Surroundings
from invalidator.supervision.operations import MOST_VIEWERS, Operations
from invalidator.supervision.reload import Plan
from invalidator.supervision.waits import MOST_WAITING
from tests.support import statuses
from tests.support.peers import line
from tests.support.topologies import SOUND, loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from invalidator.errors import InvalidatorError
    from invalidator.status import Status


class Desk:
    """Operations over a fleet that is never turned, and clients that have asked."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.peers = Peers()
        self.fleet = Fleet(loaded(folder, SOUND), Surroundings(lambda: None, tuple, lambda: False), clock())
        self.readings = 0
        self.wrong: InvalidatorError | None = None
        self.status: Callable[[], Status] = statuses.healthy
        self.operations = Operations(self.peers, self.fleet, self._reload, self._status)
        self._stack = stack

    def ask(self, request: bytes) -> socket.socket:
        """A client that has asked, and of whom the door has heard."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(5)
        self._stack.enter_context(theirs)
        self.peers.welcome(ours, clock())
        theirs.sendall(request + b"\n")
        self.peers.turn({ours.fileno()}, clock())
        return theirs

    def answer(self, client: socket.socket) -> dict[str, object]:
        """What it is answered, once the door has sent that."""
        for _ in range(100):
            self.peers.turn({fd for fd, events in self.peers.fds(clock()) if events & 4}, clock())
        found = json.loads(line(client))
        assert isinstance(found, dict)
        return found

    def _status(self) -> Status:
        return self.status()

    def _reload(self) -> Plan:
        self.readings += 1
        if self.wrong:
            raise self.wrong
        return Plan(keep=("users",), replace=(), start=(), stop=())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with ExitStack() as stack:
        desk = Desk(tmp_path, stack)
        stack.callback(desk.peers.close)
        yield desk


def burning(seconds: float) -> Callable[[], Status]:
    """A status that takes so much of the processor."""

    def status() -> Status:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass
        return statuses.healthy()

    return status


def test_a_turn_takes_requests_for_some_milliseconds_and_leaves_the_rest(desk: Desk) -> None:
    desk.status = burning(0.005)
    for _ in range(30):
        desk.ask(b'{"op":"status"}')
    begun = time.thread_time()
    desk.operations.turn(clock())

    assert time.thread_time() - begun < 0.05
    assert desk.operations.next_due(clock()) == 0, "the rest is for the next turn, at once"
    while desk.peers.asked:
        desk.operations.turn(clock())


def test_without_that_bound_a_turn_would_take_them_all(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # The control for the test above.
    monkeypatch.setattr(operations, "TURN_SECONDS", float("inf"))
    desk.status = burning(0.005)
    for _ in range(30):
        desk.ask(b'{"op":"status"}')
    begun = time.thread_time()
    desk.operations.turn(clock())

    assert time.thread_time() - begun > 0.05


def test_the_status_of_a_large_fleet_is_one_answer(desk: Desk) -> None:
    desk.status = statuses.large
    client = desk.ask(b'{"op":"status"}')
    desk.operations.turn(clock())
    client.setblocking(False)
    data = b""
    while not data.endswith(b"\n"):
        desk.peers.turn({fd for fd, _ in desk.peers.fds(clock())}, clock())
        data += client.recv(1 << 20)

    assert len(json.loads(data)["status"]["workers"]) == 200


def test_one_reading_of_the_file_answers_all_who_had_asked_before_it(desk: Desk) -> None:
    clients = [desk.ask(b'{"op":"reload"}') for _ in range(5)]
    desk.operations.turn(clock())
    assert desk.readings == 1
    late = desk.ask(b'{"op":"reload"}')
    desk.operations.turn(clock())

    assert desk.readings == 2, "the file may have changed since"
    assert all(desk.answer(client)["ok"] for client in [*clients, late])


@pytest.mark.parametrize(
    ("wrong", "answered"),
    [
        (
            ConfigError([Problem("f.yaml", 1, 2, "redis", "is wrong"), Problem("f.yaml", 3, 4, "workers", "is too")]),
            {
                "ok": False,
                "exit": 78,
                "error": "nothing has changed: the file is wrong",
                "problems": ["f.yaml:1:2: redis: is wrong", "f.yaml:3:4: workers: is too"],
            },
        ),
        (
            PluginError("alpha: does not want to"),
            {"ok": False, "exit": 78, "error": "nothing has changed: alpha: does not want to"},
        ),
    ],
)
def test_a_reload_that_fails_is_answered_with_everything_that_is_wrong(
    desk: Desk, wrong: InvalidatorError, answered: dict[str, object]
) -> None:
    desk.wrong = wrong
    client = desk.ask(b'{"op":"reload","wait":true}')
    desk.operations.turn(clock())

    assert desk.answer(client) == answered


def test_only_so_many_may_look_on_and_only_so_many_may_wait(desk: Desk) -> None:
    for most, request in (
        (MOST_VIEWERS, b'{"op":"tap"}'),
        (MOST_WAITING, b'{"op":"restart","workers":["users"],"wait":true}'),
    ):
        for _ in range(most):
            desk.ask(request)
        desk.operations.turn(clock())
        late = desk.ask(request)
        desk.operations.turn(clock())
        answer = desk.answer(late)

        assert answer["exit"] == 1
        assert str(answer["error"]).startswith(f"{most} others ")


def test_a_worker_is_asked_to_tell_only_while_somebody_looks_on(desk: Desk) -> None:
    def tapped() -> list[bool]:
        desk.operations.turn(clock())
        return [child.orders.tapped for child in desk.fleet]

    assert tapped() == [False]
    desk.ask(b'{"op":"tap","workers":["users"]}')
    assert tapped() == [True]
    desk.peers.part_with_all()
    assert tapped() == [False]


def test_who_asks_for_a_change_while_the_daemon_stops_is_told_so(desk: Desk) -> None:
    desk.operations.stop(clock())
    client = desk.ask(b'{"op":"reload"}')
    desk.operations.turn(clock())

    assert desk.answer(client) == {"ok": False, "exit": 1, "error": "the daemon is stopping"}
    assert desk.readings == 0

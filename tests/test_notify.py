"""doors/notify.py, doors/tidings.py, supervision/summary.py: what systemd is told, when, and that it never hurts."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from invalidator.doors.notify import RETRY_SECONDS, Notifier, take_environment
from invalidator.doors.tidings import (
    EXTEND_EVERY,
    EXTEND_SECONDS,
    RELOAD_PATIENCE,
    Moment,
    Phase,
    Said,
    next_words,
    phase_of,
)
from invalidator.status import Failure, Handover, Lane, Reload, Status, Worker
from invalidator.supervision.summary import LONGEST, summary
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis

NOON = time.mktime((2026, 1, 1, 12, 3, 0, 0, 0, -1))
_abstract = itertools.count()


class Manager:
    """The manager's end of a notification socket."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)

    def heard(self) -> list[str]:
        """The datagrams that have come since the last time."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


def running(text: str = "fine") -> tuple[Moment, Callable[[], str]]:
    return Moment("running"), lambda: text


def turn(notifier: Notifier, phase: Phase, now: float, text: str = "fine", **more: Any) -> None:
    notifier.turn(Moment(phase, **more), now, lambda: text)


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    made = Notifier({"NOTIFY_SOCKET": manager.name}, 1)
    yield made
    made.close()


def test_ready_is_said_once_and_not_before_it_is_so(manager: Manager, notifier: Notifier) -> None:
    turn(notifier, "starting", 0.0, "waiting for Redis")
    assert "READY=1" not in "".join(manager.heard())
    turn(notifier, "running", 1.0)
    turn(notifier, "running", 2.0)

    assert manager.heard() == ["READY=1\nSTATUS=fine"]


def test_an_abstract_socket_is_spoken_to_as_well() -> None:
    manager = Manager(f"@invalidator-test-{os.getpid()}-{next(_abstract)}")
    notifier = Notifier({"NOTIFY_SOCKET": manager.name}, 1)
    turn(notifier, "running", 0.0)

    assert manager.heard() == ["READY=1\nSTATUS=fine"]
    notifier.close()
    manager.close()


@pytest.mark.parametrize("address", ["", "@", "relative/path", "vsock:2:1234"])
def test_without_a_socket_that_we_know_nothing_is_said_and_nothing_wakes_the_loop(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}, 1)
    turn(notifier, "running", 0.0)

    assert notifier.next_due(0.0) == float("inf")
    assert notifier.sockets() == ()


@pytest.mark.parametrize("name", ["nobody-listens", "x" * 200, "not/there"])
def test_a_manager_that_is_not_there_is_asked_again_and_costs_nothing(tmp_path: Path, name: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / name)}, 1)
    turn(notifier, "running", 10.0)

    assert notifier.next_due(10.0) == RETRY_SECONDS
    notifier.close()


def test_what_was_not_delivered_is_said_when_the_manager_is_back(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    notifier = Notifier({"NOTIFY_SOCKET": name}, 1)
    turn(notifier, "running", 0.0)
    manager = Manager(name)
    turn(notifier, "running", RETRY_SECONDS / 2)
    assert manager.heard() == [], "not so soon"
    turn(notifier, "running", RETRY_SECONDS)

    assert manager.heard() == ["READY=1\nSTATUS=fine"]
    notifier.close()
    manager.close()


def test_a_manager_that_does_not_read_holds_nobody_up(manager: Manager, notifier: Notifier) -> None:
    began = time.monotonic()
    for number in range(2000):
        turn(notifier, "running", number * 1.0, f"status {number}")
    assert time.monotonic() - began < 5
    heard = manager.heard()
    assert len(heard) < 2000, "otherwise its queue was never full, and this has shown nothing"
    turn(notifier, "running", 3000.0, "the last")

    assert manager.heard() == ["STATUS=the last"]


def test_the_watchdog_is_fed_at_half_of_its_time_and_only_by_a_turn(manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7"}, 7)
    fed = []
    for tenth in range(1000):
        turn(notifier, "running", tenth / 10)
        fed += [tenth / 10 for datagram in manager.heard() if datagram == "WATCHDOG=1"]

    assert fed == [float(second) for second in range(0, 100, 10)]
    notifier.close()


@pytest.mark.parametrize(
    "environ",
    [{"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "8"}]
    + [{"WATCHDOG_USEC": value} for value in ("", "0", "-1", "x", "1e3", "٣", "9" * 30)],
)
def test_a_watchdog_that_is_another_process_or_no_number_is_not_fed(manager: Manager, environ: dict[str, str]) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.name, **environ}, 7)
    turn(notifier, "running", 0.0)

    assert "WATCHDOG=1" not in manager.heard()
    notifier.close()


def test_while_it_starts_it_asks_for_time_long_before_the_former_time_is_over(
    manager: Manager, notifier: Notifier
) -> None:
    granted, most = 0.0, 0.0
    now = 0.0
    while now < 300:
        turn(notifier, "starting", now, "waiting for Redis")
        for datagram in manager.heard():
            if datagram.startswith("EXTEND_TIMEOUT_USEC="):
                granted = now + int(datagram.partition("=")[2]) / 1e6
        most = max(most, now + EXTEND_SECONDS - granted)
        assert granted > now
        now += min(1.0, notifier.next_due(now))

    assert most <= EXTEND_EVERY
    turn(notifier, "running", now)
    manager.heard()
    for second in range(60):
        turn(notifier, "running", now + second)
    assert manager.heard() == [], "it would put off the watchdog as well"


def test_a_reload_is_told_as_two_events_with_the_time_at_which_it_began(manager: Manager, notifier: Notifier) -> None:
    turn(notifier, "running", 0.0)
    manager.heard()
    turn(notifier, "reloading", 5.0, reload_began=4.25)
    first = manager.heard()
    turn(notifier, "running", 6.0, reload_began=4.25)

    assert first[0] == "RELOADING=1\nMONOTONIC_USEC=4250000"
    assert not any("READY" in datagram for datagram in first)
    assert manager.heard() == ["READY=1\nSTATUS=fine"]


def test_a_reload_that_is_over_at_once_is_told_too(manager: Manager, notifier: Notifier) -> None:
    turn(notifier, "running", 0.0)
    manager.heard()
    turn(notifier, "running", 0.1, "reload failed", reload_began=0.05)

    assert manager.heard() == ["RELOADING=1\nMONOTONIC_USEC=50000", "READY=1\nSTATUS=reload failed"]


def test_a_reload_before_the_start_is_over_is_not_taken_for_its_end(manager: Manager, notifier: Notifier) -> None:
    turn(notifier, "starting", 0.0, reload_began=0.0)

    assert not any("RELOADING" in datagram or "READY" in datagram for datagram in manager.heard())


def test_a_stop_is_told_once_with_the_time_that_it_may_take(manager: Manager, notifier: Notifier) -> None:
    turn(notifier, "running", 0.0)
    manager.heard()
    for second in (1, 2, 3):
        turn(notifier, "stopping", second, "stopping", stop_by=61.0)

    assert manager.heard() == ["STOPPING=1\nEXTEND_TIMEOUT_USEC=65000000\nSTATUS=stopping"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["starting", "running", "reloading", "stopping"]),
            st.floats(0, 40),
            st.one_of(st.none(), st.floats(0, 1000)),
        ),
        max_size=60,
    )
)
def test_whatever_happens_there_is_an_end_to_what_is_said_and_each_event_is_a_datagram(
    history: list[tuple[Phase, float, float | None]],
) -> None:
    said, now = Said(), 0.0
    for phase, seconds, began in history:
        now += seconds
        for _ in range(6):
            words = next_words(Moment(phase, began), said, now, 5.0, lambda: "fine")
            if words is None:
                break
            assert ("RELOADING=1" in words.text) + ("READY=1" in words.text) + ("STOPPING=1" in words.text) <= 1
            said = words.after
        assert words is None, "the loop of a turn must end"
        assert said.next_due(5.0) > now


@pytest.mark.parametrize(
    ("stopping", "ready", "ever", "seconds", "phase"),
    [
        (False, False, False, 1000.0, "starting"),
        (False, True, True, 0.0, "running"),
        (False, False, True, 1.0, "reloading"),
        (False, False, True, RELOAD_PATIENCE, "running"),
        (True, False, False, 0.0, "stopping"),
    ],
)
def test_a_reload_does_not_last_for_ever_but_a_start_may(
    *, stopping: bool, ready: bool, ever: bool, seconds: float, phase: str
) -> None:
    assert phase_of(stopping=stopping, ready=ready, was_ever_ready=ever, reloading_for=seconds) == phase


def test_no_child_finds_the_managers_socket_in_its_environment() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2", "PATH": "/bin"}

    assert take_environment(environ) == {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2"}
    assert environ == {"PATH": "/bin"}


# What a person reads.


def worker(name: str, **fields: Any) -> Worker:
    usual: dict[str, Any] = {"pattern": "x:*", "state": "RUNNING", "subscribed": True}
    return Worker(name=name, **{**usual, **fields})


def status(*workers: Worker, **fields: Any) -> Status:
    usual: dict[str, Any] = {"state": "running", "reload": Reload(ok=True, at=0.0), "now": NOON, "started": 0.0}
    return Status(version="1", host="h", pid=1, file="f", workers=workers, **{**usual, **fields})


REFUSED = Failure(at=NOON, reason="unreachable", detail="Connection refused")
OPEN = Lane(backend="edge", type="http", breaker="open", breaker_since=NOON)


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (status(worker("a")), "1 worker running"),
        (status(worker("a"), worker("b"), worker("c")), "3 workers running"),
        (
            status(worker("a", lanes=(OPEN,)), worker("b", lanes=(OPEN,)), worker("c")),
            "3 workers running, edge: breaker open since 12:03",
        ),
        (
            status(worker("a", state="STARTING", subscribed=False, trouble=REFUSED), state="starting"),
            "waiting for Redis; a: not subscribed since 12:03 (unreachable: Connection refused)",
        ),
        (
            status(
                worker(
                    "users",
                    state="BACKOFF",
                    subscribed=False,
                    restarts={"early": 3, "signal": 1, "reload": 9},
                    next_try=8.0,
                ),
                worker("b"),
            ),
            "1 of 2 workers running; users: BACKOFF, died 4 times, next try at 12:03:08",
        ),
        (
            status(worker("a"), reload=Reload(ok=False, at=NOON, error="f.yaml:12:3: workers: what\nREADY=1")),
            "reload failed: f.yaml:12:3: workers: what READY=1; the former topology stays; 1 worker running",
        ),
        (
            status(worker("a", lanes=(replace(OPEN, node="x:1"), replace(OPEN, node="x:2", breaker="closed")))),
            "1 worker running, edge x:1: breaker open since 12:03",
        ),
        (status(worker("a", paused=True)), "1 worker running, a: paused"),
        (
            status(worker("a", handover=Handover(state="starting", reason="reload", trouble=REFUSED))),
            "1 worker running, a: its successor is not ready (unreachable: Connection refused)",
        ),
        (
            status(*[worker(name, state="STARTING", subscribed=False) for name in "abcde"]),
            "0 of 5 workers running; a: STARTING; b: STARTING; c: STARTING; and 2 more",
        ),
        (
            status(worker("a", state="STOPPING"), worker("b", state="EXITED"), state="stopping"),
            "stopping: 1 worker left",
        ),
        (
            status(
                worker("a", lanes=(Lane(backend="edge", type="http", ends={"lost": 3}),) * 2),
                worker("b", lanes=(Lane(backend="edge", type="http", ends={"lost": 4}),)),
            ),
            "2 workers running, edge: 7 lost",
        ),
    ],
)
def test_the_status_is_one_on_which_a_person_can_act(seen: Status, text: str) -> None:
    assert summary(seen) == text


@given(st.text(), st.text())
def test_a_text_from_elsewhere_is_no_assignment_and_not_too_long(error: str, detail: str) -> None:
    trouble = Failure(at=NOON, reason="unreachable", detail=detail)
    seen = status(
        worker("a", state="STARTING", subscribed=False, trouble=trouble),
        reload=Reload(ok=False, at=NOON, error=error * 100),
    )

    assert len(summary(seen).splitlines()) == 1
    assert len(summary(seen)) <= LONGEST


# The daemon itself.


def test_the_daemon_tells_of_its_whole_life(
    redis_server: MakeRedis, daemon: MakeDaemon, manager: Manager, tmp_path: Path
) -> None:
    server = redis_server()
    server.kill()
    wanted: dict[str, Any] = {
        "redis": {"url": server.url, "backoff": {"first": "10ms", "longest": "100ms"}},
        "backends": {"said": {"type": "log"}},
        "workers": [{"name": "a", "pattern": "cache:a:*", "backends": ["said"], "on_gap": "ignore"}],
    }
    told: list[str] = []

    def has_told(text: str) -> bool:
        told.extend(manager.heard())
        return any(text in datagram for datagram in told)

    def hears(text: str) -> None:
        wait_until(lambda: has_told(text), 10, lambda: f"{told}\n{run.logs()}")

    environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "1000000"}
    run = daemon(wanted, ready=False, environment=environment)
    hears("STATUS=waiting for Redis; a: not subscribed since")
    hears("EXTEND_TIMEOUT_USEC=")
    assert not has_told("READY=1"), "Redis is down"
    server.start()
    hears("READY=1\nSTATUS=1 worker running")
    for pid in run.pids():
        assert not any(link.startswith("socket:") and _is_inherited(run.pid, link) for link in _links(pid))
    told.clear()
    hears("WATCHDOG=1")

    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    run.file.write_text("nonsense: true\n")
    run.signal(signal.SIGHUP)
    hears("READY=1\nSTATUS=reload failed: ")
    began = next(line for datagram in told for line in datagram.splitlines() if line.startswith("MONOTONIC_USEC="))
    assert int(began.partition("=")[2]) >= int(before * 1e6), "or systemd takes it for an answer to an older signal"
    told.clear()
    assert run.stop() == 0
    assert has_told("STOPPING=1\nEXTEND_TIMEOUT_USEC=")


def test_a_cache_that_does_not_answer_is_in_the_status(
    redis_server: MakeRedis, daemon: MakeDaemon, manager: Manager
) -> None:
    server = redis_server()
    wanted: dict[str, Any] = {
        "redis": {"url": server.url},
        "backends": {"objects": {"type": "memcached", "servers": [f"127.0.0.1:{free_port()}"]}},
        "workers": [{"name": "a", "pattern": "cache:a:*", "backends": ["objects"], "on_gap": "ignore"}],
    }
    run = daemon(wanted, environment={"NOTIFY_SOCKET": manager.name})
    with redis.Redis.from_url(server.url) as client:
        client.publish("cache:a:x", "users:1")
    told: list[str] = []

    def is_told() -> bool:
        told.extend(manager.heard())
        return "STATUS=1 worker running, objects: breaker open since " in "".join(told)

    wait_until(is_told, 10, lambda: f"{told}\n{run.logs()}")


def _links(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]  # noqa: PTH115, PTH208


def _is_inherited(parent: int, link: str) -> bool:
    return link in _links(parent)

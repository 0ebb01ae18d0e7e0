"""endpoint.py: whoever comes to the metrics port, slow, silent or hostile, costs the supervisor next to nothing.

What a turn of its loop costs is measured in processor time: on a busy machine the clock would measure the others.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import redis

from invalidator.doors import endpoint
from invalidator.doors.endpoint import CLIENT_LIMIT, Endpoint, Page
from invalidator.doors.looks import HEADERS
from invalidator.doors.page import page
from tests.support import statuses
from tests.support.origin import fetch
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon

LONGEST_TURN = 0.05
STATUS = statuses.large()
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Loop:
    """An endpoint turned by a thread, as the supervisor turns it, and what its turns cost."""

    def __init__(self) -> None:
        self.made = 0
        self.turns: list[float] = []
        pages = {"/": self.page, "/large": lambda: Page(200, "x" * 4_000_000)}
        self.server = Endpoint(f"127.0.0.1:{free_port()}", pages)
        host, _, port = self.server.address.rpartition(":")
        self.address = (host, int(port))
        self.done = threading.Event()

    def page(self) -> Page:
        self.made += 1
        return Page(200, page(STATUS), "text/html; charset=utf-8", HEADERS)

    def run(self) -> None:
        while not self.done.is_set():
            poll = select.poll()
            for fd, events in self.server.fds(time.monotonic()):
                poll.register(fd, events)
            ready = {fd for fd, _ in poll.poll(20)}
            begun = time.thread_time()
            self.server.turn(ready, time.monotonic())
            self.turns.append(time.thread_time() - begun)

    def dial(self) -> socket.socket:
        client = socket.create_connection(self.address, timeout=10)
        client.settimeout(10)
        return client


@contextmanager
def looping() -> Iterator[Loop]:
    loop = Loop()
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield loop
    finally:
        loop.done.set()
        thread.join()
        loop.server.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    with looping() as loop:
        yield loop


def _dialled(address: tuple[str, int], stack: ExitStack) -> socket.socket:
    client = stack.enter_context(socket.socket())
    client.settimeout(1)
    with suppress(OSError):
        client.connect(address)
    return client


def _send(client: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # it has been hung up on: that is what is to happen to it
        client.send(data)


def slow_senders(address: tuple[str, int], stack: ExitStack, times: int = 200) -> None:
    """Many, each a byte at a time."""
    clients = [_dialled(address, stack) for _ in range(times)]
    for byte in GET[:-2]:
        for client in clients:
            _send(client, bytes([byte]))


def never_readers(address: tuple[str, int], stack: ExitStack) -> None:
    """As many as there is room for ask for four megabytes, and take none."""
    for _ in range(CLIENT_LIMIT - 1):
        client = stack.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(address)
        _send(client, GET.replace(b" / ", b" /large "))


def pipelined_garbage(address: tuple[str, int], stack: ExitStack, times: int = 200) -> None:
    """A request, and whatever else fits, again and again."""
    for _ in range(times):
        _send(_dialled(address, stack), GET + os.urandom(100_000) + GET * 1000)


def huge_headers(address: tuple[str, int], stack: ExitStack) -> None:
    """A megabyte of one header, a hundred times."""
    for _ in range(100):
        _send(_dialled(address, stack), b"GET / HTTP/1.1\r\nCookie: " + b"a" * 1_000_000)


def ten_thousand_connections(address: tuple[str, int], stack: ExitStack) -> None:
    """Each gone at once, most before they are accepted."""
    for _ in range(10_000):
        with socket.socket() as client:
            client.setblocking(False)
            client.connect_ex(address)


def a_crowd(address: tuple[str, int], stack: ExitStack, times: int = 4) -> None:
    """As many as there is room for ask for the page, again and again, and go."""
    for _ in range(times):
        clients = [_dialled(address, stack) for _ in range(CLIENT_LIMIT - 4)]
        for client in clients:
            _send(client, GET)
        for client in clients:
            client.close()


ATTACKS = [slow_senders, never_readers, pipelined_garbage, huge_headers, ten_thousand_connections, a_crowd]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: str(attack.__name__))
def test_no_turn_takes_long_and_everybody_else_is_served(loop: Loop, attack: Callable[..., None]) -> None:
    with ExitStack() as stack:
        attack(loop.address, stack)
        wait_until(lambda: fetch(f"http://127.0.0.1:{loop.address[1]}/").status == 200)

    assert max(loop.turns) < LONGEST_TURN
    assert len(loop.server.sockets()) <= CLIENT_LIMIT + 1


@pytest.mark.parametrize(("in_one_turn", "made"), [(True, 1), (False, CLIENT_LIMIT)], ids=["crowd", "control"])
def test_a_crowd_in_one_turn_costs_one_page(monkeypatch: pytest.MonkeyPatch, made: int, *, in_one_turn: bool) -> None:
    monkeypatch.setattr(endpoint, "TURN_SECONDS", 60.0)
    monkeypatch.setattr(endpoint, "COSTLY", 60.0)
    loop = Loop()
    with ExitStack() as stack:
        stack.callback(loop.server.close)
        clients = [stack.enter_context(loop.dial()) for _ in range(CLIENT_LIMIT)]
        loop.server.turn({loop.server._listener.fileno()}, now=0.0)
        for client in clients:
            client.sendall(GET)
        waiting = set(loop.server._clients)
        for ready in [waiting] if in_one_turn else [{fd} for fd in waiting]:
            loop.server.turn(ready, now=0.0)
    assert loop.made == made


@pytest.mark.parametrize(("costly", "made"), [(0.01, 2), (60.0, 3)], ids=["costly", "control"])
def test_a_costly_page_is_shown_again_for_ten_times_as_long_as_it_took(
    monkeypatch: pytest.MonkeyPatch, costly: float, made: int
) -> None:
    monkeypatch.setattr(endpoint, "COSTLY", costly)
    now = 0.0
    monkeypatch.setattr(endpoint, "clock", lambda: now)
    pages: list[float] = []

    def make() -> Page:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass
        pages.append(now)
        return Page(200, "costly\n")

    server = Endpoint(f"127.0.0.1:{free_port()}", {"/": make})
    host, _, port = server.address.rpartition(":")
    for now in (100.0, 100.1, 110.0):
        with socket.create_connection((host, int(port)), 10) as client:
            client.sendall(GET)
            server.turn({server._listener.fileno()}, now)
            for _ in range(2):
                server.turn(set(server._clients), now)
            assert b"costly" in client.recv(1000)
    server.close()
    assert len(pages) == made


@pytest.mark.parametrize(("budget", "served_at_once"), [(0.02, False), (60.0, True)], ids=["bounded", "control"])
def test_what_does_not_fit_into_a_turn_is_served_in_the_next(
    monkeypatch: pytest.MonkeyPatch, budget: float, *, served_at_once: bool
) -> None:
    monkeypatch.setattr(endpoint, "TURN_SECONDS", budget)

    def slow() -> Page:
        until = time.monotonic() + 0.01
        while time.monotonic() < until:
            pass
        return Page(200, "slow\n")

    server = Endpoint(f"127.0.0.1:{free_port()}", {f"/{number}": slow for number in range(20)})
    host, _, port = server.address.rpartition(":")
    with ExitStack() as stack:
        stack.callback(server.close)
        clients = [stack.enter_context(socket.create_connection((host, int(port)), 10)) for _ in range(20)]
        server.turn({server._listener.fileno()}, now=0.0)
        for number, client in enumerate(clients):
            client.sendall(f"GET /{number} HTTP/1.1\r\n\r\n".encode())
        server.turn(set(server._clients), now=0.0)
        answered = [client.answer is not None for client in server._clients.values()]
        assert any(answered)
        assert all(answered) is served_at_once

        for _ in range(60):
            server.turn(set(server._clients), now=0.0)
        assert [b"slow" in client.recv(1000) for client in clients] == [True] * 20


def test_who_reads_a_byte_now_and_then_is_parted_with_at_the_deadline(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "CLIENT_SECONDS", 0.5)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(loop.address)
        client.sendall(GET.replace(b" / ", b" /large "))
        wait_until(lambda: client.recv(1) and not loop.server._clients, 5)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/%00", 404),
        ("//", 404),
        ("/../../etc/passwd", 404),
        ("/index.html", 404),
        ("*", 404),
        ("/\xff\xfe", 404),
        ("/" + "a" * 7000, 404),
        ("/?refresh=1&x=<script>", 200),
        ("/ x", 400),
    ],
)
def test_a_strange_path_is_answered_and_never_repeated(loop: Loop, path: str, status: int) -> None:
    with loop.dial() as client:
        client.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode("latin-1"))
        answer = b""
        while data := client.recv(65536):
            answer += data
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"refresh=1" not in answer
    assert b"X-Content-Type-Options: nosniff" in answer


def test_head_has_the_headers_of_the_page_and_no_body(loop: Loop) -> None:
    answer = fetch(f"http://127.0.0.1:{loop.address[1]}/", "HEAD")

    assert int(answer.headers["content-length"]) == len(page(STATUS).encode())
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.body == ""


def test_a_page_that_cannot_be_made_is_an_answer_and_a_line_in_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    def broken() -> Page:
        raise KeyError("a bug")

    server = Endpoint(f"127.0.0.1:{free_port()}", {"/": broken, "/odd": lambda: Page(200, "\ud800")})
    host, _, port = server.address.rpartition(":")
    for path, expected in ((b"/", b"500 Internal Server Error"), (b"/odd", b"200 OK")):
        with socket.create_connection((host, int(port)), 10) as client:
            client.sendall(b"GET " + path + b" HTTP/1.1\r\n\r\n")
            server.turn({server._listener.fileno()}, now=0.0)
            for _ in range(2):
                server.turn(set(server._clients), now=0.0)
            assert expected in client.recv(1000)
    server.close()
    assert "page.failed" in capfd.readouterr().err


def _pid(run: Daemon) -> int:
    """The worker's pid; 0 if there is none, or if the crowd has taken our place at the port before we asked."""
    with suppress(OSError):
        return next(iter(run.pids()), 0)
    return 0


def test_a_daemon_under_attack_purges_and_replaces_its_workers(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    broker = redis_server()
    worker = {"name": "users", "pattern": "cache:users:*", "backends": [{"backend": "said", "on_gap": "ignore"}]}
    run = daemon({"redis": {"url": broker.url}, "backends": {"said": {"type": "log"}}, "workers": [worker]})
    host, _, port = run.address.rpartition(":")
    over = threading.Event()

    def harass() -> None:
        while not over.is_set():
            with ExitStack() as stack:
                slow_senders((host, int(port)), stack, 20)
                pipelined_garbage((host, int(port)), stack, 20)
                a_crowd((host, int(port)), stack, 1)

    thread = threading.Thread(target=harass)
    thread.start()
    try:
        with redis.Redis.from_url(broker.url) as client:
            for number in range(100):
                client.publish("cache:users:x", f"users:{number}")
            first = wait_until(lambda: _pid(run), 5, run.logs)
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: _pid(run) not in (0, first), 5, run.logs)
            wait_until(lambda: client.publish("cache:users:x", "users:last") == 1, 5, run.logs)
    finally:
        over.set()
        thread.join()
    run.wait_metric("invalidator_targets_total", 1, end="purged")
    assert "supervisor.held_up" not in run.logs()

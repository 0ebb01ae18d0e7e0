"""A daemon that hangs, strangers that answer in its place, and clients that flood it or never go."""

from __future__ import annotations

import signal
import socket
import statistics
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING

import pytest

from invalidator.cli import main
from invalidator.control import client
from invalidator.control.client import Client
from invalidator.control.protocol import Ping
from invalidator.errors import UnreachableError
from tests.support.operating import topology
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.operating import Tell


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.3)


@pytest.mark.usefixtures("impatient")
def test_a_daemon_that_hangs_is_not_waited_for_for_ever(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
) -> None:
    run = daemon(topology(redis_server(), "a"))
    run.signal(signal.SIGSTOP)
    said = [tell(run, *command) for command in (["status"], ["reload", "--wait"], ["tap"])]
    run.signal(signal.SIGCONT)

    assert [code for code, _, _ in said] == [69] * 3
    hangs = f"the daemon at {run.control} does not answer: is it stopped, or does it hang?\n"
    assert [err for _, _, err in said] == [hangs] * 3


@pytest.mark.parametrize("garbage", [b"", b"HTTP/1.1 400 Bad Request\n", b"\xff\n", b"[" * 10_000 + b"\n", b"{}\n"])
def test_what_answers_but_is_no_daemon_is_said_to_be_none(folder: Callable[[str], Path], garbage: bytes) -> None:
    path = folder("other") / "x.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with Client(path) as asking:
            accepted, _ = other.accept()
            accepted.sendall(garbage)
            accepted.close()
            with pytest.raises(UnreachableError, match=r"no daemon of this version|hung up"):
                asking.ask(Ping())


@pytest.mark.parametrize(
    ("command", "said", "code", "err"),
    [
        ("reload", b'{"ok":false,"exit":1,"error":"\\u001b[2J"}\n', 1, "\\x1b[2J\n"),
        ("tap", b'{"ok":true}\n{"what":"news"}\n', 69, "what answers is no daemon of this version: "),
    ],
)
def test_what_is_said_by_whoever_answers_drives_no_terminal_and_is_no_bug_of_ours(
    folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str], command: str, said: bytes, code: int, err: str
) -> None:
    path = folder("other") / "x.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        def answer() -> None:
            accepted, _ = other.accept()
            with accepted:
                while accepted.recv(1 << 16):
                    accepted.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        ended = main([command, "--socket", str(path)])
        thread.join(5)

    assert ended == code
    assert capsys.readouterr().err.startswith(err)


def test_no_worker_holds_a_clients_connection_open(redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell) -> None:
    run = daemon(topology(redis_server(), "a"))
    with client.dial(run.control, 5) as looking_on:
        looking_on.sendall(b'{"op":"ping"}\n')
        assert looking_on.recv(100)
        assert tell(run, "restart", "a")[0] == 0  # it is forked while we are connected
        looking_on.shutdown(socket.SHUT_WR)
        assert looking_on.recv(100) == b"", "the daemon has hung up, and so has everybody else"


FLOOD = """
    import socket, sys, threading, time

    PING = b'{"op":"ping"}\\n' * 5000
    ATTACKS = [PING, b'{"op":"status"}\\n' * 5000, b"[" * 60_000 + b"\\n", b"x" * 1_000_000, b'{"op":"reload"}\\n' * 20]

    def attack(data):
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(sys.argv[1])
                    client.settimeout(0.2)
                    client.sendall(data)
            except OSError:
                pass

    for data in ATTACKS * 3:
        threading.Thread(target=attack, args=(data,), daemon=True).start()
    print("flooding", flush=True)
    sys.stdin.read()
"""


def test_a_flooded_control_socket_costs_the_daemon_nothing(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server, "a", "b"))
    pids = run.pids()
    command = [sys.executable, "-c", textwrap.dedent(FLOOD), str(run.control)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as flood:
        try:
            assert flood.stdout
            assert flood.stdout.readline() == b"flooding\n"
            took = [_seconds(lambda: run.get("/healthz")) for _ in range(100)]
            wait_until(lambda: _answers(run), why="there was no coming through")
        finally:
            flood.kill()

    assert statistics.median(took) < 0.05
    assert max(took) < 1.0, "the machine has others to serve too"
    assert run.pids() == pids
    assert run.metrics().value("invalidator_worker_restarts_total") == 0


def _answers(run: Daemon) -> bool:
    try:
        with Client(run.control) as asking:
            return asking.ask(Ping()).ok
    except UnreachableError:  # another one was let in instead
        return False


def _seconds(do: Callable[[], object]) -> float:
    begun = time.monotonic()
    do()
    return time.monotonic() - begun

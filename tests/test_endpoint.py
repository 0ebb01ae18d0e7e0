"""endpoint.py: a small HTTP server whose clients may be slow, silent or hostile."""

from __future__ import annotations

import os
import resource
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from invalidator.doors import endpoint
from invalidator.doors.endpoint import CLIENT_LIMIT, Endpoint, Page
from tests.support.turning import turning
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def serving(address: str) -> Iterator[Endpoint]:
    """An endpoint with a loop of its own, as the supervisor turns it."""
    pages = {"/hello": lambda: Page(200, "hello\n"), "/large": lambda: Page(200, "x" * 4_000_000)}
    with turning(Endpoint(address, pages)) as server:
        yield server


@pytest.fixture
def server() -> Iterator[Endpoint]:
    with serving(f"127.0.0.1:{free_port()}") as server:
        yield server


def dial(server: Endpoint) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    client = socket.create_connection((host, int(port)), timeout=10)
    client.settimeout(10)
    return client


def ask(server: Endpoint, request: bytes) -> bytes:
    with dial(server) as client:
        client.sendall(request)
        answer = b""
        try:
            while data := client.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
        return answer


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /hello HTTP/1.1", b"200"),
        (b"GET /hello?x=1 HTTP/1.0", b"200"),
        (b"HEAD /hello HTTP/1.1", b"200"),
        (b"GET /other HTTP/1.1", b"404"),
        (b"GET http://elsewhere/hello HTTP/1.1", b"404"),
        (b"POST /hello HTTP/1.1", b"405"),
        (b"\xff\xfe\x00", b"400"),
        (b"GET /hello", b"400"),
    ],
)
def test_a_request_gets_the_answer_that_it_deserves(server: Endpoint, request_line: bytes, status: bytes) -> None:
    assert ask(server, request_line + b"\r\nHost: x\r\n\r\n").split()[1] == status


def test_the_body_is_whole_however_large(server: Endpoint) -> None:
    head, _, body = ask(server, b"GET /large HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")

    assert b"Content-Length: 4000000" in head
    assert len(body) == 4_000_000


def test_a_request_that_never_ends_is_cut_off_at_its_bound(server: Endpoint) -> None:
    assert ask(server, b"GET /hello HTTP/1.1\r\nX: " + b"a" * 20_000) == b""


def test_a_silent_client_is_parted_with_and_holds_up_nobody(server: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "CLIENT_SECONDS", 0.3)
    with dial(server) as silent:
        assert b"hello" in ask(server, b"GET /hello HTTP/1.1\r\n\r\n")
        assert silent.recv(1) == b""


def test_silent_clients_hold_up_nobody_however_many_they_are(server: Endpoint) -> None:
    silent = [dial(server) for _ in range(CLIENT_LIMIT)]
    wait_until(lambda: len(server._clients) == CLIENT_LIMIT)
    begun = time.monotonic()

    assert b"hello" in ask(server, b"GET /hello HTTP/1.1\r\n\r\n")
    assert time.monotonic() - begun < endpoint.CLIENT_SECONDS / 2, "it had to wait for a silent client's end"
    assert silent[0].recv(1) == b"", "the oldest makes room"
    silent[1].sendall(b"GET /hello HTTP/1.1\r\n\r\n")
    assert b"hello" in silent[1].recv(1000), "and no other"
    for client in silent:
        client.close()


def test_who_has_asked_is_not_parted_with_in_favour_of_who_has_not() -> None:
    server = Endpoint(f"127.0.0.1:{free_port()}", {"/hello": lambda: Page(200, "hello\n")})
    asking = [dial(server) for _ in range(CLIENT_LIMIT)]
    server.turn({server._listener.fileno()}, now=0.0)
    for client in asking:
        client.sendall(b"GET /hello HTTP/1.1\r\n\r\n")
    server.turn(set(server._clients), now=0.0)  # their requests are read, and nothing is sent yet
    silent = dial(server)

    assert server._listener.fileno() not in dict(server.fds(0.0))
    server.turn(set(server._clients), now=0.0)
    assert [b"hello" in client.recv(1000) for client in asking] == [True] * CLIENT_LIMIT
    assert server._listener.fileno() in dict(server.fds(0.0))
    for client in (*asking, silent):
        client.close()
    server.close()


def test_a_request_that_has_arrived_unread_is_answered_and_not_taken_for_silence() -> None:
    server = Endpoint(f"127.0.0.1:{free_port()}", {"/hello": lambda: Page(200, "hello\n")})
    clients = []
    for _ in range(CLIENT_LIMIT + 1):
        clients.append(dial(server))
        clients[-1].sendall(b"GET /hello HTTP/1.1\r\n\r\n")
        server.turn({server._listener.fileno()}, now=0.0)
    server.turn(set(server._clients), now=0.0)

    assert [b"hello" in client.recv(1000) for client in clients[:CLIENT_LIMIT]] == [True] * CLIENT_LIMIT
    for client in clients:
        client.close()
    server.close()


def test_without_a_free_file_descriptor_it_rests_and_does_not_spin() -> None:
    server = Endpoint(f"127.0.0.1:{free_port()}", {})
    host, _, port = server.address.rpartition(":")
    with socket.socket() as client:
        client.connect((host, int(port)))
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = os.dup(0)
        os.close(spare)  # the lowest free number: no file descriptor above it is to be had
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, before[1]))
        try:
            server.turn({server._listener.fileno()}, now=100.0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

        assert list(server.fds(100.5)) == []
        assert server.next_due(100.5) == 0.5
        assert [fd for fd, _ in server.fds(101.0)] == [server._listener.fileno()]
        server.turn({server._listener.fileno()}, now=101.0)
        assert len(server._clients) == 1
    server.close()


def test_it_listens_on_a_unix_socket_too(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    with serving(f"unix:{path}"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /hello HTTP/1.1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_a_unix_socket_is_there_as_long_as_its_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    for _ in range(2):
        with serving(f"unix:{path}"):
            assert path.is_socket()
        assert not path.exists()


def test_a_unix_socket_that_a_killed_daemon_has_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with serving(f"unix:{path}"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_unix_socket_on_which_somebody_listens_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    with serving(f"unix:{path}"):
        with pytest.raises(OSError, match="in use"):
            Endpoint(f"unix:{path}", {})
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="in use"):
        Endpoint(f"unix:{path}", {})

    assert path.read_text() == "data"


def test_the_socket_of_a_successor_is_not_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    first = Endpoint(f"unix:{path}", {})
    path.rename(tmp_path / "elsewhere")
    second = Endpoint(f"unix:{path}", {})
    first.close()

    assert path.is_socket()
    second.close()


def test_an_address_that_is_taken_is_an_error(server: Endpoint) -> None:
    with pytest.raises(OSError, match="in use"):
        Endpoint(server.address, {})

"""The HTTP client against servers that answer, and against servers that do anything else."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from invalidator.errors import BackendError
from invalidator.http import Client, Limits, Request, Response, Timeouts, parse_origin, retry_after, verdict
from invalidator.http.exchange import GIVE_UP_AFTER
from invalidator.testing import Conversation, RecordingServer, answering, hanging, saying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from invalidator.http import Answer

END = b"\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def talking(server: RecordingServer, scheme: str = "http", host: str = "", **options: Any) -> Iterator[Client]:
    address = (
        server.address if server.address.startswith("unix:") else f"{scheme}://{host or '127.0.0.1'}:{server.port}"
    )
    client = Client(parse_origin(address), **options)
    try:
        with server:
            yield client
    finally:
        client.close()


def ask(client: Client, *paths: str, seconds: float = 5.0, body: bytes = b"") -> Sequence[Answer]:
    requests = [Request("PURGE", path, client.origin.authority, body=body) for path in paths]
    return client.exchange(requests, time.monotonic() + seconds)


def told(answers: Sequence[Answer]) -> list[int | str]:
    """The status of each answer, or the reason why there is none."""
    return [answer.status if isinstance(answer, Response) else answer.reason for answer in answers]


def echo(talk: Conversation) -> None:
    while True:
        path = talk.read_until(END).split()[1]
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))


def forever(head: bytes, more: bytes) -> Callable[[Conversation], None]:
    def script(talk: Conversation) -> None:
        talk.read_until(END)
        talk.send(head)
        while True:
            talk.send(more)

    return script


# What works.


@pytest.mark.parametrize("connections", [1, 3, 8])
def test_each_request_gets_its_own_answer_over_few_kept_connections(connections: int) -> None:
    paths = [f"/{number}" for number in range(200)]
    with talking(server := RecordingServer(echo), connections=connections) as client:
        for _ in range(2):
            answers = ask(client, *paths)
            assert [answer.body.decode() for answer in answers if isinstance(answer, Response)] == paths
        assert len(server.received) == connections


def test_a_server_that_closes_after_each_answer_is_asked_again() -> None:
    with talking(RecordingServer(saying(OK.replace(b"\r\n\r", b"\r\nConnection: close\r\n\r"), after=END))) as client:
        assert told(ask(client, *["/a"] * 50)) == [200] * 50


def test_a_unix_socket_is_an_origin(tmp_path_factory: pytest.TempPathFactory) -> None:
    with talking(server := RecordingServer(echo, tmp_path_factory.mktemp("u") / "s")) as client:
        assert told(ask(client, "/a")) == [200]
        assert server.received == (b"PURGE /a HTTP/1.1\r\nHost: localhost\r\n\r\n",)


def test_an_unsafe_request_is_not_sent_and_harms_no_other() -> None:
    with talking(server := RecordingServer(echo), connections=1) as client:
        assert told(ask(client, "/a", "/b\r\nX: y", "/c")) == [200, "unsafe", 200]
        assert b"X:" not in server.received[0]


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with RecordingServer(echo) as proxy, talking(RecordingServer(echo)) as client:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        assert told(ask(client, "/a")) == [200]
        assert proxy.received == ()


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    with RecordingServer(echo) as elsewhere:
        moved = f"HTTP/1.1 301 Moved\r\nLocation: http://{elsewhere.address}/\r\nContent-Length: 0\r\n\r\n".encode()
        with talking(RecordingServer(answering(END, moved))) as client:
            assert told(ask(client, "/a")) == [301]
        assert elsewhere.received == ()


# Connections that are not what they were.


def test_a_connection_that_was_closed_in_between_is_replaced() -> None:
    with talking(server := RecordingServer(saying(OK, after=END)), connections=1) as client:
        assert told(ask(client, "/a", "/b")) == [200, 200]
        assert len(server.received) == 2


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_request_that_met_a_stale_connection_is_sent_once_more(how: str) -> None:
    def stale(talk: Conversation) -> None:
        talk.read_until(END)
        talk.send(OK)
        if talk.number == 0:
            talk.read_until(END)
            if how == "reset":
                talk.reset()
            return
        talk.read_all()

    with talking(server := RecordingServer(stale), connections=1) as client:
        assert told(ask(client, "/a", "/b")) == [200, 200]
        assert [data.count(b"/b") for data in server.received] == [1, 1]


def test_a_request_on_a_fresh_connection_is_not_sent_again() -> None:
    with talking(server := RecordingServer(saying(b"", after=END))) as client:
        assert told(ask(client, "/a")) == ["closed"]
        assert len(server.received) == 1


def test_a_request_is_not_sent_a_third_time() -> None:
    def once(talk: Conversation) -> None:
        talk.read_until(END)
        if talk.number == 0:
            talk.send(OK)
            talk.read_until(END)

    with talking(server := RecordingServer(once), connections=1) as client:
        assert told(ask(client, "/a", "/b")) == [200, "closed"]
        assert len(server.received) == 2


def test_a_request_that_meets_two_stale_connections_is_not_sent_a_third_time() -> None:
    sent: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        first, second = (listener.accept()[0] for _ in range(2))
        listener.close()
        with first, second:
            for connection in (first, second):
                connection.recv(4096)
                connection.sendall(OK)
            asked = {connection: connection.recv(4096) for connection in (first, second)}
            stale = first if b" /x " in asked[first] else second
            alive = second if stale is first else first
            stale.close()
            alive.sendall(OK)
            sent.extend([asked[stale], alive.recv(4096)])

    listener = socket.create_server(("127.0.0.1", 0))
    client = Client(parse_origin(f"http://127.0.0.1:{listener.getsockname()[1]}"), connections=2)
    server = threading.Thread(target=serve, args=(listener,), daemon=True)
    server.start()
    assert told(ask(client, "/1", "/2")) == [200, 200]
    # Without the guard it would be asked a third time, and be `unreachable`: nobody listens any more.
    assert told(ask(client, "/x", "/y")) == ["closed", 200]
    server.join(5)
    assert [b" /x " in data for data in sent] == [True, True]
    client.close()


def test_half_an_answer_is_none_and_not_asked_for_again() -> None:
    def half(talk: Conversation) -> None:
        talk.read_until(END)
        talk.send(OK)
        talk.read_until(END)
        talk.send(OK[:-1])

    with talking(server := RecordingServer(half), connections=1) as client:
        assert told(ask(client, "/a", "/b")) == [200, "closed"]
        assert len(server.received) == 1


def test_bytes_that_nobody_asked_for_are_no_answer_to_the_next_request() -> None:
    extra = b"HTTP/1.1 500 Injected\r\nContent-Length: 0\r\n\r\n"
    with talking(server := RecordingServer(answering(END, OK + extra)), connections=1) as client:
        assert told(ask(client, "/a", "/b", "/c")) == [200, 200, 200]
        assert len(server.received) == 3


def test_an_answer_that_comes_after_the_deadline_is_nobodys() -> None:
    go = threading.Event()

    def slow(talk: Conversation) -> None:
        talk.read_until(END)
        if talk.number == 0:
            go.wait(5)
            talk.send(b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n")
        talk.send(OK)
        talk.read_all()

    with talking(RecordingServer(slow), connections=1) as client:
        assert told(ask(client, "/a", seconds=0.1)) == ["timeout"]
        go.set()
        assert told(ask(client, "/b")) == [200]


# Servers that do not play along.


def test_a_silent_server_costs_the_read_timeout() -> None:
    with talking(RecordingServer(hanging), timeouts=Timeouts(read=0.1), connections=1) as client:
        began = time.monotonic()
        assert told(ask(client, "/a", "/b")) == ["timeout", "timeout"]
        assert 0.2 <= time.monotonic() - began < 1.0


def test_a_byte_now_and_then_is_not_for_ever() -> None:
    def drip(talk: Conversation) -> None:
        talk.read_until(END)
        for byte in OK + b"x" * 1000:
            talk.send(bytes((byte,)))
            if threading.Event().wait(0.02):
                return

    with talking(RecordingServer(drip), timeouts=Timeouts(read=0.1, total=0.2)) as client:
        began = time.monotonic()
        assert told(ask(client, "/a")) == ["timeout"]
        assert time.monotonic() - began < 0.6
    with talking(RecordingServer(drip), timeouts=Timeouts(read=0.5, total=10)) as client:
        assert told(ask(client, "/a")) == [200], "the negative control: it is `total` that ended it"


def test_the_deadline_ends_what_the_timeouts_would_allow() -> None:
    with talking(RecordingServer(hanging), timeouts=Timeouts(10, 10, 10)) as client:
        began = time.monotonic()
        assert told(ask(client, *["/a"] * 1000, seconds=0.2)) == ["timeout"] * 1000
        assert time.monotonic() - began < 0.5


def test_a_server_that_reads_nothing_costs_no_more_than_the_deadline() -> None:
    with talking(RecordingServer(Conversation.hang), timeouts=Timeouts(10, 10, 10)) as client:
        began = time.monotonic()
        assert told(ask(client, "/a", body=bytes(32 << 20), seconds=0.2)) == ["timeout"]
        assert time.monotonic() - began < 0.6


def test_an_answer_before_the_end_of_the_request_is_an_answer() -> None:
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
    with talking(RecordingServer(saying(early, after=END))) as client:
        assert told(ask(client, "/a", body=bytes(32 << 20))) == [413]


@pytest.mark.parametrize("garbage", [b"SSH-2.0-x\r\n", b"\0" * 99, b"HTTP/1.1 200 OK\r\n folded\r\n\r\n", b"<html>"])
def test_garbage_is_no_answer_and_its_connection_is_not_used_again(garbage: bytes) -> None:
    def script(talk: Conversation) -> None:
        talk.read_until(END)
        talk.send(garbage if talk.number == 0 else OK)
        talk.read_all()

    with talking(server := RecordingServer(script), connections=1) as client:
        assert told(ask(client, "/a", "/b")) == ["protocol", 200]
        assert len(server.received) == 2


@pytest.mark.parametrize(
    ("head", "more", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000, "protocol"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "protocol"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536, "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", b"x" * 65536, 200),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536, 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 5000, 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"ffffffffff\r\n" + b"x" * 65536, 200),
    ],
)
def test_an_answer_without_an_end_costs_neither_time_nor_memory(head: bytes, more: bytes, outcome: int | str) -> None:
    with talking(RecordingServer(forever(head, more)), limits=Limits(16384, 65536)) as client:
        tracemalloc.start()
        try:
            assert told(ask(client, "/a", seconds=3.0)) == [outcome]
            assert tracemalloc.get_traced_memory()[1] < 2 << 20
        finally:
            tracemalloc.stop()


def test_a_server_that_hangs_up_on_everything_is_not_dialled_for_every_request() -> None:
    with talking(server := RecordingServer(saying(b"", after=END))) as client:
        assert told(ask(client, *["/a"] * 1000)) == ["closed"] * 1000
        assert len(server.received) < 2 * GIVE_UP_AFTER


# Connections that never stand.


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_server_that_is_away_fails_all_requests_at_once() -> None:
    client = Client(parse_origin(f"http://127.0.0.1:{closed_port()}"))
    began = time.monotonic()
    assert told(ask(client, *["/a"] * 10_000)) == ["unreachable"] * 10_000
    assert time.monotonic() - began < 1.0
    client.close()


def test_a_server_that_does_not_accept_costs_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        # One waits in the queue, and the queue has no second place: the next SYN is dropped.
        client = Client(parse_origin(f"http://127.0.0.1:{full.getsockname()[1]}"), timeouts=Timeouts(connect=0.2))
        began = time.monotonic()
        assert told(ask(client, "/a", "/b")) == ["timeout", "timeout"]
        assert time.monotonic() - began < 1.0
        client.close()


def test_the_next_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def resolve(host: str, port: int, **options: Any) -> Any:
        if host != "two.example":
            return real(host, port, **options)
        if options.get("flags"):
            raise socket.gaierror("not an address")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", closed)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    closed = closed_port()
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with talking(RecordingServer(echo), host="two.example") as client:
        assert told(ask(client, *["/a"] * 20)) == [200] * 20


def test_a_name_that_does_not_resolve_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    client = Client(parse_origin("http://nowhere.example"))
    (answer,) = ask(client, "/a")
    assert isinstance(answer, BackendError)
    assert answer.reason == "unreachable"
    assert "nowhere.example" in answer.detail


def test_a_resolver_that_hangs_holds_nobody_up_and_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    go, calls = threading.Event(), []

    def resolve(*_: Any, **options: Any) -> Any:
        if options.get("flags"):
            raise socket.gaierror("not an address")
        calls.append(1)
        go.wait(10)
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    client = Client(parse_origin("http://slow.example"), timeouts=Timeouts(connect=0.1))
    began = time.monotonic()
    for _ in range(3):
        assert told(ask(client, "/a", "/b")) == ["unreachable", "unreachable"]
    assert time.monotonic() - began < 1.0
    assert calls == [1]
    go.set()


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed one for 127.0.0.1, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not on this machine: there is no certificate to test with")
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    keys = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
    subprocess.run([openssl, "req", "-x509", *keys, *names, *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "certificate").read_bytes() + (folder / "key").read_bytes())
    return both


@contextmanager
def tls_in_front_of(server: RecordingServer, certificate: Path) -> Iterator[int]:
    """The port of a listener that takes TLS off and passes the rest on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, socket.create_connection(("127.0.0.1", server.port)) as inner:
            try:
                with context.wrap_socket(connection, server_side=True) as outer:
                    while data := outer.recv(65536):
                        inner.sendall(data)
                        outer.sendall(inner.recv(65536))
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
    for thread in threads:
        thread.join(5)


def test_tls_is_spoken_with_who_is_trusted_and_with_nobody_else(certificate: Path) -> None:
    with RecordingServer(echo) as server, tls_in_front_of(server, certificate) as port:
        trusting = Client(parse_origin(f"https://127.0.0.1:{port}"), ca_file=certificate, connections=2)
        strange = Client(parse_origin(f"https://127.0.0.1:{port}"))
        misnamed = Client(parse_origin(f"https://localhost:{port}"), ca_file=certificate)
        assert told(ask(trusting, *[f"/{number}" for number in range(20)])) == [200] * 20
        assert told(ask(trusting, "/again")) == [200]
        assert told(ask(strange, "/secret")) == ["unreachable"]
        assert told(ask(misnamed, "/secret")) == ["unreachable"]
        assert b"secret" not in b"".join(server.received)
        for client in (trusting, strange, misnamed):
            client.close()


def test_several_requests_go_through_tls_together(certificate: Path) -> None:
    def together(talk: Conversation) -> None:
        for size in (1, 2, 4):
            for _ in range(size):
                talk.read_until(END)
            talk.send(OK * size)
        talk.read_all()

    with RecordingServer(together) as server, tls_in_front_of(server, certificate) as port:
        client = Client(parse_origin(f"https://127.0.0.1:{port}"), ca_file=certificate, connections=1, pipeline=4)
        assert told(ask(client, *["/a"] * 7)) == [200] * 7
        client.close()


def test_tls_with_a_server_that_speaks_none_fails_in_time(certificate: Path) -> None:
    with talking(RecordingServer(lambda talk: talk.send(OK)), "https", ca_file=certificate) as client:
        assert told(ask(client, "/a")) == ["unreachable"]
    with talking(RecordingServer(hanging), "https", ca_file=certificate, timeouts=Timeouts(connect=0.2)) as client:
        began = time.monotonic()
        assert told(ask(client, "/a", "/b")) == ["timeout", "timeout"]
        assert time.monotonic() - began < 1.0


# What an answer means.


def test_every_status_has_its_meaning() -> None:
    assert {status for status in range(200, 600) if verdict(status) is None} == {200, 201, 202, 204, 404, 410, 412}
    table = {
        301: ("unsupported", False), 304: ("unsupported", False), 206: ("unsupported", False), 400: ("rejected", False),
        401: ("auth", False), 403: ("auth", False), 405: ("unsupported", False), 414: ("rejected", False),
        408: ("timeout", True), 429: ("rate_limited", True), 500: ("server_error", True), 501: ("unsupported", False),
        503: ("server_error", True), 599: ("server_error", True),
    }  # fmt: skip
    assert {status: verdict(status) for status in table} == table


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0), ("0", 0.0), ("9" * 99, 300.0), ("301", 300.0),
        ("", 0.0), ("-7", 0.0), ("1.5", 0.0), ("soon", 0.0), ("٧", 0.0), ("Sun, 99 Sep 2001 99:00:00", 0.0),
        ("Sun, 09 Sep 2001 01:47:10 GMT", 30.0), ("Sunday, 09-Sep-01 01:47:10 GMT", 30.0),
        ("Sun Sep  9 01:47:10 2001", 30.0), ("Sun, 09 Sep 2001 01:46:00 GMT", 0.0),
        ("Sun, 09 Sep 2031 01:46:00 GMT", 300.0),
    ],
)  # fmt: skip
def test_a_server_may_ask_for_patience_in_seconds_or_until_a_date(value: str, seconds: float) -> None:
    assert retry_after(value, now=1_000_000_000.0) == seconds

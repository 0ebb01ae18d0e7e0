"""The proxy between the daemon and Redis: each fault is the one that it says it is."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from invalidator.stage import proxy as faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.stage.proxy import Proxy


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """In front of a server that says back what it hears."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server, faults.opened(server.getsockname()) as opened:
        thread = threading.Thread(target=echo, args=[server])
        thread.start()
        yield opened
        server.shutdown(socket.SHUT_RDWR)  # ends its accept()
        thread.join()


def echo(server: socket.socket) -> None:
    while True:
        try:
            line, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=say_back, args=[line], daemon=True).start()


def say_back(line: socket.socket) -> None:
    with closing(line):
        try:
            while data := line.recv(65536):
                line.sendall(data)
        except OSError:
            pass


def dial(proxy: Proxy, patience: float = 5.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), patience)


def hung_up(line: socket.socket) -> bool:
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True


def heard(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := line.recv(65536)):
        data += more
    return data


def test_it_carries_everything_in_order_and_both_ways(proxy: Proxy) -> None:
    data = bytes(range(256)) * 4096
    with closing(dial(proxy)) as line:
        sender = threading.Thread(target=line.sendall, args=[data])
        sender.start()
        assert heard(line, len(data)) == data
        sender.join()


def test_a_cut_ends_connections_and_takes_none_until_it_is_healed(proxy: Proxy) -> None:
    with closing(dial(proxy)) as line:
        line.sendall(b"1")
        assert heard(line, 1) == b"1"
        proxy.cut()
        assert line.recv(1) == b""
    with closing(dial(proxy)) as line:
        assert hung_up(line)
    proxy.heal()
    with closing(dial(proxy)) as line:
        line.sendall(b"3")
        assert heard(line, 1) == b"3"


def test_a_reset_is_one(proxy: Proxy) -> None:
    with closing(dial(proxy)) as line:
        line.sendall(b"1")
        assert heard(line, 1) == b"1"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            line.recv(1)


def test_what_is_stalled_comes_later_and_what_is_stranded_never(proxy: Proxy) -> None:
    with closing(dial(proxy)) as line, closing(dial(proxy)) as stranded:
        for one in (line, stranded):
            one.sendall(b"1")
            assert heard(one, 1) == b"1"
        proxy.stall()
        line.sendall(b"2")
        line.settimeout(0.1)
        with pytest.raises(TimeoutError):
            line.recv(1)
        proxy.heal()
        line.settimeout(5)
        assert heard(line, 1) == b"2"

        proxy.strand()
        stranded.settimeout(0.1)
        stranded.sendall(b"3")
        with pytest.raises(TimeoutError):
            stranded.recv(1)
        with closing(dial(proxy)) as new:
            new.sendall(b"4")
            assert heard(new, 1) == b"4"
        proxy.heal()
        stranded.sendall(b"5")
        with pytest.raises(TimeoutError):
            stranded.recv(1)


def test_a_delay_holds_up_and_keeps_the_order(proxy: Proxy) -> None:
    proxy.delay(0.05)
    with closing(dial(proxy)) as line:
        line.settimeout(0.08)
        line.sendall(b"1")
        with pytest.raises(TimeoutError):
            line.recv(1)
        line.settimeout(5)
        line.sendall(b"23")
        assert heard(line, 3) == b"123"


def test_a_delay_that_varies_stays_within_its_bounds_and_keeps_the_order(proxy: Proxy) -> None:
    proxy.delay(0.03, jitter=0.02)
    with closing(dial(proxy)) as line:
        line.settimeout(5)
        took = []
        for number in range(10):
            began = time.monotonic()
            line.sendall(b"%d" % number)
            assert heard(line, 1) == b"%d" % number
            took.append(time.monotonic() - began)
        line.sendall(b"many ")
        line.sendall(b"in order")
        assert heard(line, 13) == b"many in order"
    assert min(took) >= 2 * 0.01
    assert len({round(seconds, 4) for seconds in took}) > 1, "and it does vary"


def test_garbage_comes_in_between(proxy: Proxy) -> None:
    with closing(dial(proxy)) as line:
        line.sendall(b"1")
        assert heard(line, 1) == b"1"
        proxy.garble()
        assert heard(line, len(faults.GARBAGE)) == faults.GARBAGE


def test_nothing_of_it_is_left(proxy: Proxy) -> None:
    with closing(dial(proxy)) as line:
        line.sendall(b"1")
        assert heard(line, 1) == b"1"
        with faults.opened(("127.0.0.1", proxy.port)) as second, closing(dial(second)) as other:
            other.sendall(b"2")
            assert heard(other, 1) == b"2"
        assert [thread.name for thread in threading.enumerate()].count("proxy") == 1
        with pytest.raises(ConnectionRefusedError):
            dial(second)

"""The recording server: what it writes down, what it answers, and how a test waits for it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from invalidator.testing import Conversation, RecordingServer, answering, hanging, saying

if TYPE_CHECKING:
    from pathlib import Path


def connected(server: RecordingServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=5.0)


def test_every_byte_of_each_connection_is_written_down_in_order() -> None:
    with RecordingServer(hanging) as server, connected(server) as first:
        server.wait_for(lambda received: len(received) == 1)
        with connected(server) as second:
            second.sendall(b"b\x00")
            first.sendall(b"a\r\n")
            second.sendall(b"\xff")
            assert server.wait_for(lambda received: sum(map(len, received)) == 6) == (b"a\r\n", b"b\x00\xff")


def test_it_answers_each_time_that_the_marker_arrives_however_it_is_cut() -> None:
    with RecordingServer(answering(b"\r\n", b"OK;")) as server, connected(server) as client:
        client.sendall(b"one\r")
        server.wait_for(lambda received: received == (b"one\r",))
        client.sendall(b"\ntwo\r\n")
        answer = b""
        while len(answer) < 6:
            answer += client.recv(100)
        assert answer == b"OK;OK;"


def test_it_can_say_half_an_answer_and_hang_up(tmp_path: Path) -> None:
    with (
        RecordingServer(saying(b"HALF", after=b"?"), tmp_path / "s") as server,
        socket.socket(socket.AF_UNIX) as client,
    ):
        assert server.address == f"unix:{tmp_path}/s"
        client.settimeout(5.0)
        client.connect(str(tmp_path / "s"))
        client.sendall(b"say?")
        assert client.recv(100) == b"HALF"
        assert client.recv(100) == b""
        server.wait_for_closed(1)


def test_it_can_reset_a_connection() -> None:
    def reset(talk: Conversation) -> None:
        talk.read_until(b"x")
        talk.reset()

    with RecordingServer(reset) as server, connected(server) as client:
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_waiting_in_vain_says_what_there_was_instead() -> None:
    with RecordingServer() as server, connected(server) as client:
        client.sendall(b"this")
        server.wait_for(lambda received: received == (b"this",))
        with pytest.raises(TimeoutError, match="this"):
            server.wait_for(lambda received: received == (b"that",), timeout=0.01)
        with pytest.raises(TimeoutError, match="still open: 1"):
            server.wait_for_closed(1, timeout=0.01)


def test_closing_ends_scripts_that_hang_and_tells_of_those_that_failed() -> None:
    with RecordingServer(Conversation.hang) as server, connected(server):
        server.wait_for(lambda received: len(received) == 1)

    def fail(talk: Conversation) -> None:
        talk.read_until(b"x")
        raise AssertionError("not what was expected")

    def talk_to_it() -> None:
        with RecordingServer(fail) as server, connected(server) as client:
            client.sendall(b"x")
            server.wait_for_closed(1)

    with pytest.raises(AssertionError, match="not what was expected"):
        talk_to_it()

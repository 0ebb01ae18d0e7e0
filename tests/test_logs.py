"""logs.py: one event a line, whatever is in it, whoever reads it."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.logs import Occasionally, Outlet, Sink, json_line, text_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VALUES = st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
FIELDS = st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), VALUES | st.lists(st.text()), max_size=8)


@given(fields=FIELDS)
def test_json_is_one_object_a_line_that_fits_a_pipe_at_once(fields: dict[str, object]) -> None:
    line = json_line(0.0, "info", "event", fields)  # type: ignore[arg-type]

    assert "\n" not in line
    assert len(line.encode()) < 4096
    assert json.loads(line)["event"] == "event"


@given(value=st.text())
def test_text_from_outside_forges_neither_a_line_nor_a_terminal_command(value: str) -> None:
    line = text_line(0.0, "info", "event", {"key": value})

    assert line.isprintable()


def test_a_huge_field_is_clipped_and_the_line_says_so() -> None:
    fields = {f"f{number}": "x" * 5000 for number in range(20)}
    shown = json.loads(json_line(0.0, "info", "event", dict(fields)))

    assert shown["clipped"] is True
    assert shown["f0"].endswith("…")


def test_lines_of_several_writers_on_one_pipe_never_tear() -> None:
    read, write = os.pipe()

    def speak(name: str) -> None:
        outlet = Outlet.unwaiting(write)
        for number in range(200):
            Sink(outlet, json=True).write("info", "event", {"who": name, "n": number, "text": name * 500})
        outlet.close()

    speakers = [threading.Thread(target=speak, args=(name,)) for name in "abcd"]
    lines: list[bytes] = []

    def listen() -> None:
        with os.fdopen(read, "rb") as pipe:
            lines.extend(pipe)

    listener = threading.Thread(target=listen)
    listener.start()
    for speaker in speakers:
        speaker.start()
    for speaker in speakers:
        speaker.join()
    os.close(write)
    listener.join()

    assert lines
    assert all(set(json.loads(line)["text"]) == {json.loads(line)["who"]} for line in lines)


def test_a_reader_that_has_stopped_reading_costs_lines_which_are_counted() -> None:
    read, write = os.pipe()
    sink = Sink(Outlet(write), json=True)
    for _ in range(1000):  # far more than a pipe holds: this would block for ever
        sink.write("info", "event", {"text": "x" * 500})
    lost = sink.lost
    os.read(read, 1 << 20)
    sink.write("info", "event", {})
    last = os.read(read, 1 << 20).splitlines()[-1]
    os.close(read)
    os.close(write)

    assert lost > 0
    assert json.loads(last)["log_lines_lost"] == lost
    assert sink.lost == 0


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that has no room left, as another process leaves it that wrote a moment before us."""
    read, write = os.pipe()
    filler = os.open(f"/proc/self/fd/{write}", os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(filler, b"x" * 4096)
    os.close(filler)
    yield read, write
    os.close(read)
    os.close(write)


class Outpaced:
    """select.poll() of a process that is always too slow: there was room when it asked."""

    def register(self, fd: int, events: int) -> None:
        """As select.poll() has it."""

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        del timeout
        return [(0, select.POLLOUT)]


def waits(outlet: Outlet, read: int) -> bool:
    """Whether a write to a full pipe waits for its reader, who reads afterwards in any case."""
    writer = threading.Thread(target=outlet.write, args=("event",))
    writer.start()
    writer.join(0.3)
    hung = writer.is_alive()
    os.read(read, 1 << 20)
    writer.join()
    return hung


def test_a_process_that_is_outpaced_to_the_last_page_loses_a_line_and_does_not_wait(
    full_pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = full_pipe
    monkeypatch.setattr("invalidator.logs.select.poll", Outpaced)
    outlet = Outlet.unwaiting(write)

    assert not waits(outlet, read)
    assert os.get_blocking(write), "the pipe as others have it open must stay as it was"
    outlet.close()
    assert os.get_blocking(write)


def test_to_ask_for_room_first_is_not_enough(full_pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    # The control for the test above: an outlet that has not opened the pipe for itself does wait.
    read, write = full_pipe
    monkeypatch.setattr("invalidator.logs.select.poll", Outpaced)

    assert waits(Outlet(write), read)


def test_a_socket_that_nobody_reads_costs_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr("invalidator.logs.select.poll", Outpaced)
    outlet = Outlet.unwaiting(ours.fileno())
    sink = Sink(outlet, json=True)
    while not sink.lost:  # would hang here
        sink.write("info", "event", {"text": "x" * 500})
    lines = theirs.recv(1 << 22).splitlines()
    outlet.close()
    ours.setblocking(True)  # not closed with the outlet
    ours.close()
    theirs.close()

    assert all(json.loads(line)["event"] == "event" for line in lines)


def test_without_proc_an_outlet_still_asks_for_room(
    full_pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_proc(*_: object) -> int:
        raise FileNotFoundError

    read, write = full_pipe
    monkeypatch.setattr("invalidator.logs.os.open", no_proc)
    outlet = Outlet.unwaiting(write)

    assert not outlet.write("event")
    os.read(read, 8192)
    assert outlet.write("event")


SPEAKING = """
from invalidator import logs
logs.configure()
log = logs.get_logger()
for number in range(500):
    log.info("event", text="x" * 500)
print("done")
"""


def test_processes_that_share_a_stderr_that_nobody_reads_come_to_their_end() -> None:
    read, write = os.pipe()
    speakers = [
        subprocess.Popen([sys.executable, "-c", SPEAKING], stdout=subprocess.PIPE, stderr=write) for _ in range(3)
    ]
    try:
        assert [speaker.communicate(timeout=20)[0] for speaker in speakers] == [b"done\n"] * 3
        assert os.get_blocking(write)
    finally:
        os.close(read)  # who hangs gets EPIPE
        os.close(write)
        for speaker in speakers:
            speaker.kill()
            speaker.wait()


def test_levels_below_the_wanted_one_are_not_written() -> None:
    read, write = os.pipe()
    Sink(Outlet(write), level="warning").write("info", "event", {})
    os.close(write)

    assert os.read(read, 100) == b""
    os.close(read)


def test_under_the_journal_a_line_begins_with_its_priority() -> None:
    read, write = os.pipe()
    Sink(Outlet(write), journal=True).write("error", "event", {})
    os.close(write)

    assert os.read(read, 100).startswith(b"<3>")
    os.close(read)


def test_under_the_journal_what_ends_a_command_is_an_error_and_elsewhere_it_is_plain(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("redis: 1\nworkers: 1\n")
    said = tmp_path / "said"
    lines = {}
    for journal in (True, False):
        with said.open("wb") as stderr:
            there = os.fstat(stderr.fileno())
            stream = f"{there.st_dev}:{there.st_ino}" if journal else "1:2"
            command = [sys.executable, "-m", "invalidator", "run", "-c", str(wrong)]
            environ = os.environ | {"JOURNAL_STREAM": stream}
            code = subprocess.run(command, stderr=stderr, env=environ, check=False, timeout=30).returncode
        lines[journal] = said.read_text().splitlines()
        assert code == 78

    assert len(lines[False]) >= 2
    assert lines[True] == [f"<3>{line}" for line in lines[False]]


def test_an_event_that_repeats_is_let_through_once_in_a_while_and_counted() -> None:
    seldom = Occasionally(10.0)

    assert seldom.due("a", 0.0) == 0
    assert seldom.due("a", 1.0) is None
    assert seldom.due("b", 1.0) == 0
    assert seldom.due("a", 2.0) is None
    assert seldom.due("a", 11.0) == 2

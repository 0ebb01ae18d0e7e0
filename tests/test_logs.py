"""logs.py: one event a line, whatever is in it, whoever reads it."""

from __future__ import annotations

import json
import os
import threading

from hypothesis import given
from hypothesis import strategies as st

from invalidator.logs import Occasionally, Sink, json_line, text_line

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
        sink = Sink(fd=write, json=True)
        for number in range(200):
            sink.write("info", "event", {"who": name, "n": number, "text": name * 500})

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
    sink = Sink(fd=write, json=True)
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


def test_levels_below_the_wanted_one_are_not_written() -> None:
    read, write = os.pipe()
    Sink(fd=write, level="warning").write("info", "event", {})
    os.close(write)

    assert os.read(read, 100) == b""
    os.close(read)


def test_under_the_journal_a_line_begins_with_its_priority() -> None:
    read, write = os.pipe()
    Sink(fd=write, journal=True).write("error", "event", {})
    os.close(write)

    assert os.read(read, 100).startswith(b"<3>")
    os.close(read)


def test_an_event_that_repeats_is_let_through_once_in_a_while_and_counted() -> None:
    seldom = Occasionally(10.0)

    assert seldom.due("a", 0.0) == 0
    assert seldom.due("a", 1.0) is None
    assert seldom.due("b", 1.0) == 0
    assert seldom.due("a", 2.0) is None
    assert seldom.due("a", 11.0) == 2

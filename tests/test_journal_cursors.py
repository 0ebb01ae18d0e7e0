"""cursors.py, keeper.py and marks.py: what is known of how far a lane is, in memory and on the disk."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.journal import cursors as module
from invalidator.journal.cursors import CursorFile, Cursors, cursor_at, encoded
from invalidator.journal.entry import EntryId
from invalidator.journal.keeper import Keeper
from invalidator.journal.marks import MOST, Marks
from invalidator.journal.position import NOTHING_YET, OLDEST, Position
from invalidator.logs import get_logger
from invalidator.slots import clock
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STREAM, PATTERN = "invalidator:journal", "cache:*"
ids = st.builds(EntryId, st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))


@pytest.fixture
def file(tmp_path: Path) -> CursorFile:
    return CursorFile(tmp_path, "users/eu", get_logger())


def kept(number: int = 1) -> Cursors:
    lanes = {"store 127.0.0.1:1": cursor_at(Position(EntryId(number, 0)), "trimmed"), "log": cursor_at(NOTHING_YET)}
    return Cursors(stream=STREAM, pattern=PATTERN, server="a" * 40, unjournaled=12.5, lanes=lanes)


def test_what_was_written_is_read(file: CursorFile) -> None:
    assert file.read(STREAM, PATTERN) is None
    file.write(encoded(kept()))
    assert file.read(STREAM, PATTERN) == kept()
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.path.parent.iterdir()] == ["users%2Feu.json"]


def abandoned(file: CursorFile) -> Path:
    """What a process that was killed while it wrote has left."""
    file.write(encoded(kept()))
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    draft = file.path.with_name(f"users%2Feu.{child}.tmp")
    draft.write_bytes(b"{")
    return draft


def test_what_a_killed_writer_has_left_goes_at_the_next_start_and_what_others_write_stays(file: CursorFile) -> None:
    draft = abandoned(file)
    others = [file.path.with_name(name) for name in (f"users%2Feu.{os.getppid()}.tmp", "users%2Feu.1.2.tmp")]
    for other in others:
        other.write_bytes(b"{")
    assert file.read(STREAM, PATTERN) == kept()
    assert sorted(file.path.parent.iterdir()) == sorted([file.path, *others])
    assert not draft.exists()


def test_without_that_it_would_stay(file: CursorFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CursorFile, "_sweep", lambda _: None)
    draft = abandoned(file)
    assert file.read(STREAM, PATTERN) == kept()
    assert draft.exists()


@given(ids, st.none() | st.integers(0, 1 << 62))
def test_a_position_survives_being_written(at: EntryId, added: int | None) -> None:
    assert cursor_at(Position(at, added)).position == Position(at, added)


@pytest.mark.parametrize(("stream", "pattern"), [("other", PATTERN), (STREAM, "other:*")])
def test_for_another_stream_or_pattern_there_is_no_cursor(file: CursorFile, stream: str, pattern: str) -> None:
    file.write(encoded(kept()))
    assert file.read(stream, pattern) is None


@given(st.binary(max_size=40), st.integers(0, 300), st.integers(0, 300))
def test_whatever_has_become_of_the_file_is_no_reason_to_stumble(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, begin: int, length: int
) -> None:
    file = CursorFile(tmp_path_factory.mktemp("cursors"), "users", get_logger())
    whole = encoded(kept())
    file.write(whole[:begin] + junk + whole[begin + length :])
    found = file.read(STREAM, PATTERN)
    assert found is None or all(cursor.position for cursor in found.lanes.values())


def test_a_pipe_in_the_place_of_the_file_keeps_nobody_waiting(file: CursorFile) -> None:
    file.path.parent.mkdir()
    os.mkfifo(file.path)
    assert file.read(STREAM, PATTERN) is None
    assert file.is_lost


def test_a_file_that_is_too_large_is_not_read(file: CursorFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write(encoded(kept()))
    monkeypatch.setattr(module, "LARGEST", 10)
    assert file.read(STREAM, PATTERN) is None


def test_a_reader_finds_a_whole_file_while_two_write_it(file: CursorFile) -> None:
    file.write(encoded(kept()))
    stop = threading.Event()

    def write(pid: int) -> None:
        other = CursorFile(file.path.parents[1], "users/eu", get_logger())
        number = pid
        while not stop.is_set():
            number += 2
            other.write(encoded(kept(number)))

    writer = threading.Thread(target=write, args=(1,))
    child = os.fork()
    if child == 0:
        for number in range(2, 200, 2):
            file.write(encoded(kept(number)))
        os._exit(0)
    writer.start()
    try:
        assert all(file.read(STREAM, PATTERN) for _ in range(300))
    finally:
        stop.set()
        writer.join()
        assert os.waitpid(child, 0)[1] == 0


class Disk:
    """Takes what it is given, as long as it is well."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.error: OSError | None = None
        self.free = threading.Event()
        self.free.set()

    def write(self, data: bytes) -> None:
        assert self.free.wait(10)
        if self.error:
            raise self.error
        self.written.append(data)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def keeper(disk: Disk) -> Iterator[Keeper]:
    made = Keeper(disk.write, lambda: None, get_logger())
    yield made
    disk.free.set()
    made.close(clock() + 5)


def test_a_slow_disk_gets_the_newest_alone(disk: Disk, keeper: Keeper) -> None:
    disk.free.clear()
    keeper.keep(b"1")
    wait_until(lambda: keeper._waiting is None)
    assert [keeper.keep(number) for number in (b"2", b"3", b"4")] == [2, 3, 4]
    disk.free.set()
    assert keeper.close(clock() + 5)

    assert disk.written == [b"1", b"4"]


def test_a_disk_that_refuses_is_asked_again_and_said_to_be_in_trouble(disk: Disk, keeper: Keeper) -> None:
    disk.error = OSError(28, "No space left on device")
    keeper.keep(b"1")
    wait_until(lambda: "No space left" in keeper.trouble)
    disk.error = None
    wait_until(lambda: (keeper.kept, keeper.trouble) == (1, ""))
    assert disk.written == [b"1"]


@pytest.mark.parametrize("pause", [10.0, 0.0], ids=["patient", "control"])
def test_a_disk_that_refuses_is_left_alone_for_a_second_however_much_comes_meanwhile(
    monkeypatch: pytest.MonkeyPatch, keeper: Keeper, pause: float
) -> None:
    monkeypatch.setattr("invalidator.journal.keeper.RETRY_SECONDS", pause)
    refused: list[bytes] = []

    def refuse(data: bytes) -> None:
        refused.append(data)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeper, "_write", refuse)
    for number in range(20):
        keeper.keep(b"%d" % number)
        wait_until(lambda number=number: keeper.trouble and (pause or len(refused) > number))  # type: ignore[misc]
    keeper.close(clock() + 5)

    assert (len(refused) <= 2) is (pause > 0), "once, and once more at the end"


def test_the_end_is_not_kept_waiting_by_a_disk_that_hangs(disk: Disk, keeper: Keeper) -> None:
    disk.free.clear()
    keeper.keep(b"1")
    assert not keeper.close(clock() + 0.05)


def at(number: int) -> Position:
    return Position(EntryId(number, 0))


def test_a_cursor_moves_only_over_what_is_answered() -> None:
    marks = Marks()
    marks.add(3, at(1))
    marks.add(5, at(2))
    found = [(marks.settle(2), marks.cursor), (marks.settle(4), marks.cursor)]
    marks.add(5, at(7))  # nothing was offered on the way: others' entries
    found.append((marks.settle(5), marks.cursor))
    marks.add(6, at(8))
    marks.restart(OLDEST)
    found.append((marks.settle(9), marks.cursor))

    assert found == [(False, None), (True, at(1)), (True, at(7)), (False, OLDEST)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60))
def test_however_the_numbers_come_the_cursor_is_true(steps: list[tuple[int, int]]) -> None:
    marks, number, settled = Marks(), 0, 0
    given_at: dict[int, int] = {}  # by position: the last number that was offered by then
    for position, (offered, answered) in enumerate(steps, 1):
        number += offered
        given_at[position] = number
        marks.add(number, at(position))
        settled = min(number, settled + answered)
        marks.settle(settled)
        if marks.cursor:
            assert given_at[marks.cursor.at.ms] <= settled
        if settled == number:
            assert marks.cursor == at(position)


def test_a_backend_that_is_away_for_long_costs_no_memory() -> None:
    marks = Marks()
    for number in range(1, 100_000):
        marks.add(number, at(number))
    assert len(marks._waiting) <= MOST
    marks.settle(50_000)
    assert marks.cursor is not None
    assert 25_000 < marks.cursor.at.ms <= 50_000
    marks.settle(100_000)
    assert marks.cursor == at(99_999)

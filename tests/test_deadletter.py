"""deadletter.py: what nobody will purge, kept up to a bound and counted beyond it."""

from __future__ import annotations

import json
import os
import resource
import signal
from typing import TYPE_CHECKING

from invalidator.lanes.deadletter import DeadLetters
from invalidator.letters import Box
from invalidator.logs import get_logger
from invalidator.messages import Target

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def letters(count: int) -> list[tuple[Target, str]]:
    return [(Target("key", f"users:{number}"), "overflow") for number in range(count)]


def kept(folder: Path) -> list[dict[str, object]]:
    (file,) = (folder / "dead-letters").iterdir()
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_each_letter_says_what_why_when_and_for_whom(tmp_path: Path) -> None:
    box = DeadLetters(tmp_path, Box("users", "edge"), get_logger())

    assert box.write([(Target("tag", "a"), "rejected")], at=12.5) == 1
    assert kept(tmp_path) == [
        {"worker": "users", "backend": "edge", "at": 12.5, "kind": "tag", "target": "a", "reason": "rejected"}
    ]


def test_up_to_the_bound_all_are_kept_and_the_rest_is_reported(tmp_path: Path) -> None:
    box = DeadLetters(tmp_path, Box("w", "b"), get_logger(), limit=100_000)
    first = box.write(letters(5_000), at=1.0)
    again = box.write(letters(10), at=1.0)

    assert 500 < first < 5_000
    assert again <= 1
    assert len(kept(tmp_path)) == first + again


def test_a_disk_that_is_full_leaves_whole_lines_and_the_right_count(tmp_path: Path) -> None:
    # A limit on the size of files makes write() fall short as a full disk does; here in the middle of a line.
    box = DeadLetters(tmp_path, Box("w", "b"), get_logger())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_001, before[1]))
    try:
        count = box.write(letters(5_000), at=1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)

    assert 0 < count < 5_000
    assert len(kept(tmp_path)) == count, "each line is whole"


def test_a_half_line_that_somebody_left_does_not_spoil_the_next(tmp_path: Path) -> None:
    box = DeadLetters(tmp_path, Box("w", "b"), get_logger())
    box.write(letters(2), at=1.0)
    (file,) = (tmp_path / "dead-letters").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    box.write(letters(1), at=2.0)

    *_, last = file.read_text().splitlines()
    assert json.loads(last)["at"] == 2.0


def test_who_writes_at_the_same_time_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another process of this worker (make before break) writes behind our half line, once the disk has room again.
    ours, other = (DeadLetters(tmp_path, Box("w", "b"), get_logger()) for _ in range(2))
    really = os.write

    def write(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", really)
        written = really(fd, data[:-5])
        assert other.write(letters(3), at=2.0) == 3
        return written

    monkeypatch.setattr(os, "write", write)
    assert ours.write(letters(2), at=1.0) == 1

    (file,) = (tmp_path / "dead-letters").iterdir()
    whole, _half, *others = file.read_text().splitlines()
    assert [json.loads(line)["at"] for line in (whole, *others)] == [1.0, 2.0, 2.0, 2.0]


def test_a_folder_that_cannot_be_made_is_no_exception(tmp_path: Path) -> None:
    (tmp_path / "dead-letters").write_text("a file is in the way")

    assert DeadLetters(tmp_path, Box("w", "b"), get_logger()).write(letters(3), at=1.0) == 0


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    DeadLetters(tmp_path, Box("../../w", "/etc/b"), get_logger()).write(letters(1), at=1.0)

    assert len(kept(tmp_path)) == 1


def test_a_letter_that_is_written_while_others_are_synced_is_synced_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = DeadLetters(tmp_path, Box("w", "b"), get_logger())
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    box.write(letters(1), at=1.0)
    really = os.write

    def write(fd: int, data: bytes) -> int:
        box.sync()  # another thread's, before these are in the file
        return really(fd, data)

    monkeypatch.setattr(os, "write", write)
    box.write(letters(1), at=2.0)
    synced.clear()
    box.sync()
    assert synced
    synced.clear()
    box.sync()
    assert not synced, "the control: nothing was written since"

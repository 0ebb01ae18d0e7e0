"""Dead letters stand nowhere else: they are on the disk before a cursor passes them, and stay until all have ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from invalidator import Failure, PurgeResult, Target
from invalidator.backend import targets_of
from invalidator.lanes.deadletter import DeadLetters
from invalidator.letters import Box
from invalidator.logs import get_logger
from tests.support.exact import Process, started
from tests.support.journals import Publisher
from tests.support.lanes import Scripted

if TYPE_CHECKING:
    from contextlib import ExitStack

    from invalidator import Batch
    from tests.conftest import MakeRedis
    from tests.support.stores import RedisServer


def refuses(batch: Batch) -> PurgeResult:
    return PurgeResult(tuple(Failure(target, "rejected", retry=False) for target in targets_of(batch)))


def synced_until_the_cursor_has_passed(redis_server: MakeRedis, folder: Path, cleanup: ExitStack) -> list[str]:
    """The names of the files that were made to survive a loss of power, while a purge was refused for good."""
    synced: list[str] = []
    really = os.fsync

    def fsync(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        really(fd)

    server = redis_server()
    publisher = Publisher(server)
    cleanup.callback(publisher.close)
    process = started(cleanup, Process(server, folder, Scripted(refuses)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        last = publisher.add("users:1")
        process.until(lambda: process.cursors()["objects"] == (last, ""))
    assert len(process.rigs[0].letters()) == 1
    return [name for name in synced if name.endswith((".jsonl", ".tmp"))]


def test_a_letter_survives_a_loss_of_power_before_a_cursor_passes_it(
    redis_server: MakeRedis, tmp_path: Path, cleanup: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = synced_until_the_cursor_has_passed(redis_server, tmp_path / "a", cleanup)
    assert "users.objects.jsonl" in names
    assert names.index("users.objects.jsonl") < max(i for i, name in enumerate(names) if name.endswith(".tmp"))
    monkeypatch.setattr(DeadLetters, "sync", lambda _: None)
    names = synced_until_the_cursor_has_passed(redis_server, tmp_path / "b", cleanup)
    assert "users.objects.jsonl" not in names, "the control: nothing else would wait for it"


def test_cursors_wait_for_letters_that_cannot_be_synced(
    source: RedisServer, publisher: Publisher, tmp_path: Path, cleanup: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: DeadLetters) -> None:
        raise OSError("the disk is gone")

    process = started(cleanup, Process(source, tmp_path, Scripted(refuses)))
    before = process.cursors()
    monkeypatch.setattr(DeadLetters, "sync", fails)
    publisher.add("users:1")
    process.until(lambda: process._keeper.trouble == "the disk is gone")
    assert process.cursors() == before


def aside(box: DeadLetters, *names: str) -> int:
    """Letters of these are tried again. How many bytes that is."""
    box.write([(Target("key", name), "rejected") for name in names], at=1.0)
    assert box.set_aside()
    return len(box.read(0, 10_000))


def test_who_is_done_with_letters_that_another_process_was_done_with_first_removes_no_others(tmp_path: Path) -> None:
    elder, younger = (DeadLetters(tmp_path, Box("users", "objects"), get_logger()) for _ in range(2))
    size = aside(elder, "a")
    assert younger.set_aside()
    assert younger.done_with(size, 1)
    aside(younger, "b")
    assert elder.done_with(size, 1)

    assert b'"b"' in (tmp_path / "dead-letters" / "users.objects.jsonl.retry").read_bytes()
    assert younger.done_with(size, 1)
    assert not younger.is_set_aside()

"""The vendor's limits in a file: shared by processes, and safe from whatever may be in it."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from invalidator.cdn import Ledger, Limit, shared
from invalidator.cdn.ledger import LONGEST_LOCK
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

CALL = ((1.0,),)
SLOW = (Limit(1 / 3600, 10),)

TAKER = """
import sys
from pathlib import Path
from invalidator.cdn import Ledger, Limit
ledger = Ledger([Limit(1 / 3600, 1000)], Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
taken = sum(ledger.take(((1.0,),)).given[0] for _ in range(600))
print(taken, flush=True)
while len(sys.argv) > 2:
    ledger.take(((0.0,),))
"""


def taker(path: Path, *more: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", TAKER, str(path), *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_all_processes_together_take_what_there_is_and_no_more(tmp_path: Path) -> None:
    processes = [taker(tmp_path / "limits") for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = [int(process.communicate(timeout=30)[0]) for process in processes]
    assert sum(taken) == 1000, taken


def test_a_process_that_is_killed_in_the_middle_leaves_its_lock_and_a_record(tmp_path: Path) -> None:
    path = tmp_path / "limits"
    process = taker(path, "for ever")
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "600\n"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    left = sum(Ledger([Limit(1 / 3600, 1000)], path).take(CALL).given[0] for _ in range(600))
    assert left == 400


def test_what_was_taken_is_remembered_by_who_comes_later(tmp_path: Path) -> None:
    assert shared(tmp_path, SLOW, "me").take(CALL * 10).given == (True,) * 10
    later = shared(tmp_path, SLOW, "me").take(CALL)
    assert later.given == (False,)
    assert later.wait == pytest.approx(3600, rel=0.01)
    assert shared(tmp_path, SLOW, "another").take(CALL).given == (True,)
    assert shared(tmp_path, (Limit(1, 10),), "me").take(CALL).given == (True,), "another plan is another bucket"


def test_one_is_told_to_wait_and_all_do(tmp_path: Path) -> None:
    one, other = shared(tmp_path, SLOW, "me"), shared(tmp_path, SLOW, "me")
    one.refused(30)
    assert other.take(CALL).wait == pytest.approx(30, rel=0.01)
    one.refused(5)
    assert other.take(CALL).wait == pytest.approx(30, rel=0.01), "the longest wait counts"


@pytest.mark.parametrize("garbage", [b"x", b"ivl1" + bytes(60), b"\xff" * 4096])
def test_garbage_grants_nothing_and_is_replaced(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "limits"
    path.write_bytes(garbage)
    ledger = Ledger([Limit(1000, 1)], path)
    assert ledger.take(CALL).given == (False,)
    wait_until(lambda: ledger.take(CALL).given == (True,), 5)
    assert path.stat().st_size < 100


@pytest.mark.parametrize("loss", ["removed", "emptied"])
def test_a_file_that_is_lost_brings_no_second_burst(tmp_path: Path, loss: str) -> None:
    path = tmp_path / "limits"
    ledger = Ledger(SLOW, path)
    assert ledger.take(CALL * 10).given == (True,) * 10
    path.unlink() if loss == "removed" else path.write_bytes(b"")
    assert ledger.take(CALL).given == (False,)
    assert Ledger(SLOW, path).take(CALL).given == (False,), "nor one to who comes later"
    path.unlink()
    assert Ledger(SLOW, path).take(CALL).given == (True,), "who never took anything begins with a full bucket"


def test_a_lock_that_is_never_given_back_holds_nobody_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "limits"
    ledger, newcomer = Ledger([Limit(1000, 3)], path), Ledger(SLOW, path)
    assert ledger.take(CALL * 3).given == (True,) * 3
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        mercy = threading.Timer(5.0, fcntl.flock, (held, fcntl.LOCK_UN))  # who waits without an end fails, and ends
        mercy.start()
        began = time.monotonic()
        assert ledger.take(CALL).given == (True,), "what this process knows was refilled meanwhile"
        assert ledger.take(CALL * 4).given[-1] is False, "and is counted"
        assert newcomer.take(CALL).given == (False,), "it knows nothing of what others took"
        assert time.monotonic() - began < 4 * LONGEST_LOCK
        mercy.cancel()
        mercy.join()
    assert capfd.readouterr().err.count("cdn.limits_not_shared") == 2, "once each"
    before = path.read_bytes()
    ledger.take(CALL)
    assert path.read_bytes() != before, "shared again"


@pytest.mark.parametrize("spoil", ["a file where the folder should be", "a link", "a folder"])
def test_without_its_file_each_counts_for_itself_and_says_so_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], spoil: str
) -> None:
    folder = tmp_path / "state"
    path = folder / "limits"
    if spoil == "a file where the folder should be":
        folder.write_text("")
    else:
        folder.mkdir()
        (tmp_path / "target").write_text("precious")
        path.symlink_to(tmp_path / "target") if spoil == "a link" else path.mkdir()
    ledger = Ledger(SLOW, path)
    assert [ledger.take(CALL).given[0] for _ in range(12)] == [True] * 10 + [False] * 2
    assert capfd.readouterr().err.count("cdn.limits_not_shared") == 1
    assert not (tmp_path / "target").exists() or (tmp_path / "target").read_text() == "precious"


def test_the_file_is_for_its_owner_alone_and_names_no_secret(tmp_path: Path) -> None:
    shared(tmp_path / "state", SLOW, "token", "s3cret").take(CALL)
    (file,) = (tmp_path / "state").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "s3cret" not in file.name
    assert b"s3cret" not in file.read_bytes()


def test_a_look_costs_little(tmp_path: Path) -> None:
    ledger = shared(tmp_path, (Limit(1, 1e9),), "me")
    began = time.monotonic()
    for _ in range(200):
        ledger.take(CALL)
    assert (time.monotonic() - began) / 200 < 0.005

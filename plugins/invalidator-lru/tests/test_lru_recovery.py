"""A table's file that is removed under a running daemon: its workers make it again, and none is trusted too early."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from invalidator_lru import LRUCache
from invalidator_lru.draft import Draft, Plan
from invalidator_lru.feeder import Feeder
from invalidator_lru.preparation import Tables
from invalidator_lru.records import feeder_name
from invalidator_lru.recovery import remake
from invalidator_lru.roster import Roster
from invalidator_lru.table import LIVENESS, UNTIL, Table, TableError, name_hash, open_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USERS, ORDERS = feeder_name("users"), feeder_name("orders")


class Daemon:
    """A supervisor's tables and its two workers, in one process and on a clock that the test moves."""

    def __init__(self, path: Path, **options: int) -> None:
        self.path = path
        self.now = 1000 * LIVENESS
        self.plan = Plan(path, frozenset({USERS, ORDERS}), **options)
        self.tables = Tables()
        self.tables.apply({str(path): self.plan})
        self.workers = {name: self.worker(name) for name in (USERS, ORDERS)}
        self.cache = self.application()
        self.passes(0.1)

    def worker(self, name: str) -> Feeder:
        return Feeder(self.path, name, clock=lambda: self.now, remake=self.tables.remaker(str(self.path)))

    def application(self) -> LRUCache:
        return LRUCache(self.path, clock=lambda: self.now)

    def passes(self, seconds: float, *names: str) -> None:
        for _ in range(round(seconds * 10)):
            self.now += LIVENESS // 10
            for name in names or self.workers:
                self.workers[name].prove(self.now / LIVENESS + 3)

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "run" / "shop.gen")
    yield made
    made.close()


def listed(table: Table, *names: str) -> list[bool]:
    return [table.record_of(name) is not None for name in names]


def test_a_file_that_was_removed_is_made_again(daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> None:
    assert daemon.cache.set("k", 1)
    daemon.path.unlink()
    daemon.passes(0.9)
    assert not daemon.path.exists(), "whoever replaces a file may remove it first"
    assert daemon.cache.get("k") == 1, "who has it mapped is served, and truly"
    daemon.passes(0.3)
    assert listed(open_table(daemon.path), USERS, ORDERS) == [True, True]
    assert [entry.name for entry in daemon.path.parent.iterdir()] == ["shop.gen"]
    daemon.passes(0.2)
    late = daemon.application()
    assert late.set("k", 2)
    assert daemon.cache.get("k") is None
    daemon.workers[USERS].invalidate(keys=["k"])
    assert late.get("k") is None
    assert daemon.cache.is_proven(), "it has found the new one"
    assert capfd.readouterr().err.count("lru.remade") == 1, "one of the two made it"


def test_so_is_its_folder_with_the_modes_that_it_had(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "run" / "shop.gen", mode=0o640, slots=1024)
    shutil.rmtree(daemon.path.parent)
    umask = os.umask(0o077)
    try:
        daemon.passes(1.5)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(daemon.path.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(daemon.path.stat().st_mode) == 0o640
    assert open_table(daemon.path).slots == 1024
    assert daemon.application().is_proven()
    daemon.close()


def test_again_and_again(daemon: Daemon) -> None:
    for _ in range(3):
        daemon.path.unlink()
        daemon.passes(1.5)
        assert daemon.cache.is_proven()
        assert daemon.application().set("k", 1)


def test_the_new_one_is_trusted_when_every_worker_has_come_to_it(daemon: Daemon) -> None:
    assert daemon.cache.set("k", 1)
    daemon.path.unlink()
    daemon.passes(1.3, USERS)  # the other one hangs
    assert daemon.path.exists()
    assert not daemon.cache.is_proven()
    assert not daemon.application().is_proven()
    daemon.passes(0.1)
    assert daemon.cache.is_proven()
    assert daemon.application().is_proven()


def test_a_worker_that_was_started_while_it_was_gone_makes_it_too(daemon: Daemon) -> None:
    daemon.path.unlink()
    late = daemon.workers[USERS] = daemon.worker(USERS)
    with pytest.raises(TableError):
        late.invalidate(everything=True)  # its start's flush fails, so its lane does not let it vouch
    for _ in range(12):
        daemon.now += LIVENESS // 10
        late.prove(0.0)
    late.invalidate(everything=True)
    daemon.passes(0.2)
    assert daemon.application().is_proven()


def test_a_dead_workers_word_is_taken_back_in_the_new_one(daemon: Daemon) -> None:
    daemon.path.unlink()
    daemon.passes(1.3, USERS)
    pid = os.fork()
    if pid == 0:
        Feeder(daemon.path, ORDERS).prove(1e9)
        os._exit(0)
    os.waitpid(pid, 0)
    table = open_table(daemon.path)
    record = table.record_of(ORDERS)
    assert record is not None
    assert table.words[record + UNTIL] > 0
    daemon.tables.retract("orders")
    assert table.words[record + UNTIL] == 0


def test_a_worker_knows_of_the_feeders_that_a_reload_has_added_since_its_fork(daemon: Daemon) -> None:
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(ready, 1)
        made = daemon.tables.remaker(str(daemon.path))
        os._exit(made is None or not made())
    daemon.tables.apply({str(daemon.path): Plan(daemon.path, frozenset({USERS, "added"}))})
    daemon.path.unlink()
    os.write(go, b".")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert listed(open_table(daemon.path), USERS, ORDERS, "added") == [True, False, True]
    os.close(ready)
    os.close(go)


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "the control"])
def test_a_reload_in_the_middle_of_it_leaves_no_table_that_lacks_a_feeder(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, *, guarded: bool
) -> None:
    """The worker stands still before its last step; a reload adds a feeder, and the file is removed once more."""
    link = os.link

    def late(source: Path, target: Path) -> None:
        supervisor = os.fork()  # the roster is shared, as it is between the real ones
        if supervisor == 0:
            daemon.tables.apply({str(daemon.path): Plan(daemon.path, frozenset({USERS, ORDERS, "added"}))})
            os._exit(not listed(open_table(daemon.path), "added")[0])
        assert os.waitstatus_to_exitcode(os.waitpid(supervisor, 0)[1]) == 0
        daemon.path.unlink()
        link(source, target)

    daemon.path.unlink()
    monkeypatch.setattr(os, "link", late)
    monkeypatch.setattr(Roster, "is_still", Roster.is_still if guarded else lambda *_: True)
    made = daemon.tables.remaker(str(daemon.path))
    assert made is not None
    assert made() is not guarded
    if not guarded:
        assert listed(open_table(daemon.path), USERS, "added") == [True, False]
        return
    assert list(daemon.path.parent.iterdir()) == []
    monkeypatch.undo()
    assert made()
    assert listed(open_table(daemon.path), USERS, "added") == [True, True]


def test_while_the_supervisor_works_on_it_or_wants_none_a_worker_makes_none(tmp_path: Path) -> None:
    roster = Roster()
    plan = Plan(tmp_path / "t", frozenset({"w"}))
    assert not remake(plan, roster), "nobody feeds it"
    roster.begin()
    assert not remake(plan, roster)
    roster.end({name_hash("w")})
    roster.begin()
    roster.end()  # the reload failed: it is as it was
    assert remake(plan, roster)
    assert not remake(plan, roster), "there is one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["t"]


def test_during_a_reload_the_supervisor_alone_makes_tables(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Draft.commit
    made = daemon.tables.remaker(str(daemon.path))
    seen: list[bool] = []

    def late(draft: Draft, *, fresh: bool) -> Table:
        daemon.path.unlink()
        seen.append(made is not None and made())
        return commit(draft, fresh=fresh)

    monkeypatch.setattr(Draft, "commit", late)
    daemon.tables.apply({str(daemon.path): Plan(daemon.path, frozenset({USERS, ORDERS, "added"}))})
    assert seen == [False]
    daemon.passes(1.5)
    assert listed(open_table(daemon.path), USERS, "added") == [True, True]
    assert not daemon.application().is_proven(), "the added one has not come yet"


def test_a_reload_that_fails_changes_no_roster_and_one_that_drops_a_table_empties_it(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.gen", tmp_path / "no" / "such" / "bad.gen"
    tables = Tables()
    tables.apply({"good": Plan(good, frozenset({"w"}))})
    made = tables.remaker("good")
    assert made is not None
    with pytest.raises(TableError):
        tables.apply({"good": Plan(good, frozenset({"x"})), "bad": Plan(bad, frozenset({"x"}))})
    good.unlink()
    assert made()
    assert listed(open_table(good), "w", "x") == [True, False]
    tables.apply({})
    assert listed(open_table(good), "w") == [False], "also in the table that a worker has made"
    good.unlink()
    assert not made()
    assert tables.remaker("bad") is None


def test_a_table_that_cannot_be_made_again_is_said_to_be_gone_and_tried_again(
    daemon: Daemon, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(daemon.path.parent)
    daemon.path.parent.write_text("somebody's file, where the folder was")
    daemon.passes(10)
    said = capfd.readouterr().err
    assert said.count("lru.gone") == 2, "each of the two, and seldom"
    assert "cannot make" in said
    assert "SIGHUP" in said
    daemon.path.parent.unlink()
    daemon.passes(1.3)
    assert daemon.application().is_proven()


def test_one_who_does_not_know_the_feeders_only_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    daemon = Daemon(tmp_path / "t")
    alone = Feeder(daemon.path, USERS, clock=lambda: daemon.now)
    daemon.path.unlink()
    for _ in range(13):
        daemon.now += LIVENESS // 10
        alone.prove(daemon.now / LIVENESS + 3)
    assert capfd.readouterr().err.count("lru.gone") == 1
    assert not daemon.path.exists()
    alone.close()
    daemon.close()


def test_what_is_no_table_is_left_alone_and_said(daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> None:
    assert daemon.cache.set("k", 1)
    daemon.path.unlink()
    daemon.path.write_text("something else")
    daemon.passes(5)
    assert daemon.path.read_text() == "something else"
    said = capfd.readouterr().err
    assert said.count("lru.unusable") == 2
    assert "too short for a generation table" in said
    assert daemon.cache.get("k") == 1
    daemon.path.unlink()
    daemon.passes(1.3)
    assert daemon.application().is_proven()


def test_many_workers_that_make_it_at_once_make_one(daemon: Daemon) -> None:
    daemon.path.unlink()
    made = daemon.tables.remaker(str(daemon.path))
    assert made is not None
    go, start = os.pipe()
    pids = []
    for _ in range(6):
        pid = os.fork()
        if pid == 0:
            os.close(start)
            os.read(go, 1)  # until the other end is closed
            os._exit(made())
        pids.append(pid)
    os.close(start)
    assert sum(map(os.waitstatus_to_exitcode, (os.waitpid(pid, 0)[1] for pid in pids))) == 1
    assert [entry.name for entry in daemon.path.parent.iterdir()] == ["shop.gen"]
    os.close(go)

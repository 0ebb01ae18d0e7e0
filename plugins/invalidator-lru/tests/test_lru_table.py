"""The table's file: who makes it, who may do what with it, who vouches for it, and what is refused."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invalidator import BackendError, UnreachableError
from invalidator.backend import BackendContext
from invalidator.messages import Batch
from invalidator_lru import LRUCache, plugin
from invalidator_lru.draft import Plan
from invalidator_lru.feeder import Feeder
from invalidator_lru.options import LruOptions
from invalidator_lru.preparation import Tables, prepare
from invalidator_lru.records import feeder_name, retract_dead
from invalidator_lru.table import (
    HEARTBEAT,
    LIVENESS,
    MAX_FEEDERS,
    OWNER,
    UNTIL,
    WORD,
    Table,
    TableError,
    blank_header,
    open_table,
    table_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from invalidator.topology.models import Topology

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.gen"


@pytest.fixture
def feeder(path: Path) -> Iterator[Callable[[str], Feeder]]:
    """Feeders that vouch for a second from now on."""
    made: list[Feeder] = []

    def make(name: str) -> Feeder:
        made.append(Feeder(path, name))
        made[-1].prove(time.monotonic() + 30)
        return made[-1]

    yield make
    for one in made:
        one.close()


class Clock:
    """CLOCK_MONOTONIC, moved by hand."""

    def __init__(self) -> None:
        self.ns = 1000 * LIVENESS

    def __call__(self) -> int:
        return self.ns

    def advance(self, seconds: float) -> float:
        """Returns the second that lies 3 s after the new one."""
        self.ns += int(seconds * LIVENESS)
        return self.ns / LIVENESS + 3


def plan(path: Path, *feeders: str, **options: Any) -> Plan:
    return Plan(path, frozenset(feeders), **options)


def record(table: Table, name: str) -> int:
    found = table.record_of(name)
    assert found is not None
    return found


def proven(table: Table) -> bool:
    return table.proven_until() > 0


def vouches(table: Table, name: str) -> bool:
    """Whether its last word is that it vouches, however long ago that was."""
    return table.words[record(table, name) + UNTIL] > 0


@contextmanager
def killed_afterwards(body: Callable[[], object]) -> Iterator[None]:
    """A process that has done this, and lives until the block ends."""
    ready, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        body()
        os.write(said, b".")
        signal.pause()
    try:
        assert os.read(ready, 1) == b"."
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(said)


# How it is made.


def test_a_table_is_made_whole_with_its_folder_and_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "invalidator" / "shop.gen"
    umask = os.umask(0o077)
    try:
        prepare(plan(path, "w"))
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert path.stat().st_size == table_size(1 << 16)
    assert path.stat().st_blocks * 512 >= path.stat().st_size, "a page that is not there yet may be a SIGBUS"
    assert [entry.name for entry in path.parent.iterdir()] == ["shop.gen"]


def test_a_longer_way_that_is_missing_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"cannot make .*shop\.gen: No such file"):
        prepare(plan(tmp_path / "no" / "such" / "shop.gen", "w"))


@ROOT_ONLY
def test_mode_and_group_are_set_also_on_a_table_that_is_taken_over(path: Path) -> None:
    prepare(plan(path, "w", mode=0o640, group=12))
    inode = path.stat().st_ino
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o640, 12)
    prepare(plan(path, "w", mode=0o600, group=13))
    assert (path.stat().st_ino, stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (inode, 0o600, 13)


def test_what_is_no_table_is_neither_replaced_nor_harmed(path: Path) -> None:
    path.write_text("root:x:0:0:root:/root:/bin/bash\n")
    with pytest.raises(TableError, match="something else than a generation table"):
        prepare(plan(path, "w"))
    assert path.read_text().startswith("root:")


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_file_is_refused_without_waiting(path: Path, kind: str) -> None:
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(TableError, match="not a regular file"):
        prepare(plan(path, "w"))
    assert not LRUCache(path).is_proven()


@pytest.mark.parametrize("content", [b"", bytes(4096), blank_header(1024, 1)], ids=["empty", "zeros", "cut off"])
def test_what_a_power_cut_leaves_is_replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    prepare(plan(path, "w"))
    assert open_table(path).record_of("w") is not None


def test_too_many_feeders_are_refused(path: Path) -> None:
    with pytest.raises(TableError, match="257 workers feed it; a table takes 256"):
        prepare(plan(path, *(f"w{number}" for number in range(MAX_FEEDERS + 1))))
    table = prepare(plan(path, *(f"w{number}" for number in range(MAX_FEEDERS))))
    assert table.record_of("w255") is not None


def test_of_several_tables_none_changes_if_one_cannot_be_made(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.gen", tmp_path / "no" / "such" / "bad.gen"
    tables = Tables()
    tables.apply({"good": plan(good, "w")})
    with pytest.raises(TableError):
        tables.apply({"good": plan(good, "w", "x", slots=1024), "bad": plan(bad, "w")})
    assert open_table(good).slots == 1 << 16
    assert open_table(good).record_of("x") is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["good.gen"]


# Who vouches.


def test_feeders_that_stay_keep_their_proof_and_new_ones_have_none(path: Path, feeder: Callable[[str], Feeder]) -> None:
    table = prepare(plan(path, "a", "b"))
    feeder("a")
    feeder("b")
    assert proven(table)
    prepare(plan(path, "a", "c"), fresh=False)
    assert not proven(table), "c has not come yet"
    assert table.record_of("b") is None
    feeder("c")
    assert proven(table)


def test_a_feeder_that_has_no_record_any_more_vouches_for_nobody(path: Path) -> None:
    table = prepare(plan(path, "a"))
    gone = Feeder(path, "a")
    gone.prove(time.monotonic() + 30)
    prepare(plan(path, "b"), fresh=False)
    gone.prove(time.monotonic() + 40)
    gone.close()
    assert not proven(table)
    assert table.record_of("a") is None


def test_a_table_without_feeders_is_never_proven(path: Path) -> None:
    assert not proven(prepare(plan(path)))


def test_what_a_killed_daemon_vouched_for_does_not_outlive_the_start_of_the_next(path: Path) -> None:
    clock = Clock()
    prepare(plan(path, "a"))
    Feeder(path, "a", clock=clock).prove(clock.advance(0))  # and is killed: it takes nothing back
    cache = LRUCache(path, clock=clock)
    assert cache.set("k", 1)
    prepare(plan(path, "a"))
    assert cache.get("k") is None
    assert not cache.set("k", 2)
    Feeder(path, "a", clock=clock).prove(clock.advance(0))
    assert cache.is_proven()
    assert cache.get("k") is None, "what was missed between the two is unknown"


@pytest.mark.parametrize(
    ("heartbeat", "end", "trusted"),
    [
        (0.0, 1.0, True),
        (-0.9, 0.1, True),
        (-1.1, -0.1, False),
        (0.5, 1.5, False),
        (60.0, 61.0, False),  # from the future: another boot, another time namespace
        (0.0, 60.0, False),  # longer than anybody vouches for at once
    ],
)
def test_a_record_is_believed_only_if_its_clock_is_ours(
    path: Path, heartbeat: float, end: float, *, trusted: bool
) -> None:
    now = 1000 * LIVENESS
    table = prepare(plan(path, "a"))
    at = record(table, "a")
    table.words[at + HEARTBEAT] = now + int(heartbeat * LIVENESS)
    table.words[at + UNTIL] = now + int(end * LIVENESS)
    assert LRUCache(path, clock=lambda: now).is_proven() is trusted


def test_what_a_killed_worker_vouched_for_is_taken_back_as_soon_as_it_is_reaped(path: Path) -> None:
    table = prepare(plan(path, "a"))
    with killed_afterwards(lambda: Feeder(path, "a").prove(time.monotonic() + 30)):
        retract_dead(table, "a")
        assert vouches(table, "a"), "it is alive"
    assert vouches(table, "a"), "nobody has said so yet"
    retract_dead(table, "a")
    assert not vouches(table, "a")


def test_the_later_of_two_processes_of_one_worker_is_the_one_that_counts(path: Path) -> None:
    table = prepare(plan(path, "a"))
    at = record(table, "a")
    older = Feeder(path, "a")
    older.prove(time.monotonic() + 30)
    table.words[at + OWNER] = os.getppid()  # as its successor would, in a process of its own
    end = table.words[at + UNTIL]
    older.prove(time.monotonic() + 0.5)
    older.close()
    assert table.words[at + UNTIL] == end


# When the file is replaced.


def test_another_size_is_another_file_and_no_mapped_one_ever_shrinks(path: Path) -> None:
    clock = Clock()
    old = prepare(plan(path, "a"))
    worker = Feeder(path, "a", clock=clock)
    worker.prove(clock.advance(0))
    cache = LRUCache(path, clock=clock)
    assert cache.set("k", 1)
    prepare(plan(path, "a", slots=1024), fresh=False)
    assert cache.get("k") is None, "at once: the old file was retired"
    assert old.words[len(old.words) - 1] == 0, "no SIGBUS: it is as long as it was"
    worker.prove(clock.advance(0.2))
    assert cache.get("k") is None
    assert cache.set("k", 2)
    worker.invalidate(keys=["k"])
    assert cache.get("k") is None
    worker.close()


def test_a_worker_whose_file_was_made_again_leaves_the_old_one_before_it_feeds_the_new_one(path: Path) -> None:
    clock = Clock()
    prepare(plan(path, "a"))
    worker = Feeder(path, "a", clock=clock)
    worker.prove(clock.advance(0))
    old = LRUCache(path, clock=clock)
    assert old.set("k", 1)
    path.unlink()
    worker.prove(clock.advance(0.2))
    assert old.get("k") == 1, "the file has no name any more; who has it mapped is served, and served truly"
    prepare(plan(path, "a"), fresh=False)
    new = LRUCache(path, clock=clock)
    assert old.get("k") == 1
    assert not new.set("k", 1)
    worker.prove(clock.advance(0.2))
    assert new.set("k", 2)
    assert old.get("k") is None
    assert old.is_proven(), "it has found the new one too"
    worker.close()


def test_a_worker_that_comes_back_to_a_file_has_missed_what_happened_there(path: Path) -> None:
    clock = Clock()
    prepare(plan(path, "a"))
    worker = Feeder(path, "a", clock=clock)
    worker.prove(clock.advance(0))
    cache = LRUCache(path, clock=clock)
    assert cache.set("k", 1)
    aside = path.rename(path.with_name("aside"))
    prepare(plan(path, "a"), fresh=False)
    worker.prove(clock.advance(0.2))
    worker.invalidate(keys=["k"])
    aside.replace(path)
    worker.prove(clock.advance(0.2))
    clock.advance(0.2)
    assert cache.is_proven()
    assert cache.get("k") is None
    worker.close()


def test_a_worker_without_a_table_says_so_and_finds_it_later(path: Path) -> None:
    worker = Feeder(path, "a")
    with pytest.raises(TableError, match="No such file"):
        worker.invalidate(keys=["k"])
    worker.prove(time.monotonic() + 30)
    table = prepare(plan(path, "a"))
    worker.prove(time.monotonic() + 30)
    assert proven(table)
    worker.close()


# What an application may find at the path.


def hostile(header: dict[int, int], size: int | None = None) -> bytes:
    words = memoryview(bytearray(blank_header(1024, 1))).cast("Q")
    for word, value in header.items():
        words[word] = value
    return bytes(words).ljust(table_size(1024) if size is None else size, b"\0")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "too short"),
        (b"INVALGEN", "too short"),
        (b"\xff" * 65536, "not a generation table"),
        (hostile({0: 1}), "not a generation table"),
        (hostile({1: 1}), "layout version 1"),
        (hostile({2: 1 << 63}), "says 9223372036854775808 slots"),
        (hostile({2: 0}), "says 0 slots"),
        (hostile({2: 1023}), "says 1023 slots"),
        (hostile({3: 1 << 60}), "layout version"),
        (hostile({4: 1}), "before the host was booted"),
        (hostile({}, table_size(1024) - WORD), "bytes long"),
        (hostile({}, table_size(1024) + WORD), "bytes long"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_no_table_of_ours_is_not_mapped(path: Path, content: bytes, why: str) -> None:
    path.write_bytes(content)
    with pytest.raises(TableError, match=why):
        open_table(path)
    cache = LRUCache(path)
    assert cache.get_or_load("k", lambda _: 1) == 1
    assert (cache.get("k"), cache.is_proven()) == (None, False)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.integers(0, 15), st.integers(0, (1 << 64) - 1)), st.integers(0, 20_000))
def test_no_header_makes_a_reader_fall(header: dict[int, int], size: int) -> None:
    with open(os.memfd_create("hostile"), "wb") as file:  # noqa: PTH123 -- it has a descriptor, and no path
        file.write(hostile(header, size))
        file.flush()
        cache = LRUCache(f"/proc/self/fd/{file.fileno()}")
        assert cache.get_or_load("k", lambda _: 1) == 1
        assert not cache.is_proven()


@ROOT_ONLY
def test_an_application_that_may_not_read_the_table_is_answered_nothing(path: Path) -> None:
    prepare(plan(path, "a", mode=0o600))
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        os._exit(LRUCache(path).is_proven() or LRUCache(path).get_or_load("k", len) != 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_applications_side_imports_nothing_but_the_standard_library() -> None:
    code = "import sys; from invalidator_lru import LRUCache; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    source = str(Path(plugin.__file__).parents[1])
    # Without `site` there is nothing else to be found.
    shown = subprocess.run(
        [sys.executable, "-S", "-E", "-c", f"import sys; sys.path.insert(0, {source!r}); {code}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert set(shown) <= sys.stdlib_module_names | {"__main__", "invalidator_lru"}


# The daemon's side.


def topology(workers: dict[str, list[str]], **backends: dict[str, Any]) -> Topology:
    made: Any = SimpleNamespace(
        backends={
            name: SimpleNamespace(name=name, type="lru", options=LruOptions.model_validate(options))
            for name, options in backends.items()
        },
        workers=[
            SimpleNamespace(name=name, backends=[SimpleNamespace(backend=backend) for backend in lanes])
            for name, lanes in workers.items()
        ],
    )
    return made  # type: ignore[no-any-return]


def test_a_tables_feeders_are_the_workers_that_name_it(tmp_path: Path) -> None:
    near, far = {"path": str(tmp_path / "near")}, {"path": str(tmp_path / "far")}
    plugin.topology_applied(topology({"users": ["near"], "orders": ["near", "far"], "none": []}, near=near, far=far))
    tables = open_table(tmp_path / "near"), open_table(tmp_path / "far")
    assert [table.record_of(feeder_name("users", "near")) is not None for table in tables] == [True, False]
    assert tables[1].record_of(feeder_name("orders", "far")) is not None
    plugin.topology_applied(topology({"users": ["near"]}, near=near))
    assert tables[0].record_of(feeder_name("orders", "near")) is None
    assert tables[1].record_of(feeder_name("orders", "far")) is None, "nobody feeds it any more"


def test_a_worker_vouches_through_its_backend_and_its_end_is_known_at_once(tmp_path: Path) -> None:
    wanted = topology({"users": ["near"]}, near={"path": str(tmp_path / "near")})
    plugin.topology_applied(wanted)
    table = open_table(tmp_path / "near")
    name = feeder_name("users", "near")

    def work() -> None:
        backend = plugin.make_backend(wanted.backends["near"].options, BackendContext("users", "near"))
        assert backend is not None
        backend.subscribed(time.monotonic() + 30)

    with killed_afterwards(work):
        assert vouches(table, name)
    plugin.worker_stopped("user")
    assert vouches(table, name), "that was another worker"
    plugin.worker_stopped("users")
    assert not vouches(table, name)


def test_two_paths_to_one_file_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    plugin.topology_applied(
        topology(
            {"users": ["a"], "orders": ["b"]},
            a={"path": str(tmp_path / "run" / "t")},
            b={"path": str(tmp_path / "link" / "t")},
        )
    )
    table = open_table(tmp_path / "run" / "t")
    assert table.record_of(feeder_name("users", "a")) is not None
    assert table.record_of(feeder_name("orders", "b")) is not None


def test_the_options_say_what_is_wrong_with_a_topology(tmp_path: Path) -> None:
    here = {"path": str(tmp_path / "t")}
    apart = topology({"w": ["a", "b"]}, a=here, b={**here, "slots": 1024})
    assert list(apart.backends["a"].options.problems(apart)) == [
        "another backend has the same path and other slots: there is one file"
    ]
    crowd = topology({f"w{number}": ["a"] for number in range(257)}, a=here)
    assert list(crowd.backends["a"].options.problems(crowd)) == [
        f"257 workers feed {tmp_path}/t, and a table takes 256: use several tables"
    ]
    fine = topology({"w": ["a"]}, a=here)
    assert list(fine.backends["a"].options.problems(fine)) == []


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("path", "shop.gen", "must be absolute"),
        ("slots", 1000, "greater than or equal to 1024"),
        ("slots", 5000, "power of two, like 8192"),
        ("mode", "0666", "must not let anybody else write"),
        ("mode", "0444", "must let its owner"),
        ("mode", "rw", "should match pattern"),
    ],
)
def test_an_option_that_makes_no_sense_is_explained(option: str, value: object, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        LruOptions.model_validate({"path": "/run/invalidator/t", option: value})


def test_a_group_that_does_not_exist_and_a_folder_that_does_not_are_said(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="group 'no-such-group' does not exist"):
        plugin.topology_applied(topology({}, a={"path": str(tmp_path / "t"), "group": "no-such-group"}))
    with pytest.raises(UnreachableError, match="cannot make"):
        plugin.topology_applied(topology({}, a={"path": str(tmp_path / "no" / "such" / "t")}))


def test_a_purge_without_a_table_is_a_failure_that_may_pass(tmp_path: Path) -> None:
    options = LruOptions.model_validate({"path": str(tmp_path / "no" / "such" / "t")})
    backend = plugin.make_backend(options, BackendContext("users", "near"))
    assert backend is not None
    with pytest.raises(BackendError) as raised:
        backend.purge(Batch(worker="users", backend="near", keys=("k",), deadline=time.monotonic() + 1))
    assert (raised.value.reason, raised.value.retry) == ("unreachable", True)
    with pytest.raises(BackendError):
        backend.connect()
    backend.close()


@given(st.lists(st.text(max_size=6), max_size=6), st.sampled_from(["", "\n", "\udc80"]))
def test_many_keys_are_written_into_the_slots_that_each_has(keys: list[str], odd: str) -> None:
    table = Table(memoryview(bytearray(table_size(1 << 10))).cast("Q"), 1 << 10, (0, 0))
    keys = [key + odd for key in keys]
    table.write_keys(keys, 7)
    assert {place for place, word in enumerate(table.words) if word} == {table.key_slot(key) for key in keys}


@given(names=st.lists(st.text(max_size=8), min_size=1, max_size=20), slots=st.sampled_from([1, 4, 64, 1024]))
def test_no_key_ever_takes_with_it_what_has_a_tag_or_begins_with_a_prefix(names: list[str], slots: int) -> None:
    table = Table(memoryview(bytearray(table_size(slots))).cast("Q"), slots, (0, 0))
    keys = {table.key_slot(name) for name in names}
    tags = {table.tag_slot(name) for name in names}
    prefixes = {table.prefix_slot(f"{name}:") for name in names}
    assert not keys & tags
    assert not keys & prefixes
    assert not tags & prefixes
    assert max(prefixes) < len(table.words)
    if slots == 1:  # the control: in one region all of them would meet
        assert (len(keys), len(tags), len(prefixes)) == (1, 1, 1)

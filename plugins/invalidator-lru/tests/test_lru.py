"""LRUCache as an application sees it: what it serves, what it keeps, and what it never does."""

from __future__ import annotations

import gc
import os
import select
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from invalidator.testing import BackendConformance, CacheUnderTest
from invalidator_lru import LRUCache, plugin
from invalidator_lru.draft import Plan
from invalidator_lru.feeder import Feeder
from invalidator_lru.preparation import prepare
from invalidator_lru.records import feeder_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from invalidator import Backend
    from invalidator.messages import Kind

SECOND = 1_000_000_000


class Clock:
    """CLOCK_MONOTONIC, set by hand."""

    def __init__(self) -> None:
        self.ns = 1000 * SECOND

    def __call__(self) -> int:
        return self.ns

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * SECOND)


class Host:
    """A table, and the workers that feed it, in this process and on a clock that only the test moves."""

    def __init__(self, path: Path, *names: str, maxsize: int = 100) -> None:
        self.path = path
        self.clock = Clock()
        prepare(Plan(path, frozenset(names)))
        self.feeders = {name: Feeder(path, name, clock=self.clock) for name in names}
        self.cache = LRUCache(path, maxsize, clock=self.clock)
        self.prove()

    def prove(self, *names: str, seconds: float = 3.0) -> None:
        for name in names or self.feeders:
            self.feeders[name].prove(self.clock.ns / SECOND + seconds)

    def close(self) -> None:
        for feeder in self.feeders.values():
            feeder.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "shop.gen", "users", "orders")
    yield made
    made.close()


def kept(cache: LRUCache, *keys: str) -> None:
    for key in keys:
        cache.get_or_load(key, str.upper)
        assert cache.get(key) == key.upper()


def holds(cache: LRUCache, key: str) -> bool:
    return bool(cache.get_or_load(key, str.upper) == cache.get(key))


def never(key: str) -> Any:
    raise AssertionError(f"{key} was loaded")


# What is served.


def test_what_was_loaded_is_served_from_memory(host: Host) -> None:
    assert host.cache.get_or_load("users:42", lambda key: key + "!") == "users:42!"
    assert host.cache.get_or_load("users:42", never) == "users:42!"
    assert host.cache.get("users:42") == "users:42!"
    assert host.cache.get("users:43", "none") == "none"


def test_none_is_a_value_like_any_other(host: Host) -> None:
    assert host.cache.get_or_load("users:42", lambda _: None) is None
    assert host.cache.get_or_load("users:42", never) is None


def test_an_invalidated_key_is_a_miss_and_its_neighbour_is_not(host: Host) -> None:
    kept(host.cache, "users:42", "users:43")
    host.feeders["users"].invalidate(keys=["users:42"])
    assert host.cache.get("users:42") is None
    assert host.cache.get("users:43") == "USERS:43"


def test_an_invalidated_tag_takes_what_carries_it(host: Host) -> None:
    cache = host.cache
    cache.get_or_load("users:42", str.upper, tags=["team:red", "vip"])
    cache.get_or_load("users:43", str.upper, tags=["team:blue"])
    host.feeders["users"].invalidate(tags=["vip"])
    assert cache.get("users:42") is None
    assert cache.get("users:43") == "USERS:43"


@pytest.mark.parametrize("prefix", ["a:", "a:b:", "a:b:c:"])
def test_an_invalidated_prefix_takes_what_lies_below_it(host: Host, prefix: str) -> None:
    kept(host.cache, "a:b:c:1", "z:1")
    host.feeders["users"].invalidate(prefixes=[prefix])
    assert host.cache.get("a:b:c:1") is None
    assert host.cache.get("z:1") == "Z:1"


@pytest.mark.parametrize("prefix", ["", "a", "a:b", "a:b:c:1"])
def test_a_prefix_that_does_not_end_at_a_colon_takes_everything(host: Host, prefix: str) -> None:
    kept(host.cache, "a:b:c:1", "z:1")
    host.feeders["users"].invalidate(prefixes=[prefix])
    assert host.cache.get("a:b:c:1") is host.cache.get("z:1") is None


def test_a_prefix_deeper_than_the_table_tells_apart_takes_more_and_never_less(host: Host) -> None:
    deep = ":".join("abcdefghijkl")
    kept(host.cache, deep, "z:1")
    host.feeders["users"].invalidate(prefixes=[deep[: deep.index("k")]])
    assert host.cache.get(deep) is None
    assert host.cache.get("z:1") == "Z:1"


def test_the_name_of_a_key_a_tag_and_a_prefix_are_three_things(host: Host) -> None:
    host.cache.get_or_load("a:", str.upper, tags=["t"])
    host.feeders["users"].invalidate(keys=["t"], tags=["a:"])
    assert host.cache.get("a:") == "A:"
    host.feeders["users"].invalidate(prefixes=["a:"])
    assert host.cache.get("a:") is None


def test_everything_is_everything_and_its_memory_is_given_back(host: Host) -> None:
    kept(host.cache, "users:42", "z")
    host.feeders["users"].invalidate(everything=True)
    assert host.cache.get("users:42") is host.cache.get("z") is None
    kept(host.cache, "new")
    assert len(host.cache) == 1


# What is kept.


@pytest.mark.parametrize(
    "arrives", [{"keys": ["a:b:1"]}, {"prefixes": ["a:b:"]}, {"tags": ["t"]}, {"everything": True}], ids=str
)
def test_a_value_loaded_before_an_invalidation_is_returned_and_not_kept(host: Host, arrives: dict[str, Any]) -> None:
    def load(key: str) -> str:
        host.feeders["orders"].invalidate(**arrives)
        return f"an old {key}"

    assert host.cache.get_or_load("a:b:1", load, tags=["t"]) == "an old a:b:1"
    assert host.cache.get("a:b:1") is None
    assert host.cache.stats().refused == 1


def test_without_a_snapshot_from_before_the_load_it_would_have_been_kept(host: Host) -> None:
    value = "an old one"
    host.feeders["users"].invalidate(keys=["users:42"])
    assert host.cache.set("users:42", value)
    assert host.cache.get("users:42") == "an old one"


def test_a_snapshot_guards_a_load_that_get_or_load_cannot_make(host: Host) -> None:
    snapshot = host.cache.snapshot("users:42", tags=["t"])
    assert host.cache.set("users:42", 1, snapshot=snapshot)
    host.feeders["users"].invalidate(tags=["t"])
    assert host.cache.get("users:42") is None
    assert not host.cache.set("users:42", 2, snapshot=snapshot)
    with pytest.raises(ValueError, match="is of 'users:42', not of 'users:43'"):
        host.cache.set("users:43", 2, snapshot=snapshot)


def test_a_snapshot_of_a_table_that_nobody_vouched_for_keeps_nothing(host: Host) -> None:
    host.feeders["users"].retract()
    snapshot = host.cache.snapshot("users:42")
    host.prove()
    assert not host.cache.set("users:42", 1, snapshot=snapshot)


def test_what_a_load_raises_goes_to_the_caller_and_nothing_is_kept(host: Host) -> None:
    with pytest.raises(KeyError):
        host.cache.get_or_load("users:42", os.environ.__getitem__)
    assert len(host.cache) == 0
    assert host.cache.get_or_load("users:42", str.upper) == "USERS:42"


def test_no_more_than_maxsize_is_kept_and_what_is_used_stays(tmp_path: Path) -> None:
    host = Host(tmp_path / "t", "w", maxsize=10)
    for number in range(100):
        kept(host.cache, f"once:{number}")
        assert host.cache.get_or_load("often", str.upper) == "OFTEN"
    assert len(host.cache) == 10
    assert host.cache.get("often") == "OFTEN"
    assert host.cache.stats().evicted == 91
    host.close()


def test_a_cache_of_one_keeps_the_newest(tmp_path: Path) -> None:
    host = Host(tmp_path / "t", "w", maxsize=1)
    kept(host.cache, "a", "b", "c")
    assert (host.cache.get("c"), len(host.cache)) == ("C", 1)
    with pytest.raises(ValueError, match="at least 1"):
        LRUCache(host.path, 0)
    host.close()


def test_a_finalizer_may_use_the_cache(tmp_path: Path) -> None:
    host = Host(tmp_path / "t", "w", maxsize=2)

    class Value:
        def __del__(self) -> None:
            host.cache.get_or_load("finalized", str.upper)

    for number in range(10):
        host.cache.set(f"k{number}", Value())
    gc.collect()
    assert len(host.cache) <= 2
    host.cache.clear()
    host.close()


def test_delete_and_clear_forget_in_this_process_alone(host: Host) -> None:
    other = LRUCache(host.path, clock=host.clock)
    kept(host.cache, "a", "b", "c")
    kept(other, "a")
    host.cache.delete("a")
    host.cache.delete("never kept")
    assert host.cache.get("a") is None
    assert host.cache.get("b") == "B"
    host.cache.clear()
    assert len(host.cache) == 0
    assert other.get("a") == "A"


def test_stats_say_what_happened(host: Host) -> None:
    kept(host.cache, "a", "b")
    host.feeders["users"].invalidate(keys=["a"])
    host.cache.get("a")
    host.cache.get("z")
    host.feeders["users"].retract()
    host.cache.get("b")
    host.cache.set("c", 1)
    stats = host.cache.stats()
    assert (stats.hits, stats.misses, stats.stale, stats.unproven) == (2, 5, 1, 1)
    assert (stats.kept, stats.refused, stats.size, stats.maxsize) == (2, 1, 1, 100)


# Who vouches.


def test_each_feeder_must_vouch(host: Host) -> None:
    kept(host.cache, "a")
    host.feeders["orders"].retract()
    assert host.cache.get("a", "nothing") == "nothing"
    assert host.cache.get_or_load("a", lambda _: "loaded") == "loaded"
    assert host.cache.get_or_load("a", lambda _: "again") == "again"
    host.prove("orders")
    assert host.cache.get("a") == "A", "nothing was invalidated meanwhile: what was kept is true again"


def test_a_feeder_that_falls_silent_is_noticed_within_a_second(host: Host) -> None:
    kept(host.cache, "a")
    host.clock.advance(0.9)
    host.prove("users")
    assert host.cache.get("a") == "A"
    host.clock.advance(0.1)
    assert host.cache.get("a") is None, "orders, stopped or killed, has not renewed its proof"


def test_a_subscription_in_doubt_is_not_vouched_for_beyond_its_deadline(host: Host) -> None:
    kept(host.cache, "a")
    host.prove(seconds=0.3)
    host.clock.advance(0.3)
    assert host.cache.get("a") is None


def test_a_proof_is_renewed_for_as_long_as_it_is_given(host: Host) -> None:
    kept(host.cache, "a")
    for _ in range(50):
        host.clock.advance(0.25)
        host.prove()
        assert host.cache.get("a") == "A"
    assert host.cache.is_proven()


def test_without_a_daemon_nothing_is_kept_and_nothing_raises(tmp_path: Path) -> None:
    cache = LRUCache(tmp_path / "nothing" / "here")
    assert cache.get("a", "default") == "default"
    assert cache.get_or_load("a", lambda _: 1) == 1
    assert cache.get_or_load("a", lambda _: 2) == 2
    assert not cache.set("a", 3)
    cache.delete("a")
    cache.clear()
    assert (len(cache), cache.is_proven()) == (0, False)


def test_a_cache_that_was_there_before_its_daemon_finds_it(tmp_path: Path) -> None:
    clock = Clock()
    cache = LRUCache(tmp_path / "t", clock=clock)
    assert not cache.is_proven()
    host = Host(tmp_path / "t", "w")
    host.clock = clock
    host.prove()
    clock.advance(0.1)
    assert cache.is_proven()
    host.close()


# Many threads.


def test_threads_never_see_a_value_older_than_an_invalidation_that_they_know_of(tmp_path: Path) -> None:
    path = tmp_path / "t"
    prepare(Plan(path, frozenset({"w"})))
    feeder = Feeder(path, "w")
    cache = LRUCache(path, maxsize=8)  # smaller than what is asked for: threads evict under each other's hands
    keys = [f"k:{number}" for number in range(12)]
    truth = dict.fromkeys(keys, 0)
    invalidated = dict.fromkeys(keys, 0)
    wrong: list[str] = []
    stop = threading.Event()

    def read(start: int) -> None:
        turn = start
        while not stop.is_set():
            key = keys[turn % len(keys)]
            turn += 1
            known = invalidated[key]
            value = cache.get_or_load(key, truth.__getitem__)
            if value < known:
                wrong.append(f"{key}: {value} after {known}")

    readers = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    feeder.prove(time.monotonic() + 3)
    for reader in readers:
        reader.start()
    for turn in range(3000):
        key = keys[turn % len(keys)]
        truth[key] += 1
        if turn % 2:
            feeder.invalidate(keys=[key])
        else:
            feeder.invalidate(prefixes=["k:"])
        invalidated[key] = truth[key]
        feeder.prove(time.monotonic() + 3)
    stop.set()
    for reader in readers:
        reader.join()
    feeder.close()
    assert not wrong
    assert cache.stats().kept > 0


# Many processes.


def run_child(body: Callable[[], object]) -> int:
    """Fork, run, and give the child's exit status: 0 if `body` returned."""
    pid = os.fork()
    if pid == 0:
        try:
            body()
        except BaseException:  # noqa: BLE001 -- a child must never return into the test run
            os._exit(1)
        os._exit(0)
    return pid


def ended_well(pid: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_processes_forked_before_and_after_the_table_see_one_invalidation(tmp_path: Path) -> None:
    path = tmp_path / "t"
    inherited = LRUCache(path)
    down, up, go, seen = os.pipe(), os.pipe(), os.pipe(), os.pipe()

    def wait(pipe: tuple[int, int]) -> None:
        assert os.read(pipe[0], 1) == b"."

    def tell(pipe: tuple[int, int], count: int = 1) -> None:
        os.write(pipe[1], b"." * count)

    def application() -> None:
        wait(down)
        for key in ("users:42", "users:43"):
            until(partial(holds, inherited, key))
        tell(up)
        wait(go)
        assert inherited.get("users:42") is None
        until(lambda: inherited.get("users:43") == "USERS:43")
        tell(seen)

    pids = [run_child(application)]
    prepare(Plan(path, frozenset({"w"})))
    feeder = Feeder(path, "w")
    feeder.prove(time.monotonic() + 30)
    assert inherited.is_proven()
    pids.append(run_child(application))
    tell(down, 2)
    for _ in pids:
        until_readable(up[0], lambda: feeder.prove(time.monotonic() + 30))
        wait(up)
    feeder.invalidate(keys=["users:42"])
    tell(go, 2)
    for _ in pids:
        until_readable(seen[0], lambda: feeder.prove(time.monotonic() + 30))
        wait(seen)
    assert [ended_well(pid) for pid in pids] == [True, True]
    feeder.close()
    for pipe in (down, up, go, seen):
        os.close(pipe[0])
        os.close(pipe[1])


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"


def until_readable(fd: int, meanwhile: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not select.select([fd], [], [], 0.05)[0]:
        assert time.monotonic() < deadline, "nothing came"
        meanwhile()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_holds_the_lock_blocks_no_child(tmp_path: Path) -> None:
    host = Host(tmp_path / "t", "w")
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with host.cache._lock, host.cache._watch._lock:
            held.set()
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    pid = run_child(lambda: kept(host.cache, "a"))
    assert ended_well(pid)
    release.set()
    holder.join()
    host.close()


# The suite that every backend passes.


class Application(CacheUnderTest):
    """An LRUCache on the table that the backend feeds."""

    widens: ClassVar[Collection[Kind]] = frozenset({"pattern"})

    def __init__(self, path: Path) -> None:
        self._path = path
        prepare(Plan(path, frozenset({feeder_name("conformance", "lru")})))
        self._cache = LRUCache(path)
        self._backends: Sequence[Backend] = ()

    def options(self) -> dict[str, Any]:
        return {"path": str(self._path)}

    def made(self, backends: Sequence[Backend]) -> None:
        self._backends = backends
        self._vouch()

    def store(self, key: str, tags: Sequence[str] = ()) -> None:
        self._vouch()
        self._cache.set(key, f"value of {key}", tags)

    def holds(self, key: str) -> bool:
        self._vouch()
        return self._cache.get(key) is not None

    def _vouch(self) -> None:
        # As a worker's loop does all the time.
        for backend in self._backends:
            backend.subscribed(time.monotonic() + 3)


class TestLru(BackendConformance):
    plugin = plugin
    type_name = "lru"

    @pytest.fixture
    def cache(self, tmp_path: Path) -> CacheUnderTest:
        return Application(tmp_path / "shop.gen")

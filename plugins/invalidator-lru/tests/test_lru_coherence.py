"""Whatever happens in whatever order, nothing stale is served; and each guard, taken away, is missed at once."""

from __future__ import annotations

import itertools
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

import invalidator_lru.feeder
from invalidator_lru import LRUCache
from invalidator_lru.draft import Plan
from invalidator_lru.feeder import Feeder
from invalidator_lru.preparation import Tables, prepare
from invalidator_lru.table import CHANGES, EPOCH, Stamps, open_table
from invalidator_lru.watch import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

V = TypeVar("V")
SECOND = 1_000_000_000

TAGS = {"a:b:1": ("red",), "a:b:2": ("red", "blue"), "a:c:1": (), "d": ("blue",)}
KEYS = tuple(TAGS)
FEEDERS = ("users", "orders")

Step = tuple[Any, ...]


def covers(what: dict[str, Any], key: str) -> bool:
    return bool(
        what.get("everything")
        or key in what.get("keys", ())
        or any(key.startswith(prefix) for prefix in what.get("prefixes", ()))
        or set(TAGS[key]) & set(what.get("tags", ()))
    )


class World:
    """A source of truth, a table with its feeders, and two applications; it remembers what was served stale.

    `truth` is the version that the source has of each key, `floor` the one that an application may not be behind: that
    at the last invalidation which reached the table.
    """

    def __init__(self, path: Path, cache: type[LRUCache]) -> None:
        self.now = 1000 * SECOND
        self.path = path
        self.slots = 4  # few, so that most names share theirs
        self.truth = dict.fromkeys(KEYS, 0)
        self.floor = dict.fromkeys(KEYS, 0)
        self.until = dict.fromkeys(FEEDERS, 0)
        self.rivals_until = dict.fromkeys(FEEDERS, 0)
        self.rivals: dict[str, Feeder] = {}
        self.stale: list[str] = []
        self.caches = [cache(path, maxsize, clock=lambda: self.now) for maxsize in (100, 2)]
        self.begin()

    def begin(self) -> None:
        self.tables = Tables()
        self.tables.apply(self.plans())
        self.feeders = {
            name: Feeder(self.path, name, clock=lambda: self.now, remake=self.tables.remaker("t")) for name in FEEDERS
        }
        self.floor = dict(self.truth)
        for name in FEEDERS:
            self.step_prove(name)

    def plans(self) -> dict[str, Plan]:
        return {"t": Plan(self.path, frozenset(FEEDERS), slots=self.slots)}

    def run(self, steps: Iterable[Step]) -> World:
        for name, *arguments in steps:
            getattr(self, f"step_{name}")(*arguments)
        for _ in range(15):  # a file that is gone is made again in a little more than a second
            self.now += SECOND // 10
            for name in FEEDERS:
                self.step_regain(name)
        for cache in self.caches:
            cache.get_or_load("d", self.truth.__getitem__)
            self.check(cache, "d")
            assert cache.get("d") is not None, "and after all that it still caches"
        return self

    def close(self) -> None:
        for feeder in (*self.feeders.values(), *self.rivals.values()):
            feeder.close()

    def check(self, cache: LRUCache, key: str) -> None:
        value = cache.get(key)
        if value is not None and value < self.floor[key]:
            self.stale.append(f"{key} of version {value}, after an invalidation of {self.floor[key]}")
        if value is not None and min(max(self.until[name], self.rivals_until[name]) for name in FEEDERS) <= self.now:
            self.stale.append(f"{key}, while nobody vouched for it")

    def change(self, what: dict[str, Any]) -> None:
        for key in KEYS:
            self.truth[key] += covers(what, key)

    def step_get(self, number: int, key: str) -> None:
        self.check(self.caches[number], key)

    def step_load(self, number: int, key: str, meanwhile: list[Step]) -> None:
        def load(key: str) -> int:
            value = self.truth[key]
            for name, *arguments in meanwhile:
                getattr(self, f"step_{name}")(*arguments)
            return value

        self.caches[number].get_or_load(key, load, TAGS[key])
        self.check(self.caches[number], key)

    def step_invalidate(self, feeder: str, what: dict[str, Any]) -> None:
        self.change(what)
        self.feeders[feeder].invalidate(**what)
        for key in KEYS:
            if covers(what, key):
                self.floor[key] = self.truth[key]

    def step_prove(self, feeder: str) -> None:
        if self.until[feeder] != -1:
            self.feeders[feeder].prove(self.now / SECOND + 0.5)
            self.until[feeder] = self.now + SECOND // 2

    def step_lose(self, feeder: str, what: dict[str, Any]) -> None:
        """The subscription is lost, and an invalidation with it."""
        self.feeders[feeder].retract()
        self.until[feeder] = -1
        self.change(what)
        self.check_all()

    def step_regain(self, feeder: str) -> None:
        """It is confirmed again: the worker flushes, and vouches then."""
        self.feeders[feeder].invalidate(everything=True)
        self.floor = dict(self.truth)
        self.until[feeder] = 0
        self.step_prove(feeder)

    def step_advance(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)

    def step_restart(self, how: str, what: dict[str, Any]) -> None:
        """The daemon ends, misses something, and begins again."""
        if how == "killed":
            self.now += SECOND  # the contract's: until then its last heartbeat counts
        else:
            self.close()
        self.until = dict.fromkeys(FEEDERS, 0)
        self.rivals_until = dict.fromkeys(FEEDERS, 0)
        self.rivals = {}
        self.change(what)
        self.check_all()
        if how == "removed":
            self.path.unlink(missing_ok=True)
        self.slots = 8 if how == "resized" else self.slots
        self.begin()
        self.check_all()

    def step_replace(self) -> None:
        """The file is removed under a running daemon, and made again by a reload: the workers stay."""
        self.path.unlink(missing_ok=True)
        self.tables.apply(self.plans())
        # Nothing else: each worker finds out in its own time, and so does each application.

    def step_remove(self) -> None:
        """The file is removed under a running daemon, and only its workers are there to notice."""
        self.path.unlink(missing_ok=True)

    def step_rival(self) -> None:
        """Another daemon comes to the same table. It hears what is said from now on, as the first one does."""
        self.step_rival_end("stopped")
        prepare(Plan(self.path, frozenset(FEEDERS), slots=self.slots))
        self.rivals = {name: Feeder(self.path, name, clock=lambda: self.now, pid=lambda: 1 << 23) for name in FEEDERS}

    def step_rival_prove(self, feeder: str) -> None:
        if feeder in self.rivals:
            self.rivals[feeder].prove(self.now / SECOND + 0.5)
            self.rivals_until[feeder] = self.now + SECOND // 2

    def step_rival_lose(self, feeder: str) -> None:
        if feeder in self.rivals:
            self.rivals[feeder].retract()
            self.rivals_until[feeder] = 0

    def step_rival_end(self, how: str) -> None:
        for feeder in self.rivals:
            if how == "stopped":
                self.step_rival_lose(feeder)
        self.rivals = {}  # killed: its last word counts until its time is over

    def check_all(self) -> None:
        for cache, key in itertools.product(self.caches, KEYS):
            self.check(cache, key)


WHATS = st.one_of(
    st.fixed_dictionaries({"keys": st.lists(st.sampled_from(KEYS), min_size=1, max_size=2)}),
    st.fixed_dictionaries({"prefixes": st.lists(st.sampled_from(("a:", "a:b:", "a:c:", "")), min_size=1, max_size=1)}),
    st.fixed_dictionaries({"tags": st.lists(st.sampled_from(("red", "blue")), min_size=1, max_size=1)}),
    st.just({"everything": True}),
)
MEANWHILE: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("invalidate"), st.sampled_from(FEEDERS), WHATS),
    st.tuples(st.just("lose"), st.sampled_from(FEEDERS), WHATS),
    st.tuples(st.just("regain"), st.sampled_from(FEEDERS)),
    st.tuples(st.just("restart"), st.sampled_from(("in place", "removed", "resized", "killed")), WHATS),
    st.tuples(st.just("replace")),
    st.tuples(st.just("remove")),
    st.tuples(st.just("rival")),
    st.tuples(st.just("rival_prove"), st.sampled_from(FEEDERS)),
    st.tuples(st.just("rival_lose"), st.sampled_from(FEEDERS)),
    st.tuples(st.just("rival_end"), st.sampled_from(("stopped", "killed"))),
)
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("get"), st.integers(0, 1), st.sampled_from(KEYS)),
        st.tuples(st.just("load"), st.integers(0, 1), st.sampled_from(KEYS), st.lists(MEANWHILE, max_size=2)),
        st.tuples(st.just("prove"), st.sampled_from(FEEDERS)),
        st.tuples(st.just("advance"), st.sampled_from((0.05, 0.3, 0.6))),
        MEANWHILE,
    ),
    max_size=30,
)


def stale(steps: list[Step], cache: type[LRUCache] = LRUCache) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "t", cache)
        try:
            return world.run(steps).stale
        finally:
            world.close()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_nothing_stale_is_ever_served(steps: list[Step]) -> None:
    assert stale(steps) == []


# The same world with one guard taken away: it must be missed.


class ReadsGenerationsAfterTheLoad(LRUCache):
    def get_or_load(self, key: str, load: Callable[[str], V], tags: Iterable[str] = ()) -> V:
        value: V = self.get(key)
        if value is None:
            value = load(key)
            self.set(key, value, tags)
        return value


class ForgetsPrefixesAndTags(LRUCache):
    def get_or_load(self, key: str, load: Callable[[str], V], tags: Iterable[str] = ()) -> V:
        return super().get_or_load(key.replace(":", "."), lambda _: load(key))

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.replace(":", "."), default)


class BelievesWhatItOnceSaw(LRUCache):
    def get(self, key: str, default: Any = None) -> Any:
        entry = self._find(key)
        return entry.value if entry is not None and self.is_proven() else default


class AsksForNoProof(LRUCache):
    def get(self, key: str, default: Any = None) -> Any:
        entry = self._find(key)
        if entry is None or not entry.view.holds(entry.generations):
            return default
        return entry.value


@pytest.mark.parametrize(
    "broken", [ReadsGenerationsAfterTheLoad, ForgetsPrefixesAndTags, BelievesWhatItOnceSaw, AsksForNoProof]
)
def test_a_cache_without_this_guard_serves_something_stale(broken: type[LRUCache]) -> None:
    try:
        find(
            STEPS,
            lambda steps: bool(stale(steps, broken)),
            settings=settings(max_examples=2000, derandomize=True, database=None, phases=[Phase.generate]),
        )
    except NoSuchExample:
        pytest.fail("the property does not notice that the guard is gone")


# Writers that race.


class PlusOne(Stamps):
    """What must not be done: the next value after the one that is there."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def next(self) -> int:
        table = open_table(self.path)
        return table.words[table.key_slot("k")] + 1


def second_invalidation_is_lost(path: Path) -> bool:
    """Two workers invalidate one key at the same time, and an application refills it between their two writes."""
    prepare(Plan(path, frozenset(FEEDERS)))
    one, other = (Feeder(path, name) for name in FEEDERS)
    one.prove(time.monotonic() + 30)
    other.prove(time.monotonic() + 30)
    cache = LRUCache(path)

    def meanwhile() -> Iterator[str]:
        other.invalidate(keys=["k"])
        cache.get_or_load("k", lambda _: "between the two")
        yield "k"

    one.invalidate(keys=meanwhile())
    lost = cache.get("k") is not None
    one.close()
    other.close()
    return lost


def test_two_workers_that_race_never_hide_one_anothers_invalidation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not second_invalidation_is_lost(tmp_path / "t")
    monkeypatch.setattr(invalidator_lru.feeder, "stamps", PlusOne(tmp_path / "u"))
    assert second_invalidation_is_lost(tmp_path / "u"), "the control: with +1 it would have been hidden"


def _stamps(count: int, out: Any) -> None:
    stamps = Stamps()
    out.send([stamps.next() for _ in range(count)])
    out.close()


def test_no_two_processes_ever_write_the_same_value() -> None:
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(3)]
    writers = [context.Process(target=_stamps, args=(20_000, write)) for _, write in pipes]
    for writer in writers:
        writer.start()
    values = [read.recv() for read, _ in pipes]
    for writer, (read, write) in zip(writers, pipes, strict=True):
        writer.join(10)
        read.close()
        write.close()
    assert len(set().union(*values)) == 60_000
    assert all(0 < value < 1 << 64 for value in itertools.chain(*values))


# What a reader relies on without saying so.


def test_a_write_is_announced_after_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "t"
    prepare(Plan(path, frozenset({"w"})))
    feeder, table = Feeder(path, "w"), open_table(path)
    seen: list[bool] = []
    before = table.words[CHANGES]

    def tags() -> Iterator[str]:  # asked for when the keys are written
        seen.append(table.words[table.key_slot("k")] != 0 and table.words[CHANGES] == before)
        yield from ()

    feeder.invalidate(keys=["k"], tags=tags())
    assert seen == [True]
    assert table.words[CHANGES] != before
    feeder.close()


def test_no_two_tables_have_the_same_epoch(tmp_path: Path) -> None:
    tables = [prepare(Plan(tmp_path / f"{number}", frozenset()), fresh=False) for number in range(20)]
    assert len({table.words[EPOCH] for table in tables}) == 20
    entry = View(tables[0], 0, 0, 0).generations("a:b", ("t",))
    assert View(tables[0], 0, 0, 0).holds(entry)
    assert not View(tables[1], 0, 0, 0).holds(entry)

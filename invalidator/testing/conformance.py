"""What every backend must do, as a suite of tests: subclass BackendConformance, and pytest runs it against yours.

The subclass says which plugin, and which real cache:

    class TestShelf(BackendConformance):
        plugin = invalidator_shelf
        type_name = "shelf"

        @pytest.fixture
        def cache(self, tmp_path: Path) -> CacheUnderTest:
            return Shelf(tmp_path)

What this cache cannot show is skipped, with the reason.
"""

# ruff: noqa: S101 -- a suite of tests asserts

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from invalidator.errors import BackendError
from invalidator.messages import KINDS
from invalidator.options import BackendOptions
from invalidator.testing.hostile import FOUND, HOSTILE_KEYS, OTHER
from invalidator.testing.rig import Rig, answered, attempt, purge, settled, stopped, suspended

if TYPE_CHECKING:
    from invalidator.messages import Failure
    from invalidator.testing.cache import CacheUnderTest


CANARY = "invalidator:doctor:conformance"


class BackendConformance(Rig):
    """Subclass it as `TestYours`, set `plugin` and `type_name`, and override the fixture `cache`."""

    # What is declared.

    def test_the_type_is_declared_through_the_hooks(self) -> None:
        assert issubclass(self._model(), BackendOptions)

    def test_the_options_take_the_example_and_no_unknown_name(self, cache: CacheUnderTest) -> None:
        self._options(cache)
        with pytest.raises(ValidationError, match="no_such_option"):
            self._model().model_validate({**cache.options(), "no_such_option": 1})

    def test_the_options_have_a_schema(self) -> None:
        json.dumps(self._model().model_json_schema())

    def test_no_secret_is_ever_shown(self, cache: CacheUnderTest) -> None:
        if not cache.secret:
            pytest.skip("there is no secret among these options: CacheUnderTest.secret is empty")
        options = self._options(cache)
        assert cache.secret in repr(cache.options()), "the secret is to be one of the options"
        for shown in (repr(options), str(options), repr(options.model_dump()), options.model_dump_json()):
            assert cache.secret not in shown

    def test_the_kinds_are_kinds_and_the_default_flush_is_one_of_them(self, cache: CacheUnderTest) -> None:
        options = self._options(cache)
        assert options.kinds()
        assert options.kinds() <= set(KINDS)
        assert options.soft_kinds() <= options.kinds()
        flush = options.default_flush()
        assert flush is None or {"prefix": "prefix", "tags": "tag", "all": "all"}[next(iter(flush))] in options.kinds()

    def test_making_a_backend_contacts_nothing(self, cache: CacheUnderTest) -> None:
        self._needs(cache, "stop", "start")
        with stopped(cache):
            began = time.monotonic()
            self._close(self._make(cache))
            assert time.monotonic() - began < 0.5

    def test_each_of_several_backends_says_which_node_it_is(self, cache: CacheUnderTest) -> None:
        with self._made(cache) as backends:
            nodes = [backend.node for backend in backends]
        assert len(set(nodes)) == len(nodes)

    # What a purge does.

    def test_a_purged_key_is_gone_and_its_neighbour_is_not(self, cache: CacheUnderTest) -> None:
        self._check_kind(cache, "key", keys=(FOUND,))

    def test_a_purged_tag_takes_what_belongs_to_it_alone(self, cache: CacheUnderTest) -> None:
        self._check_kind(cache, "tag", tags=("conformance-blue",))

    def test_a_purged_prefix_takes_what_begins_with_it_alone(self, cache: CacheUnderTest) -> None:
        self._check_kind(cache, "prefix", prefixes=("conformance:users:",))

    def test_a_prefix_is_literal_where_it_looks_like_a_pattern(self, cache: CacheUnderTest) -> None:
        self._needs_kind(cache, "prefix")
        with self._stored(cache, FOUND) as backends:
            purge(backends, self._batch(prefixes=("conformance:[u]*:", "conformance:?sers:", "conformance:*:")))
            assert "prefix" in cache.widens or cache.holds(FOUND)

    def test_a_purged_pattern_takes_what_fits_alone(self, cache: CacheUnderTest) -> None:
        self._check_kind(cache, "pattern", patterns=("conformance:users:*",))

    def test_a_purged_url_is_gone_and_its_neighbour_is_not(self, cache: CacheUnderTest) -> None:
        self._needs_kind(cache, "url")
        self._needs(cache, "url")
        self._check_kind(cache, "url", urls=(cache.url(FOUND),))

    def test_all_takes_everything(self, cache: CacheUnderTest) -> None:
        self._needs_kind(cache, "all")
        with self._stored(cache, FOUND, OTHER) as backends:
            assert purge(backends, self._batch(all=True)) == []
            assert not cache.holds(FOUND)
            assert not cache.holds(OTHER)

    def test_a_soft_purge_leaves_nothing_fresh(self, cache: CacheUnderTest) -> None:
        if "key" not in self._options(cache).soft_kinds():
            pytest.skip(f"{self.type_name} does not declare that it can mark a key stale")
        with self._stored(cache, FOUND, OTHER) as backends:
            assert purge(backends, self._batch(keys=(FOUND,), soft=True)) == []
            assert not cache.fresh(FOUND)
            assert cache.fresh(OTHER)

    def test_purging_twice_succeeds_twice(self, cache: CacheUnderTest) -> None:
        self._needs_kind(cache, "key")
        with self._made(cache) as backends:
            batch = self._batch(keys=(FOUND,))
            assert purge(backends, batch) == []
            assert purge(backends, batch) == []

    def test_purging_what_is_not_there_succeeds(self, cache: CacheUnderTest) -> None:
        self._needs_kind(cache, "key")
        with self._made(cache) as backends:
            assert purge(backends, self._batch(keys=("conformance:never-stored",))) == []

    def test_a_batch_without_targets_succeeds(self, cache: CacheUnderTest) -> None:
        with self._made(cache) as backends:
            assert purge(backends, self._batch()) == []

    def test_thousands_of_keys_go_in_one_batch(self, cache: CacheUnderTest) -> None:
        self._needs_kind(cache, "key")
        keys = tuple(f"conformance:many:{n}" for n in range(self.many))
        some = (*keys[:: len(keys) // 10], keys[-1])
        with self._stored(cache, OTHER, *some) as backends:
            assert purge(backends, self._batch(keys=keys)) == []
            assert [key for key in some if cache.holds(key)] == []
            assert cache.holds(OTHER)

    def test_a_backend_purges_from_another_thread_than_the_one_that_made_it(self, cache: CacheUnderTest) -> None:
        self._needs_kind(cache, "key")
        failures: list[Failure | str] = ["the purge did not return"]
        with self._stored(cache, FOUND) as backends:
            batch = self._batch(keys=(FOUND,))
            lane = threading.Thread(
                target=lambda: failures.__setitem__(slice(None), purge(backends, batch)), daemon=True
            )
            lane.start()
            lane.join(self.patience)
            assert failures == []
            assert not cache.holds(FOUND)

    # What hostile keys do not.

    @pytest.mark.parametrize("key", HOSTILE_KEYS, ids=lambda key: ascii(key)[:40])
    def test_a_hostile_key_harms_nobody(self, cache: CacheUnderTest, key: str) -> None:
        self._needs_kind(cache, "key")
        with self._stored(cache, FOUND, OTHER) as backends:
            failures = purge(backends, self._batch(keys=(key, FOUND)))
            assert [failure for failure in failures if failure.retry] == [], "it would be tried for ever"
            assert {failure.target.value for failure in failures} <= {key}
            assert not cache.holds(FOUND), "one bad target rejects only itself"
            assert cache.holds(OTHER)

    def test_all_hostile_keys_at_once_harm_nobody(self, cache: CacheUnderTest) -> None:
        self._needs_kind(cache, "key")
        with self._stored(cache, FOUND, OTHER) as backends:
            purge(backends, self._batch(keys=(*HOSTILE_KEYS, FOUND)))
            assert not cache.holds(FOUND)
            assert cache.holds(OTHER)

    # What happens while the server does not play along.

    def test_the_deadline_is_honoured_while_the_server_hangs(self, cache: CacheUnderTest) -> None:
        self._needs_kind(cache, "key")
        self._needs(cache, "hang", "resume")
        with self._made(cache) as backends, suspended(cache):
            began = time.monotonic()
            failures = attempt(backends, self._batch(0.4, keys=(FOUND,)))
            assert time.monotonic() - began < 0.4 + 0.6
            assert [failure.retry for failure in failures] == [True]

    def test_a_server_that_hung_in_the_middle_is_purged_when_it_resumes(self, cache: CacheUnderTest) -> None:
        self._needs_kind(cache, "key")
        self._needs(cache, "hang", "resume", "store", "holds")
        with self._stored(cache, FOUND) as backends:
            assert purge(backends, self._batch(keys=(OTHER,))) == []
            with suspended(cache):
                assert attempt(backends, self._batch(0.2, keys=(OTHER,))) != []
            assert purge(backends, self._batch(keys=(FOUND,))) == []
            assert not cache.holds(FOUND)

    def test_a_deadline_that_has_passed_blocks_nobody(self, cache: CacheUnderTest) -> None:
        self._needs_kind(cache, "key")
        with self._stored(cache, FOUND) as backends:
            began = time.monotonic()
            failures = attempt(backends, self._batch(-1.0, keys=(FOUND,)))
            assert time.monotonic() - began < 0.5
            assert failures or not cache.holds(FOUND), "purged, it says, and it is not"

    def test_a_server_that_is_away_is_reported_at_once_and_purged_when_it_is_back(self, cache: CacheUnderTest) -> None:
        self._needs_kind(cache, "key")
        self._needs(cache, "stop", "start", "store", "holds")
        with self._made(cache) as backends:
            assert purge(backends, self._batch(keys=(FOUND,))) == []
            with stopped(cache):
                for backend in backends:
                    began = time.monotonic()
                    with pytest.raises(BackendError) as raised:
                        settled(backend, self._batch(keys=(FOUND,)))
                    assert raised.value.retry
                    assert time.monotonic() - began < 2.0
                    assert not cache.secret or cache.secret not in str(raised.value)
            cache.store(FOUND)
            assert purge(backends, self._batch(keys=(FOUND,))) == []
            assert not cache.holds(FOUND)

    # What is sent without a wait: see Backend.send.

    def test_what_is_sent_is_purged_and_its_neighbour_is_not(self, cache: CacheUnderTest) -> None:
        with self._stored(cache, FOUND, OTHER) as backends:
            for backend in self._sending(backends):
                batch = self._batch(keys=(FOUND,))
                assert answered(backend, batch, self._sent(backend, batch)) == []
            assert not cache.holds(FOUND)
            assert cache.holds(OTHER)

    def test_hostile_keys_that_are_sent_harm_nobody(self, cache: CacheUnderTest) -> None:
        with self._stored(cache, FOUND, OTHER) as backends:
            for backend in self._sending(backends):
                for key in HOSTILE_KEYS:
                    batch = self._batch(keys=(key, FOUND))
                    failures = answered(backend, batch, backend.send(batch))
                    assert {failure.target.value for failure in failures} <= {key}
                    assert not any(failure.retry for failure in failures), "it would be tried for ever"
            assert not cache.holds(FOUND)
            assert cache.holds(OTHER)

    def test_while_the_server_hangs_only_a_wait_waits_and_no_longer_than_the_deadline(
        self, cache: CacheUnderTest
    ) -> None:
        self._needs(cache, "hang", "resume")
        with self._stored(cache, FOUND) as backends:
            for backend in self._sending(backends):
                with suspended(cache):
                    began = time.monotonic()
                    batch = self._batch(0.3, keys=(FOUND,))
                    sent = self._sent(backend, batch)
                    assert not sent.is_answered(), "nobody can have answered"
                    assert time.monotonic() - began < 0.2
                    with pytest.raises(BackendError) as raised:
                        sent.wait()
                    assert raised.value.retry
                    assert time.monotonic() - began < 0.3 + 0.6
                # An answer that comes late is not the next one's.
                assert purge([backend], self._batch(keys=(FOUND,))) == []
            assert not cache.holds(FOUND)

    def test_connect_proves_that_a_purge_could_work_and_purges_nothing(self, cache: CacheUnderTest) -> None:
        with self._stored(cache, FOUND) as backends:
            for backend in backends:
                backend.connect()
            assert cache.holds(FOUND)

    def test_connect_says_when_the_server_is_away(self, cache: CacheUnderTest) -> None:
        self._needs(cache, "stop", "start")
        with self._made(cache) as backends, stopped(cache):
            for backend in backends:
                with pytest.raises(BackendError):
                    backend.connect()

    def test_a_canary_is_held_until_it_is_purged_and_its_neighbour_stays(self, cache: CacheUnderTest) -> None:
        with self._stored(cache, OTHER) as backends:
            if not all(backend.canary == "hold" for backend in backends):
                pytest.skip(f"{self.type_name} does not offer `plant` and `holds`: its canary is not 'hold'")
            for backend in backends:
                assert not backend.holds(CANARY)
                backend.plant(CANARY, 30.0)
                assert backend.holds(CANARY)
            assert purge(backends, self._batch(keys=(CANARY,))) == []
            assert not any(backend.holds(CANARY) for backend in backends)
            assert cache.holds(OTHER)

    def test_a_canary_is_for_a_key_that_can_be_purged_alone(self, cache: CacheUnderTest) -> None:
        with self._made(cache) as backends:
            assert all(backend.canary in ("none", "purge", "hold") for backend in backends)
            if any(backend.canary == "hold" for backend in backends):
                assert "key" in self._options(cache).kinds()

    def test_closing_twice_is_closing(self, cache: CacheUnderTest) -> None:
        self._close(self._make(cache))
        backends = self._make(cache)
        with suppress(BackendError):
            purge(backends, self._batch(keys=(FOUND,)))
        self._close(backends)
        self._close(backends)

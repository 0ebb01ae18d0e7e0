"""The redis backend against a real server, and against one that records and misbehaves."""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis

import invalidator_redis
from invalidator import BackendError, Batch, Target
from invalidator.embedded import find_redis, redis_server
from invalidator.testing import BackendConformance, CacheUnderTest
from invalidator_redis.backend import RedisBackend
from invalidator_redis.commands import escape_glob
from invalidator_redis.options import RedisOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from invalidator.embedded import RedisServer

PASSWORD = "open-sesame"


class SecondRedis(CacheUnderTest):
    secret = PASSWORD

    def __init__(self, server: RedisServer, url: str, **options: Any) -> None:
        self.server = server
        self.url_of_it = url
        self._options = options

    def options(self) -> dict[str, Any]:
        return {"url": self.url_of_it, "tag_key": "tag:{tag}", "timeout": "2s", **self._options}

    @contextmanager
    def client(self) -> Iterator[Any]:
        with redis.Redis.from_url(self.url_of_it, protocol=2) as client:
            yield client

    def name(self, key: str) -> str:
        return str(self._options.get("key", "{key}")).replace("{key}", key)

    def store(self, key: str, tags: Sequence[str] = ()) -> None:
        with self.client() as client:
            client.set(self.name(key), "value")
            for tag in tags:
                client.sadd(f"tag:{tag}", self.name(key))

    def holds(self, key: str) -> bool:
        with self.client() as client:
            return bool(client.exists(self.name(key)))

    def hang(self) -> None:
        self.server.stop()

    def resume(self) -> None:
        self.server.cont()

    def stop(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server.start()


@contextmanager
def running_redis(directory: Path, *extra_args: str, unix: bool = False) -> Iterator[RedisServer]:
    if find_redis() is None and os.environ.get("CI") != "true":
        pytest.skip("there is no Redis-compatible server on this machine")
    with redis_server(directory, *extra_args, unix=unix) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis"), "--requirepass", PASSWORD) as server:
        yield server


@pytest.fixture(scope="module")
def unix_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis"), unix=True) as server:
        yield server


@pytest.fixture
def cache(server: RedisServer) -> Iterator[SecondRedis]:
    cache = SecondRedis(server, f"redis://:{PASSWORD}@{server.address}/3")
    yield cache
    with cache.client() as client:
        client.flushall()


class TestRedisConforms(BackendConformance):
    plugin = invalidator_redis
    type_name = "redis"

    @pytest.fixture
    def cache(self, server: RedisServer) -> CacheUnderTest:
        return SecondRedis(server, f"redis://:{PASSWORD}@{server.address}/1")


class TestRedisOnAUnixSocketWithATemplateConforms(BackendConformance):
    plugin = invalidator_redis
    type_name = "redis"

    @pytest.fixture
    def cache(self, unix_server: RedisServer) -> CacheUnderTest:
        cache = SecondRedis(unix_server, f"unix://{unix_server.path}?db=2", key="a*[p]:{key}:v1", all_by="scan")
        cache.secret = ""  # type: ignore[misc]  # this one asks for no password
        return cache


def options(url: str, **others: Any) -> RedisOptions:
    return RedisOptions.model_validate({"url": url, **others})


@contextmanager
def backend_for(url: str, **others: Any) -> Iterator[RedisBackend]:
    backend = RedisBackend(options(url, **others))
    try:
        yield backend
    finally:
        backend.close()


def batch(*keys: str, seconds: float = 5.0, **others: Any) -> Batch:
    return Batch(worker="w", backend="b", keys=keys, deadline=time.monotonic() + seconds, **others)


GLOBS = ["users:", "u*", "?", "[ab]", "\\", "^-", "a]b[", "*", "\\*", "é["]


@pytest.mark.parametrize("text", GLOBS)
def test_an_escaped_text_fits_itself_alone(cache: SecondRedis, text: str) -> None:
    with cache.client() as client:
        client.mset(dict.fromkeys([*GLOBS, "xyz", "a", "b"], "value"))
        assert client.keys(escape_glob(text)) == [text.encode()]


# What is purged.


def test_the_key_template_names_the_keys_prefixes_and_patterns(cache: SecondRedis) -> None:
    names = ["s[1]:a:1;", "s[1]:a:2;", "s[1]:b:1;", "s[1]:a:1", "s1:a:1;", "a:1"]
    with cache.client() as client, backend_for(cache.url_of_it, key="s[1]:{key};") as backend:
        client.mset(dict.fromkeys(names, "value"))
        assert backend.purge(batch("b:1", prefixes=("a:",))).failures == ()
        assert sorted(client.keys()) == [b"a:1", b"s1:a:1;", b"s[1]:a:1"]
        client.mset(dict.fromkeys(names, "value"))
        assert backend.purge(batch(patterns=("?:1",))).failures == ()
        assert sorted(client.keys()) == [b"a:1", b"s1:a:1;", b"s[1]:a:1", b"s[1]:a:2;"]


def test_a_prefix_takes_thousands_of_keys_page_by_page_and_never_asks_for_keys(cache: SecondRedis) -> None:
    with cache.client() as client, backend_for(cache.url_of_it, scan_count=100) as backend:
        client.mset({f"users:{n}": "x" for n in range(5000)} | {f"orders:{n}": "x" for n in range(5000)})
        client.config_resetstat()
        assert backend.purge(batch(prefixes=("users:", "users:1", "users:12"))).failures == ()
        assert client.dbsize() == 5000
        called = client.info("commandstats")
        assert 90 <= called["cmdstat_scan"]["calls"] <= 400, "one walk for the three, some 100 keys a page"
        assert "cmdstat_keys" not in called


def test_a_tag_takes_its_keys_and_leaves_its_set_to_who_joins_meanwhile(cache: SecondRedis) -> None:
    with cache.client() as client, backend_for(cache.url_of_it, tag_key="tag:{tag}") as backend:
        names = [f"users:{n}" for n in range(3000)]
        client.mset(dict.fromkeys([*names, "other"], "x"))
        client.sadd("tag:blue", *names)
        assert backend.purge(batch(tags=("blue", "never-used"))).failures == ()
        assert client.keys() == [b"other"]


def test_a_tag_that_is_no_set_costs_only_itself(cache: SecondRedis) -> None:
    with cache.client() as client, backend_for(cache.url_of_it, tag_key="tag:{tag}") as backend:
        client.mset({"tag:wrong": "a string", "users:1": "x", "k": "x"})
        client.sadd("tag:right", "users:1")
        (failure,) = backend.purge(batch("k", tags=("wrong", "right"))).failures
        assert (failure.target, failure.reason, failure.retry) == (Target("tag", "wrong"), "rejected", False)
        assert client.keys() == [b"tag:wrong"]


def test_all_empties_this_database_and_no_other(cache: SecondRedis, server: RedisServer) -> None:
    with redis.Redis.from_url(f"redis://:{PASSWORD}@{server.address}/4", protocol=2) as other:
        other.set("elsewhere", "x")
        cache.store("here")
        with backend_for(cache.url_of_it) as backend:
            assert backend.purge(batch(all=True)).failures == ()
        assert not cache.holds("here")
        assert other.exists("elsewhere")


def test_all_by_scan_takes_what_fits_the_template_and_leaves_the_rest(cache: SecondRedis) -> None:
    with cache.client() as client, backend_for(cache.url_of_it, key="app:{key}", all_by="scan") as backend:
        client.mset({"app:1": "x", "app:2": "x", "session:1": "x"})
        assert backend.purge(batch(all=True)).failures == ()
        assert client.keys() == [b"session:1"]


def test_a_walk_that_was_ended_begins_anew_and_finds_what_was_stored_behind_it(cache: SecondRedis) -> None:
    with cache.client() as client, backend_for(cache.url_of_it, scan_count=10) as backend:
        client.mset({f"users:{n}": "x" for n in range(20_000)})
        with pytest.raises(BackendError) as raised:
            backend.purge(batch(prefixes=("users:",), seconds=0.02))
        assert raised.value.reason == "timeout"
        assert 0 < client.dbsize() < 20_000
        client.mset({f"users:{n}": "x" for n in range(20_000)})
        assert backend.purge(batch(prefixes=("users:",))).failures == ()
        assert client.dbsize() == 0


# Credentials and rights.


def test_the_password_file_is_read_anew_at_each_connection(server: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "password"
    with backend_for(f"redis://{server.address}/0", password_file=file) as backend:
        with pytest.raises(BackendError, match="password_file cannot be read"):
            backend.purge(batch("a"))
        file.write_text("old\n")
        with pytest.raises(BackendError, match="wrong user or password"):
            backend.purge(batch("a"))
        file.write_text(f"{PASSWORD}\n")
        assert backend.purge(batch("a")).failures == ()


def test_no_file_descriptor_left_is_no_fault_of_a_password_file(
    cache: SecondRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(**_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with backend_for(cache.url_of_it) as backend:
        monkeypatch.setattr(redis, "Connection", exhausted)  # which looks for its version on the disk
        with pytest.raises(BackendError, match="Too many open files") as raised:
            backend.purge(batch("a"))
        assert raised.value.reason == "unreachable"
        assert "password_file" not in raised.value.detail
        monkeypatch.undo()
        assert backend.purge(batch("a")).failures == ()


@pytest.mark.timeout(10)
def test_a_fifo_where_a_password_should_be_holds_nobody_up(server: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "password"
    os.mkfifo(file)
    with (
        backend_for(f"redis://{server.address}/0", password_file=file) as backend,
        pytest.raises(BackendError, match="password_file cannot be read: not a regular file"),
    ):
        backend.purge(batch("a"))


def test_a_key_that_our_user_may_not_touch_costs_only_itself(cache: SecondRedis, server: RedisServer) -> None:
    with cache.client() as client:
        client.acl_setuser(
            "purger", enabled=True, passwords=["+word"], keys=["app:*"], commands=["+unlink", "+ping", "+select"]
        )
        client.mset({"app:1": "x", "foreign": "x"})
        with backend_for(f"redis://purger:word@{server.address}/3") as backend:
            (failure,) = backend.purge(batch("app:1", "foreign", "app:2")).failures
            assert (failure.target, failure.reason, failure.retry) == (Target("key", "foreign"), "auth", False)
            assert client.keys() == [b"foreign"]
            with pytest.raises(BackendError, match="may not do that"):
                backend.purge(batch("foreign"))
            with pytest.raises(BackendError, match="may not do that"):
                backend.purge(batch(all=True))
            with pytest.raises(BackendError, match="may not do that"):
                backend.connect()
        client.acl_deluser("purger")


def test_connect_finds_a_replica(tmp_path: Path) -> None:
    with running_redis(tmp_path) as replica, backend_for(f"redis://{replica.address}/0") as backend:
        backend.connect()
        with redis.Redis.from_url(replica.url, protocol=2) as client:
            client.replicaof("127.0.0.1", 1)
        with pytest.raises(BackendError, match="replica"):
            backend.connect()

"""The servers that the black-box tests stand on: a cache that does not cache would let every test of a purge pass."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import redis

from tests.support.environments import REPOSITORY
from tests.support.metrics import parse
from tests.support.origin import fetch
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import MakeMemcached, MakeRedis
    from tests.support.caches import Nginx, Varnish
    from tests.support.origin import Origin


def test_varnish_answers_the_old_version_until_it_is_purged(varnish: Callable[[], Varnish], origin: Origin) -> None:
    cache = varnish()
    origin.tag("/users/42", "user-42", "team-7")
    old = cache.get("/users/42").body
    for method, headers in (
        ("PURGE", {}),
        ("PURGE", {"xkey-purge": "team-7"}),
        ("BAN", {"x-ban": "obj.http.x-path ~ ^/users/"}),
    ):
        new = origin.change("/users/42")
        assert cache.get("/users/42").body == old != new
        assert fetch(f"{cache.url}/users/42", method, headers).status == 200
        assert cache.get("/users/42").body == new
        old = new


def test_nginx_answers_the_old_version_until_it_is_purged(nginx_cache: Callable[[], Nginx], origin: Origin) -> None:
    cache = nginx_cache()
    old = cache.get("/users/42").body
    new = origin.change("/users/42")
    assert cache.get("/users/42").body == old != new
    assert fetch(f"{cache.url}/purge/users/42").status == 200
    assert fetch(f"{cache.url}/purge/users/42").status == 404
    assert cache.get("/users/42").body == new


def test_a_redis_server_comes_back_where_it_was(redis_server: MakeRedis) -> None:
    server = redis_server(password="open sesame")
    address = server.address
    server.kill()
    server.start()
    assert server.address == address
    with redis.Redis(host="127.0.0.1", port=server.port, password="open sesame") as client:
        assert client.ping()


@pytest.mark.parametrize("unix", [False, True])
def test_memcached_keeps_what_it_is_given(memcached_server: MakeMemcached, *, unix: bool) -> None:
    server = memcached_server(unix=unix)
    server.set("users:42", "Ada")
    assert server.get("users:42") == "Ada"
    assert server.get("users:43") is None


@pytest.mark.parametrize(("ci", "skipped", "failed"), [("", 1, 0), ("true", 0, 1)])
def test_a_missing_server_skips_at_home_and_fails_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, skipped: int, failed: int
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    pytester.makeconftest((REPOSITORY / "conftest.py").read_text())
    pytester.makepyfile("""
        import pytest
        from tests.support.required import require

        def test_of_a_server():
            require("varnishd")

        def test_that_skips_for_a_reason_of_its_own():
            pytest.skip("this type has no soft purge")
    """)
    result = pytester.runpytest_inprocess("-rsf", "-p", "no:cacheprovider")
    result.assert_outcomes(skipped=skipped + 1, failed=failed)
    result.stdout.fnmatch_lines("*varnishd is not on this machine; it is the system package varnish*")


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(AssertionError, match=r"not so after 0\.02 s .* 0\): the moon is not blue"):
        wait_until(lambda: 0, 0.02, lambda: "the moon is not blue")
    assert wait_until(lambda: "yes", 0.02, "never asked") == "yes"


def test_two_free_ports_differ() -> None:
    assert free_port() != free_port()


def test_metrics_are_read_with_their_labels() -> None:
    metrics = parse('# HELP a b\na{worker="x\\"y",end="purged"} 2\na{worker="z",end="purged"} 3\nb 1e3\n')
    assert metrics.value("a", end="purged") == 5
    assert metrics.value("a", worker='x"y') == 2
    assert metrics.value("b") == 1000
    assert not metrics.has("a", worker="nobody")
    for broken in ("a 1\na 2", "what?"):
        with pytest.raises(ValueError, match=r"twice|not a sample"):
            parse(broken)

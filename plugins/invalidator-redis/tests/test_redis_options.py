"""What the options of the redis backend take and refuse, and where it may not point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import invalidator_redis
from invalidator import BackendContext
from invalidator.topology.models import Topology
from invalidator_redis.options import RedisOptions


def options(url: str, **others: Any) -> RedisOptions:
    return RedisOptions.model_validate({"url": url, **others})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"url": "http://127.0.0.1/"}, "not a Redis URL"),
        ({"url": "redis+sentinel://a:1,b:2/main/0"}, "not yet"),
        ({"url": "redis://:word@127.0.0.1:1/0?no_such=word"}, "has 'no_such' behind"),
        ({"url": "redis://:word@127.0.0.1:1/3?db=0"}, "gives the database twice"),
        ({"url": "redis://:word@127.0.0.1:1/3?host=word"}, "has 'host' behind"),
        ({"key": "users"}, r"must contain \{key\} once"),
        ({"tag_key": "tag"}, r"must contain \{tag\} once"),
        ({"url": "redis://:word@a:1/0", "password_file": "/run/word"}, "password twice"),
        ({"scan_count": 1}, "greater than or equal to 10"),
        ({"all_by": "flushall"}, "'flushdb' or 'scan'"),
    ],
)
def test_wrong_options_say_what_is_wrong(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as raised:
        RedisOptions.model_validate({"url": "redis://127.0.0.1:6380/0", **wrong})
    assert "word@" not in str(raised.value)
    assert "=word" not in str(raised.value)


def test_tags_are_purged_only_with_a_tag_key() -> None:
    assert "tag" not in options("redis://a:1/0").kinds()
    assert "tag" in options("redis://a:1/0", tag_key="tag:{tag}").kinds()


def test_a_type_that_is_not_ours_is_left_to_others() -> None:
    context = BackendContext(worker="w", backend="b")
    assert invalidator_redis.make_backend("other", options("redis://a:1/0"), context) is None


def topology(source: str) -> dict[str, Any]:
    return {
        "redis": {"url": source},
        "workers": [{"pattern": "cache:users:*", "backends": [{"backend": "second", "flush": {"prefix": "users:"}}]}],
    }


def problems(source: str, here: str, **others: Any) -> list[str]:
    read = Topology.model_validate({**topology(source), "backends": {}, "file": Path("topology.yaml")})
    return list(options(here, **others).problems(read))


SAME = "the very database that carries the messages"


@pytest.mark.parametrize(
    ("source", "here"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://127.0.0.1:6379/0", "redis://localhost"),
        ("redis://[::1]/0", "rediss://me:word@LOCALHOST.:6379?db=0"),
        ("redis://cache.example:6379/2", "redis://Cache.Example/2"),
        ("redis://[2001:db8::1]/0", "redis://[2001:0db8:0:0::1]:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=0"),
    ],
)
def test_the_database_that_carries_the_messages_is_refused_unless_told_so(source: str, here: str) -> None:
    (problem,) = problems(source, here)
    assert SAME in problem
    assert "word" not in problem
    assert problems(source, here, same_as_source=True) == []


@pytest.mark.parametrize(
    ("source", "here"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/1"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6380/0"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.1.example/0"),
        ("redis://127.0.0.1:6379/0", "unix:///run/redis.sock"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=1"),
        ("redis+sentinel://127.0.0.1:6379/main/0", "redis://127.0.0.1:6379/0"),
    ],
)
def test_another_database_is_taken(source: str, here: str) -> None:
    assert problems(source, here) == []


def test_a_worker_with_messages_of_its_own_is_looked_at_too() -> None:
    read = topology("redis://127.0.0.1:6379/0")
    read["workers"][0]["redis"] = {"url": "redis://127.0.0.1:6380/7"}
    with_own = Topology.model_validate({**read, "backends": {}, "file": Path("topology.yaml")})
    assert len(list(options("redis://localhost:6380/7").problems(with_own))) == 1
    assert list(options("redis://localhost:6379/0").problems(with_own)) == []


def test_check_says_so(tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    source = "redis://127.0.0.1:6379/0"
    file.write_text(json.dumps({**topology(source), "backends": {"second": {"type": "redis", "url": source}}}))
    check = subprocess.run(
        [sys.executable, "-m", "invalidator", "check", "-c", str(file)], capture_output=True, text=True, check=False
    )
    assert check.returncode == 78
    assert SAME in check.stderr

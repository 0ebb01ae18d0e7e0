"""A worker that hears what its own purges do: refused where it can be seen, and shown to be without end."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis
import yaml

from invalidator.cli import main
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis

EVENTS = "__keyevent@0__:*"


def topology(source: str, cache: str, pattern: str = EVENTS) -> dict[str, Any]:
    """Purge in one Redis each key that another one says has changed."""
    return {
        "redis": {"url": source},
        "backends": {"cache": {"type": "redis", "url": cache}},
        "workers": [{"name": "mirror", "pattern": pattern, "backends": [{"backend": "cache", "on_gap": "ignore"}]}],
    }


@pytest.mark.parametrize(
    ("cache", "pattern", "refused"),
    [
        ("redis://localhost:7007/1", "__keyevent@1__:*", True),
        ("redis://127.0.0.1:7007/1", "__key*__:*", True),
        ("redis://127.0.0.1:7007/1", "*", True),
        ("redis://127.0.0.1:7007/1", "__keyevent@0__:*", False),
        ("redis://127.0.0.1:7007/1", "cache:users:*", False),
        ("redis://127.0.0.1:7008/1", "__keyevent@1__:*", False),
    ],
)
def test_it_is_refused_by_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: str, pattern: str, refused: bool
) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(yaml.safe_dump(topology("redis://127.0.0.1:7007/0", cache, pattern)))
    code = main(["check", "-c", str(file)])
    said = capsys.readouterr().err
    assert code == (78 if refused else 0), said
    assert ("announces each purge on a channel that mirror hears" in said) == refused


@contextmanager
def application(url: str) -> Iterator[list[int]]:
    """Keeps its cache warm: what goes is written again. Counts how often."""
    writes = [0]
    done = threading.Event()

    def warm() -> None:
        with redis.Redis.from_url(url) as client:
            gone = client.pubsub(ignore_subscribe_messages=True)  # noqa: INV004 -- as applications do it
            gone.subscribe("__keyevent@0__:del")
            while not done.is_set():
                if (message := gone.get_message(timeout=0.05)) and writes[0] < 200:
                    client.set(message["data"], "new")
                    writes[0] += 1
            gone.close()

    thread = threading.Thread(target=warm)
    thread.start()
    try:
        yield writes
    finally:
        done.set()
        thread.join()


def test_without_the_guard_one_write_is_purged_and_written_again_for_ever(
    daemon: MakeDaemon, redis_server: MakeRedis, tmp_path: Path
) -> None:
    socket = tmp_path / "redis.sock"
    server = redis_server("--notify-keyspace-events", "KEA", "--unixsocket", str(socket))
    run = daemon(topology(server.url, f"unix://{socket}?db=0"))  # by another name, which no check sees through
    with application(server.url) as writes, redis.Redis.from_url(server.url) as client:
        wait_until(lambda: client.pubsub_numsub("__keyevent@0__:del")[0][1] == 1, 5)
        client.set("users:42", "first")
        wait_until(lambda: writes[0] >= 100, 10, run.logs)


def test_another_redis_may_follow_the_events_of_this_one(daemon: MakeDaemon, redis_server: MakeRedis) -> None:
    server, cache = redis_server("--notify-keyspace-events", "KEA"), redis_server("--notify-keyspace-events", "KEA")
    run = daemon(topology(server.url, cache.url))
    with application(server.url) as writes, redis.Redis.from_url(server.url) as client:
        with redis.Redis.from_url(cache.url) as other:
            other.set("users:42", "old")
            client.set("users:42", "first")
            wait_until(lambda: not other.exists("users:42"), 10, run.logs)
        assert writes[0] == 0

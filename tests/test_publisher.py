"""invalidator.Publisher against a real Redis: what it sends, what it refuses, and how long it may take to fail."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from invalidator import Publisher, PublishError, UnreachableError
from invalidator.publisher import shown_url
from tests.support.stores import RedisServer
from tests.support.subscription import Subscription, subscribed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from tests.conftest import MakeRedis

CHANNEL = "cache:invalidate:users:profile"


@pytest.fixture
def url(redis_server: MakeRedis) -> str:
    return redis_server().url


@pytest.fixture
def listener(url: str) -> Iterator[Subscription]:
    with subscribed(url) as listener:
        yield listener


def test_an_invalidation_arrives_with_what_was_given_and_who_sent_it_when(url: str, listener: Subscription) -> None:
    with Publisher(url) as publisher:
        sent = publisher.invalidate(
            CHANNEL, keys=["users:42"], tags=["t"], prefixes=["p:"], urls=["https://shop.example/a"], soft=True
        )
    channel, payload = listener.heard()
    message = json.loads(payload)
    assert channel == CHANNEL
    assert abs(message.pop("ts") - time.time()) < 10
    assert message.pop("source").rpartition("-")[2].isdecimal()
    assert message.pop("id") == sent.id
    assert message == {
        "v": 1,
        "soft": True,
        "keys": ["users:42"],
        "tags": ["t"],
        "prefixes": ["p:"],
        "urls": ["https://shop.example/a"],
    }
    assert (sent.targets, sent.messages, sent.receivers) == (4, 1, 1)


def test_what_the_application_says_about_itself_is_kept(url: str, listener: Subscription) -> None:
    with Publisher(url, source="checkout") as publisher:
        publisher.invalidate(CHANNEL, all=True, id="order-7", traceparent="00-aa-bb-01")
        publisher.invalidate(CHANNEL, ["a"], source="checkout-2")
    first = listener.next()
    assert (first["id"], first["source"], first["traceparent"], first["all"]) == (
        "order-7",
        "checkout",
        "00-aa-bb-01",
        True,
    )
    assert listener.next()["source"] == "checkout-2"


def test_more_than_one_payload_holds_is_split_and_all_of_it_arrives(url: str, listener: Subscription) -> None:
    keys = [f"users:{number}" for number in range(150_000)]
    arrived: list[str] = []
    with Publisher(url, timeout=20) as publisher:
        sent = publisher.invalidate(CHANNEL, keys)
    for _ in range(sent.messages):
        arrived += listener.next()["keys"]
    assert arrived == keys
    assert sent.messages > 100
    assert sent.targets == len(keys)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"channel": "cache:*", "keys": ["a"]}, "glob"),
        ({"channel": CHANNEL}, "nothing to invalidate"),
        ({"channel": CHANNEL, "keys": "users:42"}, "a list of texts"),
        ({"channel": CHANNEL, "keys": ["x" * 9000]}, "does not fit"),
        ({"channel": CHANNEL, "keys": ["a"], "wait": 0.0}, "more than 0"),
        ({"channel": CHANNEL, "keys": ["a"], "wait": float("inf")}, "more than 0"),
    ],
)
def test_what_no_worker_would_take_is_refused_before_anything_is_sent(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(PublishError, match=why), Publisher("redis://127.0.0.1:1/0") as publisher:
        publisher.invalidate(**arguments)


def test_a_redis_that_restarted_since_costs_no_invalidation(redis_server: MakeRedis) -> None:
    server = redis_server()
    with Publisher(server.url) as publisher:
        publisher.invalidate(CHANNEL, ["a"])
        server.restart()
        with subscribed(server.url) as listener:
            assert publisher.invalidate(CHANNEL, ["b"]).receivers == 1
            assert listener.next()["keys"] == ["b"]


def test_a_redis_that_is_away_is_an_error_at_once(redis_server: MakeRedis) -> None:
    server = redis_server()
    server.kill()
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=f"127.0.0.1:{server.port}"), Publisher(server.url) as publisher:
        publisher.invalidate(CHANNEL, ["a"])
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("connected", [False, True])
def test_a_redis_that_hangs_holds_a_write_up_no_longer_than_the_timeout(
    redis_server: MakeRedis, connected: bool
) -> None:
    server = redis_server()
    with Publisher(server.url, timeout=0.4) as publisher:
        if connected:
            publisher.invalidate(CHANNEL, ["a"])
        server.stop()
        began = time.monotonic()
        with pytest.raises(UnreachableError):
            publisher.invalidate(CHANNEL, ["a"])
        assert time.monotonic() - began < 0.8
        server.cont()
        publisher.invalidate(CHANNEL, ["a"])


def test_a_password_given_apart_replaces_the_urls(redis_server: MakeRedis) -> None:
    server = redis_server(password="s3cret")
    wrong = f"redis://:wrong@{server.address}/0"
    with pytest.raises(UnreachableError) as refused, Publisher(wrong) as publisher:
        publisher.invalidate(CHANNEL, ["a"])
    assert "wrong@" not in str(refused.value)
    with Publisher(wrong, password="s3cret") as publisher:
        publisher.invalidate(CHANNEL, ["a"])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:p@h:1/0", "redis://***@h:1/0"),
        ("rediss://user:p@ss/wo?rd@h:1/0", "rediss://***"),
        ("unix://:p@/run/redis.sock?db=0", "unix://***@/run/redis.sock"),
        ("redis://h/0?password=p", "redis://h/0"),
        ("redis://h/0?password=p@wo", "redis://***"),
        ("user:p@h", "***"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert shown_url(url).startswith(shown)
    assert "p@" not in shown_url(url)
    assert "wo" not in shown_url(url)
    assert "password" not in shown_url(url)


@pytest.mark.parametrize(
    "url", ["http://:hunter2@h/", "redis://:hunter2/@h:1/0", "redis://h:hunter2", "redis+sentinel://h:1", "hunter2", ""]
)
def test_a_url_that_cannot_be_read_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(PublishError, match="a URL is redis://") as refused, Publisher(url) as publisher:
        publisher.invalidate(CHANNEL, ["a"])
    assert refused.value.__cause__ is None
    assert "hunter2@" not in str(refused.value)


class Sentinel(RedisServer):
    """A Sentinel that watches one master, named `shop`."""

    def watch(self, master: RedisServer) -> None:
        self.configuration = self.directory / "sentinel.conf"
        self.configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\nsentinel monitor shop 127.0.0.1 {master.port} 1\n"
        )

    def _arguments(self) -> list[str]:
        return [str(self.configuration), "--sentinel"]

    def _pid_that_answers(self) -> int:
        return self.pid if "flags" in self._ask(b"SENTINEL master shop\r\n", rb"parallel-syncs") else 0


def test_the_master_is_found_through_sentinels_one_of_which_is_away(
    redis_server: MakeRedis, cleanup: ExitStack, folder: Callable[[str], Path]
) -> None:
    master = redis_server()
    sentinel = Sentinel(folder("sentinel"))
    sentinel.watch(master)
    cleanup.callback(sentinel.kill)
    sentinel.start()
    url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/shop/0"
    with subscribed(master.url) as listener, Publisher(url) as publisher:
        assert publisher.invalidate(CHANNEL, ["a"]).receivers == 1
        assert listener.next()["keys"] == ["a"]


def test_sentinels_that_know_no_such_master_are_an_error_in_time() -> None:
    began = time.monotonic()
    with (
        pytest.raises(UnreachableError, match="No master found for 'shop'"),
        Publisher("redis+sentinel://127.0.0.1:1/shop/0") as publisher,
    ):
        publisher.invalidate(CHANNEL, ["a"])
    assert time.monotonic() - began < 2


def test_one_publisher_serves_many_threads(url: str, listener: Subscription) -> None:
    with Publisher(url) as publisher:

        def publish(name: int) -> None:
            for number in range(50):
                publisher.invalidate(CHANNEL, [f"{name}:{number}"])

        threads = [threading.Thread(target=publish, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    arrived = {listener.next()["keys"][0] for _ in range(400)}
    assert len(arrived) == 400


def test_a_closed_publisher_opens_again_when_it_is_used(url: str) -> None:
    publisher = Publisher(url)
    for _ in range(2):
        publisher.invalidate(CHANNEL, ["a"])
        publisher.close()


def test_importing_the_publisher_costs_an_application_neither_redis_nor_pydantic() -> None:
    code = (
        "import sys; from invalidator import Publisher; Publisher('redis://127.0.0.1:1/0')\n"
        "print(*sorted({'redis', 'hiredis', 'pydantic', 'pydantic_core', 'msgspec', 'pluggy', 'yaml', 'click'}"
        " & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""

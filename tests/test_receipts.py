"""`publish --wait` and Publisher.invalidate(wait=): success is that every worker has applied it in every backend."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import redis

from invalidator import Publisher
from invalidator.presence import INDEX
from invalidator.publisher import NotAppliedError
from tests.support.available import Cluster
from tests.support.daemon import Daemon
from tests.support.stores import MemcachedServer, RedisServer
from tests.support.subscription import Subscription
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from invalidator.publisher import Published
    from tests.conftest import MakeDaemon, MakeMemcached

CHANNEL = "cache:users:profile"


class Shop(NamedTuple):
    """A daemon with one worker, its Redis and its memcached."""

    run: Daemon
    server: RedisServer
    objects: MemcachedServer


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One for all tests that leave it as it was."""
    with ExitStack() as stack:
        server, objects = RedisServer(tmp_path_factory.mktemp("redis")), MemcachedServer(tmp_path_factory.mktemp("mc"))
        for started in (server, objects):
            stack.callback(started.kill)
            started.start()
        settings = {"allow": ["key", "tag"], "ignore_source": ["itself", "web-*"]}
        run = Daemon(tmp_path_factory.mktemp("daemon"), topology(server.url, objects, **settings))
        stack.callback(run.close)
        yield Shop(run.start(), server, objects)


@pytest.fixture
def objects(memcached_server: MakeMemcached) -> MemcachedServer:
    return memcached_server()


def topology(url: str, *objects: MemcachedServer, **worker: Any) -> dict[str, Any]:
    """One worker, users, that logs and purges these servers."""
    return {
        "redis": {"url": url, "heartbeat": {"interval": "200ms", "deadline": "600ms"}},
        "backends": {
            "seen": {"type": "log"},
            "objects": {"type": "memcached", "servers": [server.address for server in objects]},
        },
        "workers": [
            {
                "name": "users",
                "pattern": "cache:users:*",
                "backends": ["seen", "objects"],
                "flush": {"all": True},
                **worker,
            }
        ],
    }


def publish(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "invalidator", "publish", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


class Mailbox(Subscription):
    """A reply channel of a publisher in another language, and what comes there."""

    channel = "invalidator:reply:mailbox"

    def __init__(self, client: redis.Redis, *more: str) -> None:
        super().__init__(client, self.channel, *more)
        self.client = client

    def ask(self, **message: Any) -> None:
        """Publish a message that wants to be answered here."""
        assert self.client.publish(CHANNEL, json.dumps({"reply": self.channel, **message})) >= 1

    def is_empty(self) -> bool:
        return self.is_silent(0.05)


@pytest.fixture
def mailbox(client: redis.Redis) -> Iterator[Mailbox]:
    with closing(Mailbox(client)) as mailbox:
        yield mailbox


@pytest.fixture
def shops_mailbox(shop: Shop) -> Iterator[Mailbox]:
    with redis.Redis.from_url(shop.server.url) as client, closing(Mailbox(client)) as mailbox:
        yield mailbox


def test_success_is_that_it_is_purged_everywhere(shop: Shop) -> None:
    shop.objects.set("users:42", "old")
    run = publish("--url", shop.server.url, CHANNEL, "users:42", "--wait", "5")
    assert shop.objects.get("users:42") is None
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.endswith("(1 receiver), applied by 1 worker in 2 backends\n")


def test_a_receipt_says_who_has_done_what(shop: Shop) -> None:
    run = publish("--url", shop.server.url, CHANNEL, "users:42", "--wait", "5", "--json", "--journal")
    said = json.loads(run.stdout)
    assert (run.returncode, said["applied"], said["missing"]) == (0, True, [])
    assert {receipt["backend"] for receipt in said["receipts"]} == {"seen", "objects"}
    for receipt in said["receipts"]:
        assert (receipt["worker"], receipt["outcome"], receipt["id"]) == ("users", "purged", said["ids"][0])
        assert receipt["journal"] == said["journal"][0]
        assert abs(receipt["at"] - time.time()) < 10
        assert 0 <= receipt["seconds"] < 5


def test_there_is_one_receipt_for_each_backend_however_many_servers_it_has(
    daemon: MakeDaemon, server: RedisServer, memcached_server: MakeMemcached, mailbox: Mailbox
) -> None:
    one, two = memcached_server(), memcached_server()
    daemon(topology(server.url, one, two))
    for number in range(20):
        mailbox.ask(id=f"m{number}", keys=["users:42", f"users:{number}"])
        assert {mailbox.next()["backend"] for _ in range(2)} == {"seen", "objects"}
    two.stop()
    mailbox.ask(id="last", keys=["users:42"])
    assert mailbox.next()["backend"] == "seen"
    assert mailbox.is_empty(), "one of the two has not answered"
    two.cont()
    receipt = mailbox.next()
    assert (receipt["backend"], receipt["outcome"], receipt["id"]) == ("objects", "purged", "last")
    assert mailbox.is_empty()


def test_many_targets_are_many_messages_and_all_of_them_are_waited_for(shop: Shop) -> None:
    with Publisher(shop.server.url, journal=True) as publisher:
        sent = publisher.invalidate(CHANNEL, [f"users:{number}" for number in range(5_000)], wait=10)
    assert sent.messages > 5
    assert len(sent.receipts) == 2 * sent.messages


def test_a_cache_that_is_away_is_named(daemon: MakeDaemon, server: RedisServer, objects: MemcachedServer) -> None:
    daemon(topology(server.url, objects))
    objects.stop()
    run = publish("--url", server.url, CHANNEL, "users:42", "--wait", "0.5", "--json")
    assert run.returncode == 1
    assert json.loads(run.stdout)["applied"] is False
    assert "not applied everywhere within 0.5 s" in run.stderr
    assert "users objects: has not answered" in run.stderr
    assert "seen" not in run.stderr, "that one has"


def test_of_several_daemons_every_one_that_hears_the_channel_counts(
    daemon: MakeDaemon, server: RedisServer, objects: MemcachedServer, memcached_server: MakeMemcached
) -> None:
    far = memcached_server()
    daemon(topology(server.url, objects))
    daemon(topology(server.url, far))
    other = topology(server.url, far)
    other["workers"][0] |= {"name": "orders", "pattern": "cache:orders:*"}
    daemon(other)
    with Publisher(server.url) as publisher:
        assert len(publisher.invalidate(CHANNEL, ["users:42"], wait=5).receipts) == 4
        far.stop()
        with pytest.raises(NotAppliedError, match="users objects: has not answered") as refused:
            publisher.invalidate(CHANNEL, ["users:42"], wait=0.5)
    assert len(refused.value.missing) == 1, refused.value
    assert len(refused.value.published.receipts) == 3


def test_that_nobody_is_there_is_no_success(daemon: MakeDaemon, server: RedisServer, objects: MemcachedServer) -> None:
    run = daemon(topology(server.url, objects))
    assert run.stop() == 0
    done = publish("--url", server.url, CHANNEL, "users:42", "--wait", "5")
    assert done.returncode == 1
    assert "no worker that hears cache:users:profile" in done.stderr
    assert done.stdout.startswith("published 1 target")


def test_what_a_worker_does_not_do_is_said(shop: Shop, shops_mailbox: Mailbox) -> None:
    mailbox = shops_mailbox

    def said(**message: Any) -> set[tuple[str, str, str]]:
        mailbox.ask(id=str(message), **message)
        both = [mailbox.next() for _ in range(2)]
        assert mailbox.is_empty()
        return {(one["backend"], one["outcome"], one.get("reason", "")) for one in both}

    def by_both(outcome: str, reason: str) -> set[tuple[str, str, str]]:
        return {(name, outcome, reason) for name in ("seen", "objects")}

    assert said(keys=["a"]) == by_both("purged", "")
    assert said(keys=["a"], source="itself") == by_both("ignored", "source")
    assert said(keys=["a"], source="web-7") == by_both("ignored", "source")
    assert said(keys=["a"], source="itself too") == by_both("purged", "")
    assert said(keys=["a"], hops=8) == by_both("ignored", "hops")
    assert said(prefixes=["a"]) == by_both("rejected", "not_allowed")
    assert said(keys=["a"], prefixes=["a"]) == by_both("rejected", "not_allowed")
    assert said(keys=["a"], v=2) == by_both("rejected", "version")
    assert said(tags=["a"]) == {("seen", "purged", ""), ("objects", "skipped", "")}
    with (
        Publisher(shop.server.url, source="web-8") as publisher,
        pytest.raises(NotAppliedError, match=r"ignored \(source\)"),
    ):
        publisher.invalidate(CHANNEL, ["a"], wait=5)


def test_a_repetition_says_so(shop: Shop, shops_mailbox: Mailbox) -> None:
    mailbox = shops_mailbox
    mailbox.ask(id="m", keys=["a"])
    assert {mailbox.next()["outcome"] for _ in range(2)} == {"purged"}
    mailbox.ask(id="m", keys=["a"])
    assert {mailbox.next()["reason"] for _ in range(2)} == {"duplicate"}
    mailbox.ask(id="m", keys=["b"])
    assert {mailbox.next()["outcome"] for _ in range(2)} == {"purged"}, "other targets are no repetition"
    counted = shop.run.metrics().value("invalidator_messages_ignored_total", worker="users", reason="duplicate")
    assert counted == 1


def test_only_reply_channels_are_answered_and_nobody_who_waits_no_more(shop: Shop, shops_mailbox: Mailbox) -> None:
    mailbox = shops_mailbox
    with closing(Mailbox(mailbox.client, "cache:users:answers", "invalidator:reply:")) as elsewhere:
        for reply in (
            "cache:users:answers",
            "invalidator:reply:",
            "invalidator:reply:\n",
            "x" * 5000,
            "",
            None,
            "\ud800",
        ):
            mailbox.ask(id="m", keys=["a"], reply=reply)
        mailbox.ask(id="old", keys=["a"], ts=time.time() - 100)
        mailbox.ask(id="x" * 6000, keys=["a"])
        assert {len(mailbox.next()["id"]) for _ in range(2)} == {255}, "an id is cut, and no other receipt has come"
        assert {len(elsewhere.next()["id"]) for _ in range(2)} == {255}
        assert elsewhere.is_empty()
    assert mailbox.is_empty()


def killed_while_it_waits(run: Daemon, publisher: Publisher) -> Published:
    """Publish to a worker that stands still, kill it, and wait for its successor."""
    (pid,) = run.pids()
    os.kill(pid, signal.SIGSTOP)
    timer = threading.Timer(0.3, lambda: os.kill(pid, signal.SIGKILL))
    timer.start()
    try:
        return publisher.invalidate(CHANNEL, ["users:42"], wait=2.5)
    finally:
        timer.join()


def test_a_worker_that_dies_and_reads_it_again_from_the_journal_answers(
    daemon: MakeDaemon, server: RedisServer, objects: MemcachedServer
) -> None:
    run = daemon(topology(server.url, objects, delivery="journal"))
    with Publisher(server.url, journal=True) as publisher:
        sent = killed_while_it_waits(run, publisher)
    assert {one.outcome for one in sent.receipts} <= {"purged", "flushed"}
    assert len(sent.receipts) == 2


def test_a_worker_that_dies_and_flushes_instead_is_named_for_it_has_not_heard_of_it(
    daemon: MakeDaemon, server: RedisServer, objects: MemcachedServer
) -> None:
    run = daemon(topology(server.url, objects))
    objects.set("users:42", "old")
    with Publisher(server.url) as publisher, pytest.raises(NotAppliedError, match="users objects: has not answered"):
        killed_while_it_waits(run, publisher)
    assert objects.get("users:42") is None, "though nothing is stale"


def test_a_worker_that_is_replaced_is_there_all_the_time(
    daemon: MakeDaemon, server: RedisServer, objects: MemcachedServer, client: redis.Redis
) -> None:
    run = daemon(topology(server.url, objects))
    absent = threading.Event()
    done = threading.Event()

    def look() -> None:
        with redis.Redis.from_url(server.url) as own:
            while not done.is_set():
                keys: Any = own.zrange(INDEX, 0, -1)
                if len(keys) != 1 or own.get(keys[0]) is None:
                    absent.set()

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        (before,) = run.pids()
        subprocess.run(
            [sys.executable, "-m", "invalidator", "restart", "users", "--socket", str(run.control)], check=True
        )
        wait_until(lambda: len(run.pids()) == 1 and run.pids() != [before], 10, run.logs)
        with Publisher(server.url) as publisher:
            publisher.invalidate(CHANNEL, ["users:42"], wait=5)
    finally:
        done.set()
        watcher.join()
    assert not absent.is_set(), "a publisher would not have waited for it"
    assert run.stop() == 0
    assert not client.exists(INDEX), "and at the end it is gone at once"


def test_a_user_that_may_not_write_is_said_and_costs_nothing_else(
    daemon: MakeDaemon, server: RedisServer, objects: MemcachedServer, client: redis.Redis
) -> None:
    client.execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", "reader", "on", ">s3cret", "+@connection", "+@pubsub", "+info", "+role", "~*", "&*"
    )
    run = daemon(topology(f"redis://reader:s3cret@{server.address}/0", objects))
    objects.set("users:42", "old")
    done = publish("--url", server.url, CHANNEL, "users:42", "--wait", "1")
    assert done.returncode == 1
    assert "its Redis user may not write there" in done.stderr
    wait_until(lambda: objects.get("users:42") is None, 5, run.logs)

    def status() -> str:
        command = [sys.executable, "-m", "invalidator", "status", "--socket", str(run.control)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "100"}
        ).stdout

    wait_until(lambda: "publish --wait does not see this worker" in status(), 5, status)
    assert "grant +set" in status()
    assert "degraded" not in status()


def test_a_publisher_that_may_not_hear_is_told_what_to_grant_and_has_published(
    shop: Shop, shops_mailbox: Mailbox
) -> None:
    (run, server, objects), client = shop, shops_mailbox.client
    for missing in ("-subscribe", "-zrange", "-mget"):
        client.execute_command(  # type: ignore[no-untyped-call]
            "ACL", "SETUSER", "shop", "on", ">s3cret", "+@all", "~*", "&*", missing
        )
        objects.set("users:42", "old")
        with (
            Publisher(f"redis://shop:s3cret@{server.address}/0") as publisher,
            pytest.raises(NotAppliedError, match="published, but what became of it cannot be heard") as refused,
        ):
            publisher.invalidate(CHANNEL, ["users:42"], wait=5)
        assert "ACL SETUSER shop +subscribe" in str(refused.value)
        assert "s3cret" not in str(refused.value)
        wait_until(lambda: objects.get("users:42") is None, 5, run.logs)


def test_in_a_cluster_everybody_is_found_too(daemon: MakeDaemon, folder: Callable[[str], Path]) -> None:
    with Cluster(folder("cluster")) as nodes:
        run = daemon(
            {
                "redis": {"url": nodes.url},
                "backends": {"seen": {"type": "log"}},
                "workers": [{"name": "users", "pattern": "cache:users:*", "backends": ["seen"], "on_gap": "ignore"}],
            }
        )
        with Publisher(nodes.url, journal=True, stream="journal:{shop}") as publisher:
            assert len(publisher.invalidate(CHANNEL, ["users:42"], wait=5).receipts) == 1, run.logs()


def test_a_message_that_is_sent_twice_is_applied_once_and_is_not_taken_for_missed(
    daemon: MakeDaemon, server: RedisServer, objects: MemcachedServer
) -> None:
    run = daemon(topology(server.url, objects, delivery="journal"))
    with Publisher(server.url, journal=True) as publisher:
        for _ in range(3):
            publisher.invalidate(CHANNEL, ["users:42"], id="order-7")
        publisher.invalidate(CHANNEL, ["users:43"], id="order-8", wait=5)
    run.wait_metric("invalidator_messages_ignored_total", 2, worker="users", reason="duplicate")
    with redis.Redis.from_url(server.url) as client:  # one that only the journal has is missed a while later
        client.xadd("invalidator:journal", {"channel": CHANNEL, "payload": "users:44"})
    assert run.wait_metric("invalidator_messages_missed_total", 1, worker="users") == 1
    assert run.metrics().value("invalidator_targets_received_total", worker="users", backend="objects") == 3


def test_what_was_given_up_may_be_tried_again_under_its_old_id(
    daemon: MakeDaemon, server: RedisServer, folder: Callable[[str], Path], mailbox: Mailbox
) -> None:
    file = folder("plugin") / "strict.py"
    file.write_text(
        "from invalidator import Backend, BackendError, BackendOptions, hookimpl\n"
        "class Strict(Backend):\n"
        "    def purge(self, batch):\n"
        "        raise BackendError('rejected', 'never', retry=False)\n"
        "class Options(BackendOptions):\n"
        "    def kinds(self): return frozenset({'key', 'all'})\n"
        "@hookimpl\n"
        "def backend_types(): return {'strict': Options}\n"
        "@hookimpl\n"
        "def make_backend(type, options, context): return Strict() if type == 'strict' else None\n"
    )
    daemon(
        {
            "redis": {"url": server.url},
            "backends": {"strict": {"type": "strict"}},
            "workers": [{"pattern": "cache:users:*", "backends": [{"backend": "strict", "on_gap": "ignore"}]}],
            "plugins": [str(file)],
        }
    )
    for _ in range(2):
        mailbox.ask(id="m", keys=["a"])
        receipt = mailbox.next()
        assert (receipt["outcome"], receipt["reason"]) == ("dead", "rejected")


def test_a_flood_of_messages_that_want_an_answer_holds_nobody_up(shop: Shop, shops_mailbox: Mailbox) -> None:
    run, client = shop.run, shops_mailbox.client
    heard = run.metrics().value("invalidator_messages_received_total", worker="users")
    before = client.info("commandstats").get("cmdstat_publish", {}).get("calls", 0)
    began = time.monotonic()
    for _ in range(10):
        flood = client.pipeline(transaction=False)
        for number in range(2_000):
            message = {
                "id": "x" * 200 + str(number),
                "reply": f"invalidator:reply:{number}",
                "keys": [f"users:{number}"],
            }
            flood.publish(CHANNEL, json.dumps(message))
        flood.execute()
    run.wait_metric("invalidator_messages_received_total", heard + 20_000, 20, worker="users")
    wait_until(lambda: run.metrics().value("invalidator_pending", worker="users", backend="objects") == 0, 20, run.logs)
    took = time.monotonic() - began
    published = client.info("commandstats")["cmdstat_publish"]["calls"] - before - 20_000
    assert published < (took + 2) * 2_100, "receipts, and a few echoes"
    with Publisher(shop.server.url) as publisher:
        publisher.invalidate(CHANNEL, ["users:42"], wait=10)

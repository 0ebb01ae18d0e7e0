"""The users in the documentation: a worker and a publisher that have these rights alone lack nothing, and need them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from invalidator.presence import INDEX
from invalidator.status import Status
from tests.support.available import Cluster
from tests.support.doctor import diagnosed
from tests.support.journals import CHANNEL
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import MakeDaemon
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {"worker": "subscription.md", "shop": "publishing.md"}


def rights(user: str) -> list[str]:
    """The command that the documentation has for this user."""
    page = (DOCS / PAGES[user]).read_text()
    (text,) = re.findall(rf"^redis-cli (ACL SETUSER {user} (?:.*\\\n)*.*)$", page, re.MULTILINE)
    return shlex.split(text.replace("\\\n", " "))


def rights_in_a_cluster(user: str) -> list[str]:
    """The same, with what it says of a Cluster."""
    (text,) = re.findall(r"In a Cluster also `(.*?)`", (DOCS / PAGES[user]).read_text(), re.MULTILINE | re.DOTALL)
    return [*rights(user), *shlex.split(text)]


def url_of(server: RedisServer, user: str) -> str:
    # Not the first database: it takes a right to select another one.
    return f"redis://{user}:SECRET@{server.address}/1"


@pytest.fixture
def client(server: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(server.url, db=1) as client:
        for user in PAGES:
            client.execute_command(*rights(user))
        client.config_resetstat()
        yield client


@pytest.fixture
def run(client: Any, server: RedisServer, daemon: MakeDaemon) -> Daemon:
    del client
    return daemon(topology(url_of(server, "worker")))


def topology(url: str) -> dict[str, Any]:
    plain = {"pattern": "cache:invalidate:users:*", "backends": ["said"], "flush": {"all": True}}
    return {
        "redis": {"url": url, "heartbeat": {"interval": "100ms", "deadline": "300ms"}},
        "backends": {"said": {"type": "log"}},
        "workers": [{**plain, "name": "plain"}, {**plain, "name": "exact", "delivery": "journal"}],
    }


def told(run: Daemon, *command: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "invalidator", *command]
    return subprocess.run(whole, capture_output=True, text=True, check=False, cwd=run.folder)


def status(run: Daemon) -> Status:
    return msgspec.json.decode(told(run, "status", "--json", "-c", str(run.file)).stdout, type=Status)


def is_proven(run: Daemon) -> bool:
    """Whether each worker hears its own echo."""
    return all(worker.heartbeat == "echo" for worker in status(run).workers)


def refused(client: Any) -> set[str]:
    """What Redis has kept from somebody. That newer versions of redis-py introduce themselves is none of our doing."""
    return {entry["object"] for entry in client.acl_log()} - {"client|setinfo"}


def test_a_worker_and_a_publisher_with_these_rights_lack_nothing_and_need_each_of_them(
    client: Any, server: RedisServer, run: Daemon
) -> None:
    wait_until(lambda: is_proven(run), 10, run.logs)
    as_shop = ("publish", "--url", url_of(server, "shop"), "--journal", CHANNEL)
    sent = told(run, *as_shop, "--wait", "5", "users:1")
    assert "applied by 2 workers" in sent.stdout, sent.stderr
    assert run.stop() == 0
    assert not client.exists(INDEX), "each has said that it is gone"
    assert told(run, *as_shop, "users:2").returncode == 0
    run.start()
    wait_until(lambda: re.search(r'"worker": "exact".*"users:2"', run.logs()), 10, run.logs)

    assert [(worker.unheard, worker.subscribed) for worker in status(run).workers] == [("", True)] * 2
    assert refused(client) == set()
    granted = {word.lstrip("+") for user in PAGES for word in rights(user) if word.startswith("+")}

    def unused() -> set[str]:
        used = client.info("commandstats")
        return {name for name in granted if f"cmdstat_{name}" not in used}

    wait_until(lambda: not unused(), 10, lambda: str(unused()))


def test_the_doctor_finds_nothing_wrong_with_them(run: Daemon) -> None:
    found = diagnosed(run.file)
    assert {name for name in found.trouble() if name.startswith(("rights.", "journal.", "subscription."))} <= {
        "journal.empty",
        "journal.volatile",
        "subscription.unseen",
    }


def test_in_a_cluster_it_takes_no_more_than_what_is_said_there(
    daemon: MakeDaemon, folder: Callable[[str], Path]
) -> None:
    with Cluster(folder("cluster")) as nodes, ExitStack() as stack:
        clients = [stack.enter_context(redis.Redis.from_url(node.url)) for node in nodes.nodes]
        for client, user in product(clients, PAGES):
            client.execute_command(*rights_in_a_cluster(user))
        run = daemon(topology(nodes.url.replace("://", "://worker:SECRET@")))
        wait_until(lambda: is_proven(run), 10, run.logs)
        as_shop = ("publish", "--url", nodes.url.replace("://", "://shop:SECRET@"), "--journal", CHANNEL)
        sent = told(run, *as_shop, "--wait", "5", "users:1")
        assert "applied by 2 workers" in sent.stdout, sent.stderr
        assert set().union(*map(refused, clients)) == set()
        assert diagnosed(run.file).ids("wrong", "warning") == {"topology.overlap"}


def test_that_nothing_was_refused_is_worth_saying(client: Any, server: RedisServer) -> None:
    # The control for the first one: what a user may not do is seen.
    with redis.Redis.from_url(url_of(server, "shop")) as shop, pytest.raises(redis.ResponseError):
        shop.get("invalidator:x")
    assert refused(client) == {"get"}

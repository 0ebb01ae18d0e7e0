"""Redis with Sentinels, and a Cluster of it: each way in which a subscription's server stops being the right one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import redis

from invalidator import Publisher
from invalidator.errors import UnreachableError
from invalidator.wire.connection import connect
from invalidator.wire.hub import MOST_REDIRECTS
from invalidator.wire.identity import Address, Identity
from invalidator.wire.route import route_to
from invalidator.wire.sentinel import ThroughSentinel
from invalidator.wire.sideline import Answered, Sideline, sideline_to
from tests.support.available import Cluster, Watched, ask
from tests.support.ear import DEADLINE, Ear, settings
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from invalidator.wire.connection import Refused
    from tests.conftest import MakeRedis

FOUND = DEADLINE + 0.5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """For tests that leave it as it was, and for one, the last, that does not."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def listen(cleanup: ExitStack) -> Callable[..., Ear]:
    def make(url: str, *, echo: bool = True) -> Ear:
        ear = Ear(settings(url), echo=echo)
        cleanup.callback(ear.close)
        ear.until(lambda: ear.gaps and (ear.subscriber.shown.by == "echo" or not echo))
        return ear

    return make


def port_of(ear: Ear) -> int:
    assert ear.route.at is not None
    return ear.route.at.port


def hears(ear: Ear, port: int) -> None:
    """What is published there arrives."""
    ear.messages.clear()
    ask(port, "PUBLISH", "cache:x", "a")
    ear.until(lambda: ear.messages)


# Sentinel.


def test_an_old_master_that_lives_on_and_says_nothing_is_left(watched: Watched, listen: Callable[..., Ear]) -> None:
    ear, deaf = listen(watched.url), listen(watched.url, echo=False)
    assert port_of(ear) == watched.master.port
    watched.rename(*watched.sentinels)
    began = time.monotonic()
    found = ear.lost()
    ear.until(lambda: len(ear.gaps) == 2)
    hears(ear, watched.replica.port)

    assert found - began <= FOUND
    assert ear.causes == ["start", "role"]
    assert port_of(ear) == watched.replica.port
    # The control: without echoes, its connection is as good as ever.
    deaf.turn_for(max(0.0, began + FOUND - time.monotonic()))
    assert deaf.subscriber.state == "live"
    assert port_of(deaf) == watched.master.port


def test_a_failover_is_one_gap_and_the_new_master_is_heard(watched: Watched, listen: Callable[..., Ear]) -> None:
    ear = listen(watched.url)
    watched.master.stop()
    ear.until(lambda: len(ear.gaps) == 2, deadline=20)
    hears(ear, watched.replica.port)
    watched.master.cont()  # it wakes up, and still takes itself for the master
    ear.turn_for(DEADLINE)

    assert ear.causes == ["start", "deadline"]
    assert port_of(ear) == watched.replica.port
    assert ear.longest_turn < DEADLINE


def test_a_failover_by_command_is_one_gap_though_sentinels_hear_of_it_one_after_the_other(
    watched: Watched, listen: Callable[..., Ear]
) -> None:
    ear = listen(watched.url)
    ask(watched.sentinels[-1].port, "SENTINEL", "FAILOVER", "shop")
    ear.until(lambda: all(watched.named(one) == watched.replica.port for one in watched.sentinels))
    ear.until(lambda: len(ear.gaps) == 2)
    ear.turn_for(2 * DEADLINE)
    hears(ear, watched.replica.port)

    assert ear.causes == ["start", "role"]


def test_what_is_published_at_a_former_master_until_it_steps_down_is_a_gap(
    watched: Watched, listen: Callable[..., Ear], monkeypatch: pytest.MonkeyPatch
) -> None:
    ear, deaf = listen(watched.url), listen(watched.url)
    assert deaf.sideline
    monkeypatch.setattr(deaf.sideline._hub, "was_astray", lambda: False)  # the control: it does not look back
    watched.rename(*watched.sentinels)
    for one in (ear, deaf):
        one.until(lambda one=one: one.causes == ["start", "role"])  # type: ignore[misc]
    ear.turn_for(DEADLINE)
    assert ask(watched.master.port, "PUBLISH", "cache:1", "lost") == 0  # by one whose connection is as good as ever
    assert ear.causes == ["start", "role"]

    ask(watched.master.port, "REPLICAOF", "127.0.0.1", watched.replica.port)
    ear.until(lambda: ear.causes == ["start", "role", "role"])
    hears(ear, watched.replica.port)
    for one in (ear, deaf):
        one.turn_for(2 * DEADLINE)
    assert ear.causes == ["start", "role", "role"]
    assert deaf.causes == ["start", "role"]


def test_a_replica_that_sentinel_still_names_is_refused_and_tried_again(
    watched: Watched, cleanup: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sentinel in watched.sentinels:
        sentinel.stop()
    answer = b"ip", b"127.0.0.1", b"port", b"%d" % watched.replica.port, b"flags", b"master", b"config-epoch", b"0"
    monkeypatch.setattr("invalidator.wire.sentinel.ThroughSentinel._ask", lambda self, sentinel: list(answer))
    ear = Ear(settings(watched.url), echo=True)
    cleanup.callback(ear.close)
    ear.until(lambda: ear.subscriber._attempts >= 3)
    assert ear.gaps == []
    assert "READONLY" in ear.subscriber.trouble[1]

    ask(watched.replica.port, "REPLICAOF", "NO", "ONE")
    ear.until(lambda: ear.gaps)


def test_a_sentinel_that_hangs_costs_a_part_of_the_deadline_once(watched: Watched, listen: Callable[..., Ear]) -> None:
    watched.sentinels[0].stop()
    ear = listen(watched.url)
    ear.turn_for(2 * DEADLINE)
    watched.sentinels[0].cont()

    assert ear.causes == ["start"]
    assert ear.longest_turn < DEADLINE


@pytest.mark.parametrize(
    ("epochs", "down", "right"),
    [
        ([0, 1, 1], [], 1),  # one that has not heard of the failover yet
        ([0, 0, 1], [], 1),  # only its leader has
        ([2, 1, 2], [], 2),
        ([1, None, 1], [], 1),
        ([None, None, 5], [], 5),  # the only one that answers
        ([0, 1, 0], [0], 1),
    ],
)
def test_the_master_is_that_of_the_latest_failover_that_any_sentinel_knows_of(
    monkeypatch: pytest.MonkeyPatch, epochs: list[int | None], down: list[int], right: int
) -> None:
    route = route_to(settings("redis+sentinel://a,b,c/shop/0"))

    def answer(self: ThroughSentinel, sentinel: Address) -> object:
        epoch = epochs["abc".index(sentinel.host)]
        if epoch is None:
            raise redis.TimeoutError("it hangs")
        flags = b"master,s_down" if epoch in down else b"master"
        return [b"ip", b"server-%d" % epoch, b"port", b"6379", b"flags", flags, b"config-epoch", b"%d" % epoch]

    monkeypatch.setattr(ThroughSentinel, "_ask", answer)
    assert route.open().host == f"server-{right}"


def test_a_connection_is_compared_with_what_one_sentinel_after_the_other_says(monkeypatch: pytest.MonkeyPatch) -> None:
    route = route_to(settings("redis+sentinel://a,b,c/shop/0"))
    asked = []

    def answer(self: ThroughSentinel, sentinel: Address) -> object:
        asked.append(sentinel.host)
        ip = b"new" if sentinel.host == "c" else b"old"
        return [b"ip", ip, b"port", b"6379", b"flags", b"master", b"config-epoch", b"0"]

    monkeypatch.setattr(ThroughSentinel, "_ask", answer)
    connection = redis.Connection(host="old", port=6379)  # type: ignore[no-untyped-call]
    assert [route.is_current(connection) for _ in range(4)] == [True, True, False, True]
    assert asked == ["a", "b", "c", "a"]


def test_a_sentinel_that_is_the_last_to_hear_of_a_failover_calls_nobody_back(monkeypatch: pytest.MonkeyPatch) -> None:
    route = route_to(settings("redis+sentinel://a,b,c/shop/0"))

    def answer(self: ThroughSentinel, sentinel: Address) -> object:
        ip, epoch = (b"new", b"1") if sentinel.host == "c" else (b"old", b"0")
        return [b"ip", ip, b"port", b"6379", b"flags", b"master", b"config-epoch", epoch]

    monkeypatch.setattr(ThroughSentinel, "_ask", answer)
    connection = route.open()
    assert connection.host == "new"
    assert all(route.is_current(connection) for _ in range(3))


# A replica, without Sentinel.


def test_a_replica_hears_its_master_and_is_refused_while_it_cannot(redis_server: MakeRedis, cleanup: ExitStack) -> None:
    master = redis_server("--repl-diskless-sync-delay", "0")
    replica = redis_server("--replicaof", "127.0.0.1", str(master.port))
    wait_until(lambda: ask(replica.port, "ROLE")[3] == b"connected")
    ear = Ear(settings(replica.url), echo=True)
    cleanup.callback(ear.close)
    ear.until(lambda: ear.gaps)
    hears(ear, master.port)
    ear.until(lambda: ear.subscriber.shown.by == "echo")
    master.kill()
    began = time.monotonic()
    assert ear.lost() - began <= FOUND
    ear.until(lambda: ear.subscriber._attempts >= 3)

    assert "MASTERDOWN" in ear.subscriber.trouble[1]
    ask(replica.port, "REPLICAOF", "NO", "ONE")
    ear.until(lambda: len(ear.gaps) == 2)
    assert ear.causes == ["start", "deadline"]


# Cluster.


def test_a_subscription_in_a_cluster_is_proven_through_another_node(
    cluster: Cluster, listen: Callable[..., Ear]
) -> None:
    ear = listen(cluster.url)
    assert ear.sideline
    aside = ear.sideline._hub._route.at
    for node in cluster.nodes:
        hears(ear, node.port)
    ear.turn_for(2 * DEADLINE)

    assert aside not in (None, ear.route.at)
    assert ear.causes == ["start"]


def test_a_node_that_dies_is_one_gap_and_another_one_is_heard(cluster: Cluster, listen: Callable[..., Ear]) -> None:
    ear = listen(cluster.url)
    first = cluster.of(port_of(ear))
    first.kill()
    try:
        ear.until(lambda: len(ear.gaps) == 2)
        assert port_of(ear) != first.port
        hears(ear, next(cluster.others(first)).port)
        assert ear.causes == ["start", "disconnect"]
    finally:
        first.start()
        wait_until(lambda: all(cluster.is_whole(node) for node in cluster.nodes), 20)


def test_a_cluster_that_is_down_is_asked_until_it_is_not(
    cluster: Cluster, listen: Callable[..., Ear], cleanup: ExitStack
) -> None:
    for node in cluster.nodes:
        ask(node.port, "CONFIG", "SET", "cluster-require-full-coverage", "yes")
        ask(node.port, "CLUSTER", "DELSLOTS", 0)
    wait_until(lambda: all(b"cluster_state:fail" in ask(node.port, "CLUSTER", "INFO") for node in cluster.nodes))
    ear = Ear(settings(cluster.url), echo=True)
    cleanup.callback(ear.close)
    ear.until(lambda: ear.subscriber._attempts >= 3)
    assert "CLUSTERDOWN" in ear.subscriber.trouble[1]
    for node in cluster.nodes:
        ask(node.port, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    ask(cluster.nodes[0].port, "CLUSTER", "ADDSLOTS", 0)
    ear.until(lambda: ear.gaps)
    wait_until(lambda: all(cluster.is_whole(node) for node in cluster.nodes), 20)

    assert ear.causes == ["start"]


def answers(sideline: Sideline, *commands: tuple[str, ...]) -> tuple[object, ...]:
    outcomes: list[Answered | Refused] = []
    assert sideline.ask(commands, outcomes.append)

    def turned() -> list[Answered | Refused]:
        sideline.turn()
        return outcomes

    (outcome,) = wait_until(turned)
    assert isinstance(outcome, Answered), outcome
    return outcome.replies


def test_commands_with_keys_reach_their_owners_wherever_they_are(cluster: Cluster, cleanup: ExitStack) -> None:
    sideline = sideline_to(settings(cluster.url), "test", lambda: None)
    cleanup.callback(sideline.close)
    names = [f"key:{number}" for number in range(20)]

    assert answers(sideline, *(("SET", name, name) for name in names)) == (b"OK",) * 20
    assert answers(sideline, *(("GET", name) for name in names)) == tuple(name.encode() for name in names)


def test_a_sideline_for_one_key_goes_to_its_owner_at_once(cluster: Cluster, cleanup: ExitStack) -> None:
    for key in ("a", "b", "c"):
        sideline = sideline_to(settings(cluster.url), "test", lambda: None, key=key)
        cleanup.callback(sideline.close)
        assert answers(sideline, ("SET", key, "1")) == (b"OK",)
        assert sideline._hub._owners == {}, "nobody had to redirect it"


def test_a_key_on_the_move_is_asked_for_at_its_new_place(cluster: Cluster, cleanup: ExitStack) -> None:
    sideline = sideline_to(settings(cluster.url), "test", lambda: None, key="a")
    cleanup.callback(sideline.close)
    answers(sideline, ("DEL", "a"))
    assert sideline._hub._route.at is not None
    source = cluster.of(sideline._hub._route.at.port)
    target = next(cluster.others(source))
    slot = ask(source.port, "CLUSTER", "KEYSLOT", "a")
    ids = {node: ask(node.port, "CLUSTER", "MYID").decode() for node in (source, target)}
    ask(target.port, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
    ask(source.port, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
    try:
        assert answers(sideline, ("SET", "a", "moved")) == (b"OK",)
        assert answers(sideline, ("GET", "a")) == (b"moved",)
    finally:
        answers(sideline, ("DEL", "a"))
        for node in (source, target):
            ask(node.port, "CLUSTER", "SETSLOT", slot, "STABLE")


@pytest.mark.parametrize("journal", [False, True])
def test_a_publisher_reaches_whoever_listens_at_any_node(
    cluster: Cluster, listen: Callable[..., Ear], journal: bool
) -> None:
    ear = listen(cluster.url)
    with Publisher(cluster.url, journal=journal, stream="journal:{shop}") as publisher:
        published = publisher.invalidate("cache:x", keys=[f"users:{number}" for number in range(3000)])
        ear.until(lambda: len({message.payload for message in ear.messages}) >= published.messages)

    assert published.messages > 1
    assert len(published.journal) == (published.messages if journal else 0)


def test_a_publisher_that_reaches_no_node_says_so_in_time() -> None:
    with (
        Publisher(f"redis+cluster://127.0.0.1:{free_port()}", timeout=0.5) as publisher,
        pytest.raises(UnreachableError, match=r"could not publish to redis\+cluster"),
    ):
        publisher.invalidate("cache:x", keys=["a"])


def test_redirections_that_lead_in_a_circle_come_to_an_end(
    cluster: Cluster, cleanup: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def moved(connection: redis.Connection, commands: object) -> tuple[object, ...]:
        asked.append(commands)
        return (redis.exceptions.MovedError(f"1 127.0.0.1:{cluster.nodes[0].port}"),)

    sideline = sideline_to(settings(cluster.url), "test", lambda: None)
    cleanup.callback(sideline.close)
    answers(sideline, ("PING",))
    monkeypatch.setattr("invalidator.wire.hub.exchange", moved)
    (reply,) = answers(sideline, ("GET", "a"))

    assert isinstance(reply, redis.exceptions.MovedError)
    assert len(asked) == 1 + MOST_REDIRECTS


def test_a_node_that_is_cut_off_and_does_not_know_it_is_left(cluster: Cluster, listen: Callable[..., Ear]) -> None:
    # The last one: for a minute, nodes do not take back whom they were told to forget.
    ear, deaf = listen(cluster.url), listen(cluster.url, echo=False)
    here = cluster.of(port_of(ear))
    while port_of(deaf) != here.port:
        deaf = listen(cluster.url, echo=False)
    ids = {node: ask(node.port, "CLUSTER", "MYID").decode() for node in cluster.nodes}
    for other in cluster.others(here):
        ask(here.port, "CLUSTER", "FORGET", ids[other])
        ask(other.port, "CLUSTER", "FORGET", ids[here])
    began = time.monotonic()
    found = ear.lost()
    ear.until(lambda: len(ear.gaps) == 2)

    assert found - began <= FOUND
    assert ear.causes == ["start", "deadline"]
    assert port_of(ear) != here.port
    # The control: to a connection without echoes, nothing has happened.
    deaf.turn_for(DEADLINE)
    assert deaf.subscriber.state == "live"


# What connecting makes sure of.


def test_a_link_knows_who_is_at_its_other_end(redis_server: MakeRedis) -> None:
    server = redis_server()
    route = route_to(settings(server.url))
    link = connect(route, "test")
    link.close()
    run_id = ask(server.port, "INFO", "server")["run_id"]

    assert (link.server.run_id, link.server.role) == (run_id, "master")
    route.check(Identity(), to_listen=True)  # who says nothing is believed
    with pytest.raises(redis.ConnectionError, match="link to its master is in state 'sync'"):
        route.check(Identity(role="slave", replication="sync"), to_listen=True)

"""publisher/cluster.py: a publisher that stays, in a Cluster whose nodes do not."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from redis.crc import key_slot

from invalidator import Publisher
from invalidator.errors import UnreachableError
from invalidator.presence import INDEX
from invalidator.publisher import cluster as publishers_cluster
from invalidator.publisher.client import Server
from invalidator.publisher.publishing import NotAppliedError
from tests.support.available import Cluster, ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from tests.support.stores import RedisServer

SLOT = key_slot(INDEX.encode())
NOBODY, NOT_HEARD = "no worker that hears cache:x says", "cannot be heard"


@pytest.fixture
def cluster(cleanup: ExitStack, folder: Callable[[str], Path]) -> Cluster:
    return cleanup.enter_context(Cluster(folder("cluster")))


def why_not(publisher: Publisher) -> str:
    """No worker runs: it is said who is there, nobody, or that even this cannot be known."""
    with pytest.raises(NotAppliedError) as refused:
        publisher.invalidate("cache:x", keys=["a"], wait=0.1)
    return next(word for word in (NOBODY, NOT_HEARD) if word in str(refused.value))


def owner_of(cluster: Cluster, slot: int) -> int:
    return next(number for number in range(3) if slot < (number + 1) * 16384 // 3)


def hand_on(cluster: Cluster, to: RedisServer) -> None:
    """The slot of the presence keys is another node's from now on, as after a failover."""
    name = ask(to.port, "CLUSTER", "MYID")
    for node in cluster.others(cluster.nodes[owner_of(cluster, SLOT)]):
        ask(node.port, "CLUSTER", "SETSLOT", SLOT, "NODE", name)
    ask(to.port, "CLUSTER", "BUMPEPOCH")


@pytest.mark.parametrize("hangs", [False, True], ids=["dies", "hangs"])
def test_who_is_there_is_asked_of_the_node_that_knows_it_now(
    cluster: Cluster, cleanup: ExitStack, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    gone = owner_of(cluster, SLOT)
    taker, other = cluster.nodes[(gone + 1) % 3], (gone + 2) % 3
    names = (f"journal:{{{number}}}" for number in count())
    stream = next(name for name in names if owner_of(cluster, key_slot(name.encode())) == other)
    publisher, blind = (
        cleanup.enter_context(Publisher(cluster.url, journal=True, stream=stream, timeout=0.5)) for _ in range(2)
    )
    assert why_not(publisher) == why_not(blind) == NOBODY
    if hangs:
        cluster.nodes[gone].stop()
    else:
        cluster.nodes[gone].kill()
    hand_on(cluster, taker)

    # What a caller has waited for in vain, the next one is spared.
    assert why_not(publisher) == (NOT_HEARD if hangs else NOBODY)
    assert why_not(publisher) == NOBODY
    # The control: what it publishes arrives, so that nothing else has it look who owns what.
    monkeypatch.setattr(publishers_cluster.Cluster, "look_again", lambda self, **_: None)
    assert [why_not(blind) for _ in range(3)] == [NOT_HEARD] * 3


def test_a_journal_on_the_move_takes_what_is_published_meanwhile(
    cluster: Cluster, cleanup: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, slot = "invalidator:journal", key_slot(b"invalidator:journal")
    source, target = cluster.nodes[owner_of(cluster, slot)], cluster.nodes[(owner_of(cluster, slot) + 1) % 3]
    publisher = cleanup.enter_context(Publisher(cluster.url, journal=True, stream=stream))
    publisher.invalidate("cache:x", keys=["before"])
    ask(target.port, "CLUSTER", "SETSLOT", slot, "IMPORTING", ask(source.port, "CLUSTER", "MYID"))
    ask(source.port, "CLUSTER", "SETSLOT", slot, "MIGRATING", ask(target.port, "CLUSTER", "MYID"))
    ask(source.port, "MIGRATE", "127.0.0.1", target.port, stream, 0, 5000)

    with monkeypatch.context() as control:  # nobody follows
        control.setattr(publishers_cluster.Cluster, "node", Server.node)
        with pytest.raises(UnreachableError, match="sends to 127"):
            publisher.invalidate("cache:x", keys=["lost"])
    published = publisher.invalidate("cache:x", keys=[f"users:{number}" for number in range(3000)])
    assert len(published.journal) == published.messages > 1
    for node in (source, target):
        ask(node.port, "CLUSTER", "SETSLOT", slot, "NODE", ask(target.port, "CLUSTER", "MYID"))
    assert ask(target.port, "XLEN", stream) == 1 + published.messages

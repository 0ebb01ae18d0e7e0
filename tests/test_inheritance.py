"""inheritance.py and reload.py: when a successor has missed nothing. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from invalidator.channel import HeardOut, Orders, pair
from invalidator.logs import get_logger
from invalidator.messages import Gap
from invalidator.pipeline.inheritance import Inheritance
from invalidator.slots import READY, Region, clock
from invalidator.supervision.accounts import Account, Errors
from invalidator.supervision.child import Child
from invalidator.supervision.contact import Contact
from invalidator.supervision.handover import Birth
from invalidator.supervision.incarnation import Incarnation
from invalidator.supervision.reload import heard_on
from tests.support.topologies import loaded

if TYPE_CHECKING:
    from pathlib import Path

    from invalidator.channel import Channel
    from invalidator.topology.models import Topology

START = Gap("start", 1.0, 2.0)


def test_a_start_beside_a_predecessor_is_no_gap_if_that_one_keeps_its_word() -> None:
    ours = Inheritance(frozenset({"edge"}))

    assert ours.holds_back(START)
    assert ours.learn(Orders(predecessor="hears")) is None
    assert ours.learn(Orders(predecessor="done")) is None
    assert ours.may_vouch
    assert not ours.holds_back(START), "a later one is a Gap like any other"


def test_nobody_vouches_for_what_a_predecessor_has_yet_to_hear() -> None:
    ours = Inheritance(frozenset({"edge"}))
    assert ours.learn(Orders(predecessor="hears")) is None

    assert not ours.may_vouch


def test_it_is_one_after_all_if_the_predecessor_does_not() -> None:
    ours = Inheritance(frozenset({"edge"}))
    assert ours.holds_back(START)

    assert ours.learn(Orders(predecessor="failed")) == START
    assert ours.may_vouch
    assert ours.learn(Orders(predecessor="failed")) is None, "once"


def test_a_predecessor_that_is_gone_before_the_confirmation_holds_nothing_back() -> None:
    ours = Inheritance(frozenset({"edge"}))

    assert ours.learn(Orders(predecessor="failed")) is None
    assert not ours.holds_back(START)


def test_no_other_gap_is_held_back_and_none_without_a_predecessor() -> None:
    assert not Inheritance(frozenset({"edge"})).holds_back(Gap("disconnect", 1.0, 2.0))
    assert not Inheritance(frozenset()).holds_back(START)
    assert Inheritance(frozenset()).may_vouch


def test_what_was_left_undone_is_flushed_once() -> None:
    ours = Inheritance(frozenset({"edge"}))

    assert ours.undone(Orders()) == ()
    assert ours.undone(Orders(flush=("edge",))) == ("edge",)
    assert ours.undone(Orders(flush=("edge",))) == ()


BEFORE = """
redis: {url: redis://127.0.0.1:6379/0}
plugins: [log]
backends:
  near: {type: log}
  far: {type: log}
workers:
  - {name: a, pattern: "a:*", backends: [near, far], flush: {prefix: "a:"}}
"""


@pytest.mark.parametrize(
    ("old", "new", "heard"),
    [
        ("a:*", "a:*", {"near", "far"}),
        ("name: a,", "name: a, window: 5ms,", {"near", "far"}),
        ('pattern: "a:*"', 'pattern: "b:*"', set()),
        ("6379/0", "6379/1", set()),
        ("far: {type: log}", "far: {type: log, level: debug}", {"near"}),
        ("[near, far]", "[near, {backend: far, on_gap: ignore}]", {"near"}),
        ('prefix: "a:"', 'prefix: "b:"', set()),
        ("name: a,", "name: a, on_gap: ignore,", set()),
    ],
)
def test_what_a_worker_hears_on_is_what_its_successor_would_hear(
    tmp_path: Path, old: str, new: str, heard: set[str]
) -> None:
    before, after = (read(tmp_path, text) for text in (BEFORE, BEFORE.replace(old, new)))

    assert heard_on(before, before.workers[0], after, after.workers[0]) == heard


def test_a_backend_that_is_new_has_heard_nothing(tmp_path: Path) -> None:
    before = read(tmp_path, BEFORE.replace("[near, far]", "[near]"))
    after = read(tmp_path, BEFORE)

    assert heard_on(before, before.workers[0], after, after.workers[0]) == {"near"}


def read(folder: Path, text: str) -> Any:
    return loaded(folder, text).topology


class Forked:
    """A process as its supervisor sees it: it never ends."""

    pid: int | None = None
    exitcode: int | None = None


def incarnation(topology: Topology, server: str) -> tuple[Incarnation, Channel]:
    """A process that is ready, and subscribed at this server; and its own end of the channel."""
    spec, log = topology.workers[0], get_logger()
    ours, theirs = pair()
    region = Region([])
    words = region.worker()
    words.beat(clock())
    words.state(READY)
    words.subscribed_until(clock() + 60)
    words.server(server)
    contact = Contact(ours, Orders(predecessor="hears"), Account(spec.name, Errors()))
    made = Incarnation(Birth(spec, topology, Orders()), None, cast("Any", Forked()), region, contact, log, clock())
    made.look(clock(), topology.supervisor)
    return made, theirs


@pytest.mark.parametrize(("servers", "said"), [("AA", "done"), ("AB", "failed")])
def test_a_predecessor_that_hears_elsewhere_proves_nothing_however_late_its_successor_is_told(
    tmp_path: Path, servers: str, said: str
) -> None:
    topology = read(tmp_path, BEFORE)
    child = Child(topology.workers[0], topology, get_logger(), Errors(), clock())
    (elder, one), (younger, other) = (incarnation(topology, server) for server in servers)
    child.current = elder
    child.replace(child.spec, topology, clock(), "requested")
    child.begin(younger)
    child.look(clock(), topology.supervisor)
    assert child.leaving is elder
    one.send(HeardOut())
    elder.contact.hear(lambda _: None)
    child.look(clock(), topology.supervisor)

    # A successor that was busy meanwhile finds all of its orders at once, and obeys the last.
    orders = [packet for packet in other.receive(8) if isinstance(packet, Orders)]
    assert orders[-1].predecessor == said
    for channel in (one, other):
        channel.close()
    elder.contact.end()
    younger.contact.end()

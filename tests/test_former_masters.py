"""former.py: what publishers may have said to a master that is none to us is a Gap, whoever finds it and whenever."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest
import redis

from invalidator.subscription.proof import Proof
from invalidator.topology.models import Heartbeat
from invalidator.wire.former import Formers
from invalidator.wire.hub import Hub
from invalidator.wire.identity import Address, Identity
from invalidator.wire.route import route_to
from invalidator.wire.sentinel import ThroughSentinel
from invalidator.wire.sideline import Sideline
from tests.support.available import Watched, ask
from tests.support.ear import DEADLINE, Ear, settings
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from invalidator.wire.identity import Command
    from tests.support.stores import RedisServer

OLD = Address("old", 6379)


@pytest.fixture
def listen(cleanup: ExitStack, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ear]:
    def make(*, told: bool = True) -> Ear:
        ear = Ear(settings(watched.url), echo=True)
        cleanup.callback(ear.close)
        if not told:
            assert ear.sideline
            route = cast("ThroughSentinel", ear.sideline._hub._route)
            monkeypatch.setattr(route._formers, "named", lambda server: None)
        ear.until(lambda: ear.gaps and ear.subscriber.shown.by == "echo")
        return ear

    return make


@pytest.mark.parametrize(
    ("roles", "told"),
    [
        (["slave"], [False]),
        (["master", "master", "slave"], [False, False, True]),
        ([None, "slave"], [False, True]),  # it was cut off, with whoever was connected to it
        ([None, None, ""], [False, False, True]),  # cut off, and dead when the network was back
        ([None, "", "slave"], [False, True, False]),  # once
        (["", "slave"], [False, False]),  # the control: nobody was there, and it is a replica since
        (["master", "", "master", "slave"], [False, True, False, True]),  # started again as what it was
    ],
)
def test_one_that_was_a_master_or_out_of_sight_until_it_is_none_any_more_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, roles: list[str | None], told: list[bool]
) -> None:
    said = iter(roles)
    monkeypatch.setattr(Formers, "_role", lambda self, server: next(said))
    formers = Formers(cast("Callable[[Address], redis.Connection]", None), interval=0.0, rest=0.0)
    formers.left(OLD)
    assert [formers.stepped_down() for _ in roles] == told


def test_a_name_that_can_be_none_is_out_of_sight_and_no_exception() -> None:
    # A Sentinel may name anything; whoever looks does so for others, whose requests must not fail for that.
    formers = Formers(lambda at: redis.Connection(host=at.host), interval=0.0, rest=0.0)  # type: ignore[no-untyped-call]
    formers.left(Address("a" * 70 + ".example", 6379))
    assert [formers.stepped_down() for _ in range(2)] == [False, False]


def test_that_a_former_master_took_messages_is_not_lost_behind_another_doubt() -> None:
    # A journal that is read again makes up for a deadline. It does not have what that master took.
    class Told:
        told = True

        def was_astray(self) -> bool:
            told, self.told = self.told, False
            return told

    proof = Proof(cast("Any", Told()), Heartbeat(), "cache:*", "named", Identity("a", "master"), 0.0)
    proof._forgotten("the control: a doubt of its own")
    assert proof._doubt
    assert proof._doubt.cause == "deadline"
    verdict = proof.verdict(0)
    assert verdict
    assert verdict.cause == "role"


def test_the_first_echo_of_a_connection_goes_over_a_new_one() -> None:
    # What an older one knows of its server's role is older, too, and would condemn connection after connection.
    class Asked:
        asked: ClassVar[list[bool]] = []

        def ask(self, *_: object, urgent: bool, anew: bool) -> bool:
            del urgent
            self.asked.append(anew)
            return True

    proof = Proof(cast("Any", Asked()), Heartbeat(), "cache:*", "one server", Identity("a", "master"), 0.0)
    proof.confirmed(2)
    for now in (1.0, 2.0, 3.0):
        proof.turn(now)
        proof._echoes._out = ""  # it was heard
    assert Asked.asked == [True, False, False]


@pytest.mark.parametrize("looks_back", [True, False], ids=["looks back", "control"])
def test_a_look_that_takes_long_holds_up_no_answer(server: RedisServer, looks_back: bool) -> None:
    wanted = settings(server.url)
    hub = Hub(route_to(wanted), "test", 3.0)
    looking, done = threading.Event(), threading.Event()

    def look() -> bool:
        looking.set()
        return done.wait(10)

    hub.was_astray = look  # type: ignore[method-assign]
    sideline = Sideline(hub, lambda: None, looks_back=looks_back)
    answers: list[object] = []
    sideline.ask([("TIME",)], answers.append)

    def answered() -> bool:
        sideline.turn()
        return bool(answers)

    wait_until(answered)
    assert looking.wait(0.5) is looks_back
    assert not sideline.was_astray()
    done.set()
    sideline.close()
    sideline.wait(5)
    assert sideline.was_astray() is looks_back


@pytest.mark.parametrize("astray", [True, False], ids=["astray", "control"])
def test_a_former_master_that_steps_down_while_we_reconnect_makes_no_second_gap(
    server: RedisServer, client: redis.Redis, cleanup: ExitStack, astray: bool
) -> None:
    ear = Ear(settings(server.url), echo=True)
    cleanup.callback(ear.close)
    ear.until(lambda: ear.gaps and ear.subscriber.shown.by == "echo")
    assert ear.sideline
    ear.sideline._astray = astray
    client.client_kill_filter(_type="pubsub")
    ear.until(lambda: len(ear.gaps) == 2)
    ear.turn_for(DEADLINE)
    assert ear.causes == ["start", "role" if astray else "disconnect"]


def test_one_that_nobody_answers_for_at_a_closed_port_is_down_and_one_that_is_stopped_is_out_of_sight(
    watched: Watched,
) -> None:
    route = ThroughSentinel(settings(watched.url))
    here = Address("127.0.0.1", watched.master.port)
    assert route._formers._role(here) == "master"
    watched.master.stop()
    assert route._formers._role(here) is None
    watched.master.kill()
    assert route._formers._role(here) == ""


def test_that_a_former_master_has_stepped_down_is_no_secret_of_the_request_that_found_it(
    watched: Watched, listen: Callable[..., Ear], monkeypatch: pytest.MonkeyPatch
) -> None:
    ear, deaf = listen(), listen()
    for one in (ear, deaf):
        asked = found_by_a_strangers_request(one, monkeypatch)
        assert one.sideline
        one.sideline.ask([("TIME",)], lambda _: None)  # a receipt, say, or a word of the worker's presence
        if one is deaf:
            monkeypatch.setattr(one.sideline, "was_astray", lambda: False)  # the control: only who asked is told
        one.until(lambda asked=asked: any(("TIME",) in commands for commands in asked))  # type: ignore[misc]
        one.turn_for(DEADLINE)
    assert ear.causes == ["start", "role"]
    assert deaf.causes == ["start"]


def found_by_a_strangers_request(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Command, ...]]:
    """Have the look that follows TIME find a master that has stepped down. What is asked is in the list."""
    assert ear.sideline
    hub = ear.sideline._hub
    asked: list[tuple[Command, ...]] = []
    exchange = hub.exchange

    def recorded(commands: tuple[Command, ...]) -> tuple[object, ...]:
        asked.append(commands)
        return exchange(commands)

    monkeypatch.setattr(hub, "exchange", recorded)
    monkeypatch.setattr(hub, "was_astray", lambda: ("TIME",) in asked[-1])
    return asked


def test_a_worker_that_starts_while_a_former_master_is_out_of_sight_hears_of_it_from_sentinel(
    watched: Watched, listen: Callable[..., Ear]
) -> None:
    watched.master.stop()
    wait_until(lambda: all(watched.named(one) == watched.replica.port for one in watched.sentinels), deadline=20)
    ear, deaf = listen(), listen(told=False)  # the control: it knows of no master but those that it has left itself
    assert ear.causes == ["start"]

    watched.master.cont()
    ask(watched.master.port, "PUBLISH", "cache:1", "lost")
    ask(watched.master.port, "REPLICAOF", "127.0.0.1", watched.replica.port)
    ear.until(lambda: ear.causes == ["start", "role"])
    ask(watched.replica.port, "PUBLISH", "cache:1", "heard")
    ear.until(lambda: ear.messages)
    deaf.turn_for(2 * DEADLINE)
    assert deaf.causes == ["start"]

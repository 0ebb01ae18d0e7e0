"""sideline.py: questions beside a subscription, asked without holding anybody up."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import redis

from invalidator.topology.models import RedisSettings
from invalidator.wire.connection import Refused
from invalidator.wire.hub import Hub
from invalidator.wire.route import route_to
from invalidator.wire.sideline import MOST_WAITING, Answered, Sideline
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from invalidator.wire.identity import Command
    from tests.support.stores import RedisServer

Outcomes = list[Answered | Refused]


@pytest.fixture
def sideline(server: RedisServer) -> Iterator[Callable[..., Sideline]]:
    made: list[Sideline] = []

    def make(max_age: float = 60.0) -> Sideline:
        settings = RedisSettings.model_validate(
            {"url": server.url, "heartbeat": {"interval": "100ms", "deadline": "300ms"}}
        )
        woken = threading.Event()
        made.append(Sideline(Hub(route_to(settings), "aside", max_age), woken.set))
        return made[-1]

    yield make
    for one in made:
        one.close()


def answer(sideline: Sideline, *commands: tuple[str, ...]) -> Answered | Refused:
    outcomes: Outcomes = []
    assert sideline.ask(commands, outcomes.append)
    return first(sideline, outcomes)


def first(sideline: Sideline, outcomes: Outcomes) -> Answered | Refused:
    def turned() -> Outcomes:
        sideline.turn()
        return outcomes

    return wait_until(turned)[0]


def test_replies_come_in_order_and_an_error_stands_in_its_place(sideline: Callable[..., Sideline]) -> None:
    outcome = answer(sideline(), ("SET", "a", "1"), ("LPUSH", "a", "x"), ("GET", "a"))

    assert isinstance(outcome, Answered)
    assert outcome.replies[0] == b"OK"
    assert isinstance(outcome.replies[1], redis.ResponseError)
    assert outcome.replies[2] == b"1"


def test_who_has_answered_is_known_by_its_run_and_role(server: RedisServer, sideline: Callable[..., Sideline]) -> None:
    outcome = answer(sideline(), ("INFO", "server"))

    assert isinstance(outcome, Answered)
    assert isinstance(outcome.replies[0], bytes)
    assert f"run_id:{outcome.server.run_id}".encode() in outcome.replies[0]
    assert outcome.server.role == "master"
    assert outcome.server.client_id > 0


def test_a_server_that_comes_back_is_another_one(server: RedisServer, sideline: Callable[..., Sideline]) -> None:
    asking = sideline()
    before = answer(asking, ("PING",))
    server.kill()
    assert isinstance(answer(asking, ("PING",)), Refused)
    server.start()
    after = answer(asking, ("PING",))

    assert isinstance(before, Answered)
    assert isinstance(after, Answered)
    assert before.server.run_id != after.server.run_id


def test_a_connection_that_has_grown_old_is_opened_anew(sideline: Callable[..., Sideline]) -> None:
    old, young = sideline(), sideline(max_age=0.0)

    def clients(one: Sideline) -> set[object]:
        outcomes = [answer(one, ("CLIENT", "ID")) for _ in range(3)]
        return {outcome.replies[0] for outcome in outcomes if isinstance(outcome, Answered)}

    assert len(clients(old)) == 1
    assert len(clients(young)) == 3


def test_a_redis_that_hangs_holds_nobody_up_and_what_waits_is_bounded(
    server: RedisServer, sideline: Callable[..., Sideline]
) -> None:
    asking = sideline()
    outcomes: Outcomes = []
    server.stop()
    try:
        taken = sum(asking.ask([("PING",)], outcomes.append) for _ in range(2 * MOST_WAITING))
        asking.turn()
        assert taken == MOST_WAITING
        assert outcomes == []
        assert isinstance(first(asking, outcomes), Refused)
    finally:
        server.cont()


class Counted(Hub):
    """Counts the exchanges, and what was asked in each."""

    def exchange(self, commands: Sequence[Command]) -> tuple[object, ...]:
        self.exchanges = [*getattr(self, "exchanges", []), len(commands)]
        return super().exchange(commands)


def test_what_is_not_urgent_goes_out_together_and_only_news_of_it_wake_the_loop(server: RedisServer) -> None:
    settings = RedisSettings.model_validate({"url": server.url})
    hub, wakes = Counted(route_to(settings), "aside", 60.0), threading.Semaphore(0)
    one = Sideline(hub, wakes.release)
    outcomes: Outcomes = []

    def ask(*names: str, urgent: bool = False) -> None:
        asked = len(outcomes) + len(names)
        for name in names:
            one.ask([(name,)], outcomes.append, urgent=urgent)
        one.hand_over()
        wait_until(lambda: len(outcomes) + len(one._outcomes) == asked)
        one.turn()

    try:
        ask("PING", "TIME")
        assert wakes.acquire(timeout=5), "who has answered is news"
        assert hub.exchanges == [2]
        ask("PING", "TIME")
        ask("NOSUCH")
        assert wakes.acquire(timeout=5)
        assert not wakes.acquire(blocking=False), "only the refusal: what is as it was can wait"
        ask("PING", urgent=True)
        assert wakes.acquire(timeout=5), "the control: who is in a hurry is told at once"
    finally:
        one.close()
        one.wait(5)

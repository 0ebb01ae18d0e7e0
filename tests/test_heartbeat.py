"""heartbeat.py: what keeps a connection proven, and when it is not. Pure, so time is a number."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.subscription.audit import Audit
from invalidator.subscription.heartbeat import COMPANY, LONGEST_REST, Echoes, Path, Silence, Verdict
from invalidator.wire.identity import Identity

INTERVAL, DEADLINE = 1.0, 3.0
OURS = Identity("ours", "master", 7)
OTHER = Identity("other", "master", 9)
REPLICA = Identity("replica", "slave", 9)


def echoes(path: Path = "one server", ours: Identity = OURS) -> Echoes:
    return Echoes(INTERVAL, DEADLINE, path, ours, 0.0)


@dataclass
class Asked:
    last_byte: float
    asked: float
    now: float
    dead: bool


@pytest.mark.parametrize(
    "case",
    [
        Asked(last_byte=0.0, asked=9.0, now=10.0, dead=False),  # it was stopped, and has only just asked
        Asked(last_byte=0.0, asked=9.0, now=11.0, dead=True),
        Asked(last_byte=0.0, asked=1.0, now=2.9, dead=False),
        Asked(last_byte=0.0, asked=1.27, now=3.0, dead=True),  # the PING was a little late, the verdict is not
    ],
)
def test_a_connection_is_silent_when_nothing_came_though_it_was_asked_for_in_time(case: Asked) -> None:
    silence = Silence(INTERVAL, DEADLINE, case.last_byte)
    silence.confirmed()
    assert silence.verdict(case.now) is None, "nothing was asked for"
    silence.pinged(case.asked)
    assert (silence.verdict(case.now) is not None) == case.dead


def test_an_echo_that_comes_in_time_spares_a_ping() -> None:
    silence = Silence(INTERVAL, DEADLINE, 0.0)
    assert not silence.ping_due(INTERVAL * 1.2)
    assert silence.ping_due(INTERVAL * 1.25)


def test_an_echo_is_missed_only_behind_an_answer_that_comes_after_it() -> None:
    ours = echoes()
    ours.asked("a", 0.0)
    assert ours.taken("a", 0.0, 1, OURS) is None
    assert not ours.wants_fence(1.9)
    assert ours.wants_fence(2.0)
    ours.fenced(5)
    assert ours.verdict(4) is None, "that PONG may have overtaken the echo"
    assert ours.verdict(5) == Verdict("deadline", "what is published is not heard here, 2.0 s later")
    ours.heard("a")
    assert ours.verdict(5) is None


@pytest.mark.parametrize(
    ("receivers", "by", "path", "ours", "fence", "cause"),
    [
        (0, OURS, "one server", OURS, 0.0, "deadline"),  # Redis says so itself
        (1, OURS, "one server", OURS, 2.0, "deadline"),
        (0, OTHER, "one server", OURS, 1.0, "role"),  # another server: it may be heard here all the same
        (0, OTHER, "relayed", OURS, 2.0, "deadline"),  # in a Cluster it should be
        (0, OTHER, "one server", REPLICA, 2.0, "deadline"),  # and by the replica of who has taken it
        (0, Identity(), "one server", OURS, 2.0, "deadline"),  # nobody may say who is who
        (0, OTHER, "one server", Identity(), 2.0, "deadline"),
    ],
)
def test_how_long_an_echo_may_take_depends_on_who_has_taken_it(
    receivers: int, by: Identity, path: Path, ours: Identity, fence: float, cause: str
) -> None:
    one = echoes(path, ours)
    one.asked("a", 0.0)
    assert one.taken("a", 0.0, receivers, by) is None
    assert not one.wants_fence(fence - 0.01)
    assert one.wants_fence(fence)
    one.fenced(2)
    verdict = one.verdict(2)
    assert verdict
    assert verdict.cause == cause


def test_another_master_by_sentinels_word_is_a_verdict_heard_or_not() -> None:
    one = echoes("named")
    one.asked("a", 0.0)
    one.heard("a")
    verdict = one.taken("a", 0.0, 1, OTHER)
    assert verdict
    assert verdict.cause == "role"


def test_publishers_that_have_moved_away_are_a_verdict_and_an_id_that_nobody_knows_is_none() -> None:
    moved, proxied = echoes(), echoes()
    for one, first in ((moved, OURS), (proxied, OTHER)):
        one.asked("a", 0.0)
        assert one.taken("a", 0.0, 1, first) is None
        one.heard("a")
        one.asked("b", 1.0)
    assert moved.taken("b", 1.0, 1, OTHER) is not None
    assert proxied.taken("b", 1.0, 1, Identity("a third", "master")) is None


def test_a_replica_that_takes_an_echo_proves_nothing_of_another_server() -> None:
    assert echoes().proves_nothing(REPLICA)
    assert not echoes(ours=REPLICA).proves_nothing(REPLICA)
    assert not echoes("relayed").proves_nothing(REPLICA)


def test_a_server_that_refuses_us_is_asked_ever_more_seldom() -> None:
    one = echoes()
    now, waits = 0.0, []
    for number in range(12):
        one.asked(str(number), now)
        one.refused(str(number), now, auth=True)
        assert not one.due(now)
        wait = round(one.next_due(now) - INTERVAL * COMPANY, 6)
        waits.append(wait)
        now += wait + 1e-6
        assert one.due(now)
    assert waits == sorted(waits)
    assert waits[0] == 2 * INTERVAL
    assert waits[-1] == LONGEST_REST


events = st.lists(
    st.tuples(st.floats(0.0, 5.0), st.sampled_from(["turn", "taken", "heard", "stop", "pong"])), max_size=80
)


@given(events, st.sampled_from(["one server", "named", "relayed"]))
def test_a_path_on_which_every_echo_comes_before_its_pong_is_never_condemned(
    steps: list[tuple[float, str]], path: Path
) -> None:
    """However late anything is: stops of ours, answers that take for ever, PONGs at any time after their PINGs."""
    one = echoes(path)
    now, number, pings, pongs = 0.0, 0, 1, 1
    published: list[str] = []
    for wait, event in steps:
        now += wait
        if event == "turn":
            if one.due(now):
                number += 1
                one.asked(str(number), now)
                published.append(str(number))
            if one.wants_fence(now):
                pings += 1
                one.fenced(pings)
        elif event == "taken" and published:
            assert one.taken(published[-1], now, 1, OURS) is None
        elif event in ("heard", "pong"):
            for nonce in published:  # in the order of the connection: echoes first, then the PONGs behind them
                one.heard(nonce)
            published.clear()
            pongs = pings if event == "pong" else pongs
        assert one.verdict(pongs) is None


@given(st.floats(0.01, 10.0), st.floats(0.0, 0.24))
def test_a_path_that_breaks_is_found_within_the_deadline_and_a_turn(interval: float, late: float) -> None:
    deadline = interval * 3
    one = Echoes(interval, deadline, "one server", OURS, 0.0)
    now = late * interval
    assert one.due(now)
    one.asked("a", now)  # the path broke at 0.0; nothing will be heard
    assert one.taken("a", now, 1, OURS) is None
    while not one.wants_fence(now):
        wait = one.next_due(now)
        assert wait < float("inf"), "it would never be judged"
        now += wait + 1e-9
    one.fenced(2)
    assert one.verdict(2) is not None
    assert now <= deadline + 1e-6


# The audit.


def line(**words: object) -> bytes:
    return " ".join(f"{name}={value}" for name, value in words.items()).encode() + b"\n"


@pytest.mark.parametrize(
    ("pattern", "reply", "wrong"),
    [
        ("cache:*", line(id=7, name="x", sub=1, psub=1), ""),
        ("cache:*", line(id=6, psub=0) + line(id=7, sub=1, psub=2), ""),
        ("cache:*", line(id=7, sub=1, psub=0), "CLIENT LIST shows this connection with psub=0"),
        ("cache:x", line(id=7, sub=0, psub=0), "CLIENT LIST shows this connection with sub=0"),
        ("cache:*", b"", "CLIENT LIST does not show this connection"),
        ("cache:*", line(id=71, psub=1), "CLIENT LIST does not show this connection"),
        ("cache:*", line(id=7), ""),  # a server that does not say
    ],
)
def test_client_list_shows_whether_the_subscription_is_there(pattern: str, reply: bytes, wrong: str) -> None:
    audit = Audit(OURS, pattern)
    question = audit.question()
    assert question == ("CLIENT", "LIST", "ID", 7)
    assert audit.finding(question, reply, OURS) == wrong
    assert audit.finding(question, reply, OTHER) == "", "another server knows nothing of it"


def test_a_channel_is_not_taken_for_there_because_the_echos_is() -> None:
    audit = Audit(OURS, "cache:x")
    audit.joined("invalidator:echo:1")
    question = audit.question()
    assert question
    assert audit.finding(question, line(id=7, sub=2, psub=0), OURS) == ""
    assert audit.finding(question, line(id=7, sub=1, psub=0), OURS) == "CLIENT LIST shows this connection with sub=1"


@pytest.mark.parametrize(
    ("pattern", "question", "none", "some"),
    [
        ("cache:*", ("PUBSUB", "NUMPAT"), 0, 3),
        ("cache:x", ("PUBSUB", "NUMSUB", "cache:x"), [b"cache:x", 0], [b"cache:x", 1]),
    ],
)
def test_where_client_list_is_refused_subscriptions_are_counted_and_then_nothing_is_asked(
    pattern: str, question: tuple[str, ...], none: object, some: object
) -> None:
    audit = Audit(OURS, pattern)
    first = audit.question()
    assert first
    assert audit.finding(first, Exception("NOPERM"), OURS) == ""
    assert audit.question() == question
    assert audit.finding(question, some, OURS) == ""
    assert audit.finding(question, none, OURS) == f"PUBSUB counts no subscription to {pattern}"
    assert audit.finding(question, Exception("NOPERM"), OURS) == ""
    assert audit.question() is None


def test_a_server_that_has_no_name_is_not_audited() -> None:
    assert Audit(Identity(client_id=7), "cache:*").question() is None

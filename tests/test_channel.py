"""channel.py, pipeline/tap.py: what a worker and its supervisor say to each other, and that neither ever waits."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from invalidator import Batch, Failure, Invalidation, PurgeResult, Target
from invalidator.channel import (
    LONGEST_TEXT,
    MOST_TARGETS,
    Channel,
    Dropped,
    Heard,
    LaneReport,
    Orders,
    Outcome,
    Subscription,
    pair,
)
from invalidator.lanes.policy import Policy
from invalidator.messages import Message, Receipt
from invalidator.pipeline.tap import MOST_A_SECOND, Tap
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.channel import Packet

PACKETS: list[Packet] = [
    Orders(paused=True),
    Subscription(at=1.0, live=False, reason="unreachable", detail="refused"),
    LaneReport(backend="b", breaker="open", breaker_since=2.0),
    Dropped(worker="w", count=3),
]


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other = pair()
    yield one, other
    one.close()
    other.close()


def heard(channel: Channel) -> list[Packet]:
    return list(channel.receive(10_000))


def test_what_one_end_says_the_other_hears_in_order(ends: tuple[Channel, Channel]) -> None:
    assert all(ends[0].send(packet) for packet in PACKETS)

    assert heard(ends[1]) == PACKETS


def test_nobody_waits_for_an_end_that_does_not_listen(ends: tuple[Channel, Channel]) -> None:
    started = time.monotonic()
    accepted = 0
    while ends[0].send(PACKETS[1]):
        accepted += 1

    assert 0 < accepted < 100_000
    assert time.monotonic() - started < 5
    assert len(heard(ends[1])) == accepted, "what was taken is there, the rest was refused"


def test_an_end_that_has_gone_is_noticed_and_told_nothing(ends: tuple[Channel, Channel]) -> None:
    ends[0].close()

    assert not ends[1].send(PACKETS[0])
    assert heard(ends[1]) == []
    assert ends[1].closed


@pytest.mark.parametrize("garbage", [b"{", b"\x80\x04pickle", b'{"what":"nothing"}', b"[" * 30_000, b"\xff" * 9])
def test_garbage_is_ignored_and_what_follows_is_heard(garbage: bytes) -> None:
    raw, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(end)
    raw.send(garbage)
    raw.send(b'{"what":"orders","paused":true}')

    assert heard(channel) == [Orders(paused=True)]
    raw.close()
    channel.close()


def message(*targets: Target) -> tuple[Message, Invalidation]:
    return Message(b"cache:\xff", b""), Invalidation(targets, id="7")


def tapped(channel: Channel) -> Tap:
    tap = Tap(channel, "users")
    tap.on = True
    return tap


def test_a_tap_says_what_was_heard_shortened_to_what_a_person_reads(ends: tuple[Channel, Channel]) -> None:
    targets = [Target("key", "k" * 5_000)] * (MOST_TARGETS + 2)
    tapped(ends[0]).heard(*message(*targets))
    (line,) = heard(ends[1])

    assert isinstance(line, Heard)
    assert (line.channel, line.worker, line.id, line.more) == ("cache:\\xff", "users", "7", 2)
    assert line.targets == (("key", "k" * LONGEST_TEXT),) * MOST_TARGETS


def test_a_tap_says_what_became_of_each_target(ends: tuple[Channel, Channel]) -> None:
    good, late, bad, off = (Target("key", name) for name in ("good", "late", "bad", "off"))
    result = PurgeResult((Failure(late, "timeout"), Failure(bad, "rejected", retry=False)), deferred=(off,))
    batch = Batch(worker="users", backend="edge", keys=("good", "late", "bad", "off"), deadline=0.0)
    tapped(ends[0]).done("node:1", Receipt(batch, result, 0.5))
    lines = {line.end: line for line in heard(ends[1]) if isinstance(line, Outcome)}

    assert {end: (line.targets, line.reason) for end, line in lines.items()} == {
        "purged": ((good,), ""),
        "failed": ((late,), "timeout"),
        "dead": ((bad,), "rejected"),
        "deferred": ((off,), ""),
    }
    assert {(line.node, line.backend, line.seconds) for line in lines.values()} == {("node:1", "edge", 0.5)}


def test_a_tap_says_that_a_message_was_rejected_and_where_a_kind_is_skipped(ends: tuple[Channel, Channel]) -> None:
    key, tag = Target("key", "users:1"), Target("tag", "users")
    lanes = [Policy("users", "objects", frozenset({"key"})), Policy("users", "near")]
    tap = Tap(ends[0], "users", lanes)
    tap.heard(Message(b"cache:x", b"{"), Invalidation((), rejected=("json", "json")))
    tap.heard(*message(key, tag))
    refused, _, skipped = heard(ends[1])  # and no line for the lane that purges both

    assert isinstance(refused, Heard)
    assert (refused.targets, refused.rejected) == ((), ("json",))
    assert isinstance(skipped, Outcome)
    assert (skipped.backend, skipped.end, skipped.targets) == ("objects", "skipped", (tag,))


def test_what_was_dropped_is_told_though_nothing_comes_any_more(ends: tuple[Channel, Channel]) -> None:
    tap = tapped(ends[0])
    for _ in range(2 * MOST_A_SECOND + 1):  # of two seconds, one has too many
        tap.heard(*message(Target("key", "k")))
    lines: list[Packet] = []

    def told() -> bool:
        tap.turn()
        lines.extend(heard(ends[1]))
        return any(isinstance(line, Dropped) for line in lines)

    wait_until(told, 5)


def test_a_flood_of_messages_leaves_room_for_what_became_of_them(ends: tuple[Channel, Channel]) -> None:
    tap = tapped(ends[0])
    lines: list[Packet] = []
    for _ in range(MOST_A_SECOND + 1):
        tap.heard(*message(Target("key", "k")))
        lines += heard(ends[1])
    tap.done("", Receipt(Batch(worker="users", backend="b", keys=("k",), deadline=0.0), PurgeResult(), 0.1))
    lines += heard(ends[1])

    assert isinstance(lines[-1], Outcome)


def test_a_tap_that_is_off_says_nothing(ends: tuple[Channel, Channel]) -> None:
    tap = Tap(ends[0], "users")
    tap.done("", Receipt(Batch(worker="w", backend="b", keys=("k",), deadline=0.0), PurgeResult(), 0.1))

    assert heard(ends[1]) == []


def test_what_comes_too_fast_for_an_onlooker_is_dropped_and_counted(ends: tuple[Channel, Channel]) -> None:
    tap = tapped(ends[0])
    lines: list[Packet] = []
    spoken = 0

    def counted() -> int:
        nonlocal spoken
        for _ in range(MOST_A_SECOND):
            tap.heard(*message(Target("key", "k")))
        spoken += MOST_A_SECOND
        lines.extend(heard(ends[1]))
        return sum(line.count for line in lines if isinstance(line, Dropped))

    wait_until(lambda: counted() > MOST_A_SECOND, 5)

    said = sum(isinstance(line, Heard) for line in lines)
    assert said < spoken, "not everything was said"
    assert said + counted() <= spoken, "and what was not has been counted, but for what is not yet told"

"""Many replies at once: what a connection brings is the same in whatever pieces it comes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invalidator.messages import Gap, Message, Messages
from invalidator.subscription.inbox import BITE, Inbox
from invalidator.wire.identity import ECHO
from tests.support.ear import Ear
from tests.support.ear import settings as heard_from
from tests.support.payloads import BARE

if TYPE_CHECKING:
    from collections.abc import Sequence


CHANNEL = st.sampled_from([b"cache:a", b"cache:b\r\n$1\r\nx"])
SAID = st.one_of(
    BARE, st.sampled_from([b"\r\n", b"*4\r\n$8\r\npmessage\r\n$7\r\ncache:*\r\n", b"$5\r\nhello\r\n", b"", b"0"])
)
REPLY = st.one_of(
    st.tuples(st.just(b"pmessage"), st.just(b"cache:*"), CHANNEL, SAID),
    st.tuples(st.just(b"pmessage"), st.just(b"cache:*"), CHANNEL, SAID),
    st.tuples(st.just(b"message"), CHANNEL, SAID),
    st.tuples(st.just(b"pong"), SAID),
    st.sampled_from([b"PONG", b"four", 0, 1, None, ()]),
)


def on_the_wire(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n%s" % (len(reply), b"".join(map(on_the_wire, reply)))


class Wire:
    """A Link that brings these chunks."""

    gives_all = False

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = list(chunks)

    def read(self) -> bytes | None:
        return self._chunks.pop(0) if self._chunks else None


def parsed(chunks: Sequence[bytes], errors: type[Exception] | tuple[()] = ()) -> list[Any]:
    inbox = Inbox()
    inbox.absorb(Wire(chunks), 0.0)  # type: ignore[arg-type]
    replies: list[Any] = []
    try:
        for some in inbox.replies():
            replies.extend(some)
    except errors:
        replies.append("garbage")
    return replies


@given(st.lists(REPLY, max_size=12), st.lists(st.integers(1, 40), max_size=40))
@settings(max_examples=100)
def test_replies_are_the_same_in_whatever_pieces_they_come(replies: list[Any], cuts: list[int]) -> None:
    data, chunks = b"".join(map(on_the_wire, replies)), []
    for cut in cuts:
        chunks.append(data[:cut])
        data = data[cut:]
    got = parsed([chunk for chunk in [*chunks, data] if chunk])
    assert got == [list(reply) if isinstance(reply, tuple) else reply for reply in replies]


def test_a_chunk_of_many_bites_has_every_reply_whole_and_one_that_is_longer_than_a_bite() -> None:
    said = [(b"pmessage", b"cache:*", b"cache:a", b"%d" % number * (number % 90)) for number in range(1500)]
    said[700] = (b"pmessage", b"cache:*", b"cache:a", b"x" * 3 * BITE)
    data = b"".join(map(on_the_wire, said))
    assert len(data) > 8 * BITE
    assert parsed([data]) == [list(reply) for reply in said]
    assert parsed([data[:BITE], data[BITE:]]) == [list(reply) for reply in said]


def test_what_came_before_garbage_is_handed_on() -> None:
    said = on_the_wire((b"pmessage", b"cache:*", b"cache:a", b"x"))
    assert parsed([said + said + b"?what\r\n" + said], hiredis.HiredisError) == [
        [b"pmessage", b"cache:*", b"cache:a", b"x"]
    ] * 2 + ["garbage"]
    with pytest.raises(hiredis.HiredisError, match=re.compile(".")):
        parsed([b"?what\r\n"])


@pytest.mark.parametrize("pattern", ["cache:*", "*"])
def test_what_comes_after_a_confirmation_is_handed_on_after_its_gap_and_echoes_never(pattern: str) -> None:
    ear = Ear(heard_from("redis://127.0.0.1:1"), pattern)
    ear.subscriber.state = "confirming"
    said = [(b"pmessage", pattern.encode(), b"cache:a", b"%d" % number) for number in (1, 2)]
    echo = (b"pmessage", pattern.encode(), ECHO.encode() + b"x", b"3")
    heard = [echo] * (pattern == "*")  # nobody else is told of them
    replies = [*heard, said[0], (b"psubscribe", pattern.encode(), 1), *heard, said[1]]
    ear.subscriber._inbox.absorb(Wire([b"".join(map(on_the_wire, replies))]), 0.0)  # type: ignore[arg-type]
    before, gap, after = ear.subscriber._parse(0.0)
    assert isinstance(gap, Gap)
    assert [list(messages) for messages in (before, after) if isinstance(messages, Messages)] == [
        [Message(b"cache:a", b"1")],
        [Message(b"cache:a", b"2")],
    ]
    ear.close()

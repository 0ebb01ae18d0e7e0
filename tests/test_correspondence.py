"""correspondence.py: receipts are few, bounded and about what was asked, whoever asks for them."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator import Invalidation, Target
from invalidator.lanes.replies import Fate
from invalidator.pipeline import attendance, correspondence
from invalidator.pipeline.correspondence import AT_ONCE, MOST_A_SECOND, MOST_OPEN, Correspondence, End, verdict
from invalidator.pipeline.decoder import decode
from invalidator.presence import INDEX, Presence
from invalidator.presence import read as read_presence
from invalidator.presence import written as presence_written
from invalidator.publisher import waiting
from invalidator.reply import LONGEST, OUTCOMES, PREFIX, Reply, is_answered, read, written
from invalidator.wire.identity import Identity
from invalidator.wire.sideline import Answered
from tests.support.environments import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.wire.connection import Refused
    from invalidator.wire.identity import Command
    from invalidator.wire.sideline import Sideline

HERE = Presence("host", "users", "1a2b3c4d", "cache:*", ("objects", "edge"))
CHANNEL = f"{PREFIX}x"
MESSAGE = Invalidation((Target("key", "users:42"),), id="m", reply=CHANNEL)
PURGED = Fate("purged", 10.0)


class Asked:
    """Takes what a sideline is asked for; `answer` is the moment at which Redis does."""

    def __init__(self) -> None:
        self.requests: list[Sequence[Command]] = []
        self.full = False
        self._then: list[Callable[[Answered | Refused], None]] = []

    def ask(self, commands: Sequence[Command], then: Callable[[Answered | Refused], None]) -> bool:
        if self.full:
            return False
        self.requests.append(commands)
        self._then.append(then)
        return True

    def answer(self) -> None:
        while self._then:
            self._then.pop(0)(Answered((1,), 0.0, Identity()))

    @property
    def published(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (str(channel), json.loads(cast("bytes", data))) for request in self.requests for _, channel, data in request
        ]


class Desk:
    """A correspondence of two lanes for the objects and one for the edge."""

    def __init__(self) -> None:
        self.asked = Asked()
        self.woken = 0
        self.letters = Correspondence(cast("Sideline", self.asked), HERE, self._wake)
        self.letters.follow(["objects", "objects", "edge"])

    def _wake(self) -> None:
        self.woken += 1

    def ended(self, backend: str, node: str = "", message: Invalidation = MESSAGE, fate: Fate = PURGED) -> None:
        self.letters.answer_of(backend)(node, message, fate, 10.5)
        self.letters.turn()

    def said(self) -> list[tuple[str, str]]:
        return [(one["backend"], one["outcome"]) for _, one in self.asked.published]


def test_a_backend_with_several_servers_answers_once_all_of_them_have() -> None:
    desk = Desk()
    desk.ended("objects", "a:1")
    desk.ended("objects", "a:1")
    assert desk.said() == []
    desk.ended("objects", "b:1")
    assert desk.said() == [("objects", "purged")]
    assert desk.woken == 3


def test_the_worst_is_said_and_of_which_server_it_is_true() -> None:
    desk = Desk()
    desk.ended("objects", "a:1", fate=Fate("dead", 10.0, "rejected"))
    desk.ended("objects", "b:1", fate=Fate("flushed", 10.0))
    ((channel, receipt),) = desk.asked.published
    assert channel == CHANNEL
    assert (receipt["outcome"], receipt["reason"], receipt["node"]) == ("dead", "rejected", "a:1")
    assert receipt["seconds"] == 0.5
    assert {receipt[name] for name in ("host", "worker", "instance")} == {"host", "users", "1a2b3c4d"}


def test_what_is_read_again_from_the_journal_is_not_answered_again() -> None:
    desk = Desk()
    for _ in range(3):
        desk.ended("edge", message=replace(MESSAGE, journal="1-0"))
        desk.asked.answer()
    assert desk.said() == [("edge", "purged")]
    for journal in ("2-0", "", ""):  # while whoever tries again is
        desk.ended("edge", message=replace(MESSAGE, journal=journal))
        desk.asked.answer()
    assert len(desk.said()) == 4


def test_one_request_is_under_way_at_a_time_and_takes_what_has_gathered() -> None:
    desk = Desk()
    for number in range(50):
        desk.ended("edge", message=Invalidation(MESSAGE.targets, id=str(number), reply=CHANNEL))
    assert len(desk.asked.requests) == 1
    desk.asked.answer()
    desk.letters.turn()
    assert [len(request) for request in desk.asked.requests] == [1, 49]


def test_a_flood_of_messages_that_want_an_answer_is_answered_within_a_bound() -> None:
    desk = Desk()
    began = int(time.monotonic())
    for number in range(50_000):
        desk.ended("edge", message=replace(MESSAGE, id=str(number), reply=f"{PREFIX}{number}", journal="1-0"))
        desk.asked.answer()
    seconds = int(time.monotonic()) - began + 1
    assert sum(map(len, desk.asked.requests)) <= seconds * MOST_A_SECOND
    assert max(map(len, desk.asked.requests)) <= AT_ONCE
    assert len(desk.letters._ready) <= MOST_OPEN
    assert len(desk.letters._answered) <= MOST_OPEN
    assert desk.letters.dropped > 0
    assert desk.letters.next_due() > 0.01, "and the loop does not spin until the second is over"


def test_messages_that_never_end_everywhere_are_bounded() -> None:
    desk = Desk()
    for number in range(5 * MOST_OPEN):
        desk.ended("objects", "a:1", message=Invalidation(MESSAGE.targets, id=str(number), reply=CHANNEL))
    assert len(desk.letters._open) <= MOST_OPEN


def test_a_sideline_that_is_full_costs_receipts_and_nothing_else() -> None:
    desk = Desk()
    desk.asked.full = True
    desk.ended("edge")
    assert (desk.said(), desk.letters.dropped) == ([], 1)
    desk.asked.full = False
    desk.ended("edge", message=Invalidation(MESSAGE.targets, id="n", reply=CHANNEL))
    assert desk.said() == [("edge", "purged")]


def test_a_stop_says_everything_even_while_an_answer_is_awaited() -> None:
    desk = Desk()
    for number in range(3 * AT_ONCE):
        desk.ended("edge", message=Invalidation(MESSAGE.targets, id=str(number), reply=CHANNEL))
    desk.letters.stop()
    assert len(desk.said()) == 3 * AT_ONCE


def test_what_is_not_taken_at_all_is_answered_for_every_backend() -> None:
    desk = Desk()
    desk.letters.declined(MESSAGE, "rejected", "no_target")
    desk.letters.turn()
    assert desk.said() == [("objects", "rejected"), ("edge", "rejected")]


def test_a_target_that_was_rejected_outweighs_what_was_purged_and_not_what_was_lost_too() -> None:
    partly = Invalidation(MESSAGE.targets, rejected=("not_allowed",))
    assert verdict(partly, [End("purged")]) == End("rejected", "not_allowed")
    assert verdict(MESSAGE, [End("purged")]) == End("purged")


@pytest.mark.parametrize(
    "channel",
    ["", "invalidator:reply", PREFIX, "cache:users:x", f" {CHANNEL}", f"{PREFIX}a\r\nPUBLISH x y", f"{PREFIX}\x00",
     f"{PREFIX}\ud800", PREFIX + "x" * 500],
)  # fmt: skip
def test_no_message_makes_a_worker_publish_where_it_likes(channel: str) -> None:
    assert is_answered(CHANNEL)
    assert not is_answered(channel)
    desk = Desk()
    desk.ended("edge", message=Invalidation(MESSAGE.targets, id="m", reply=channel))
    assert desk.asked.requests == []


@given(
    st.builds(
        Reply,
        id=st.text(),
        host=st.text(max_size=64),
        worker=st.text(max_size=64),
        instance=st.text(max_size=8),
        backend=st.text(max_size=64),
        outcome=st.sampled_from(OUTCOMES),
        reason=st.text(),
        node=st.text(),
        at=st.floats(0, 4e9),
        seconds=st.floats(0, 1e6),
        journal=st.text(),
    )
)
def test_a_receipt_is_read_as_it_was_written_and_is_never_long(said: Reply) -> None:
    data = written(said)
    assert len(data) <= LONGEST
    again = read(data)
    assert again is not None
    assert (again.id, again.outcome, again.backend) == (said.id[:255], said.outcome, said.backend)


@given(st.binary(max_size=100) | st.sampled_from([b"[" * 3000, b"{}", b'{"id":1}', b"x" * 5000, b"null", b'"a"', b"1"]))
def test_what_is_no_receipt_and_no_presence_is_neither(data: bytes) -> None:
    assert read(data) is None
    assert read_presence(data) is None


def test_a_presence_is_read_as_it_was_written() -> None:
    assert read_presence(presence_written(HERE, {"pid": 7})) == HERE
    for wrong in (
        b'{"v":2}',
        presence_written(HERE, {"v": 2}),
        presence_written(HERE, {"backends": [1]}),
        b"x" * 20_000,
    ):
        assert read_presence(wrong) is None


def test_the_page_for_publishers_says_what_is_so() -> None:
    page = (REPOSITORY / "docs" / "publishing.md").read_text()
    granted = {word for rights in (attendance.RIGHTS, correspondence.RIGHTS, waiting.RIGHTS) for word in rights.split()}
    assert [word for word in granted if word not in page] == []
    assert [outcome for outcome in OUTCOMES if f"`{outcome}`" not in page] == []
    message, receipt = (json.loads(text) for text in re.findall(r"```(?:json)?\n(\{.*?\})\n```", page, re.DOTALL))
    assert decode(json.dumps(message).encode(), ["key"], 8192).reply == message["reply"]
    assert is_answered(message["reply"])
    assert read(json.dumps(receipt).encode()) is not None
    assert f"ZRANGE {INDEX} 0 -1" in page
    assert f"GET {Presence('web-3', 'users', '58fc2ed7').key}" in page

"""reading.py: what a look at a real Stream means for a position in it, whatever has been done to the Stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invalidator.journal.entry import EntryId, parse_entry, parse_id
from invalidator.journal.position import NOTHING_YET, OLDEST, Position
from invalidator.journal.reading import Chunk, Unreadable, ask_end, ask_from, end_of, judge, seen
from invalidator.messages import Message
from invalidator.wire.identity import exchange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.messages import JournalBreak
    from invalidator.wire.identity import Command
    from tests.conftest import MakeRedis

COUNT = 4


class Journal:
    """A Stream `j` in a Redis, and what a user of it sees."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.connection = client.connection_pool.get_connection()
        self.hides_info = False

    def add(self, *ids: str) -> None:
        for at in ids:
            self.client.xadd("j", {"channel": "c", "payload": at}, id=at)

    def judge(self, position: Position, count: int = COUNT) -> Chunk | JournalBreak:
        look = seen(self._replies(ask_from("j", position, count)))
        assert not isinstance(look, Unreadable)
        return judge(position, look, count)

    def end(self) -> Position:
        look = seen(self._replies(ask_end("j")))
        assert not isinstance(look, Unreadable)
        return end_of(look)

    def read(self, position: Position) -> list[str] | JournalBreak:
        """The ids of all entries behind the position, chunk by chunk."""
        found: list[str] = []
        while True:
            chunk = self.judge(position)
            if not isinstance(chunk, Chunk):
                return chunk
            found += [str(entry.id) for entry in chunk.entries]
            position = chunk.position
            if chunk.ends:
                return found

    def _replies(self, commands: Sequence[Command]) -> list[Any]:
        return [self._reply(*command) for command in commands]

    def _reply(self, *command: Any) -> Any:
        if self.hides_info and command[0] == "XINFO":
            return redis.ResponseError("NOPERM this user has no permissions to run the 'xinfo|stream' command")
        (reply,) = exchange(self.connection, [command])
        return reply


@pytest.fixture
def journal(redis_server: MakeRedis) -> Iterator[Journal]:
    with redis.Redis.from_url(redis_server().url, protocol=2) as client:
        yield Journal(client)
        client.connection_pool.disconnect()


def on(text: str) -> Position:
    at = parse_id(text)
    assert at is not None
    return Position(at)


def test_entries_come_chunk_by_chunk_and_the_one_that_it_stands_on_not_again(journal: Journal) -> None:
    journal.add(*(f"{number}-1" for number in range(1, 12)))

    assert journal.read(on("3-1")) == [f"{number}-1" for number in range(4, 12)]
    assert journal.read(OLDEST) == journal.read(NOTHING_YET) == [f"{number}-1" for number in range(1, 12)]
    assert journal.judge(on("11-1")) == Chunk((), on("11-1"), ends=True, last=on("11-1").at)
    assert journal.end() == on("11-1")


def test_what_is_read_is_the_message_and_the_rest_is_none(journal: Journal) -> None:
    journal.add("1-1")
    journal.client.xadd("j", {"other": "field"}, id="2-1")
    journal.client.xadd("j", {"payload": b"\xff", "channel": b"\xfe", "more": "x"}, id="3-1")
    chunk = journal.judge(OLDEST)

    assert isinstance(chunk, Chunk)
    assert [entry.message for entry in chunk.entries] == [Message(b"c", b"1-1"), None, Message(b"\xfe", b"\xff")]


def test_a_position_whose_entry_was_trimmed_or_deleted_is_lost_once_newer_ones_are_there(journal: Journal) -> None:
    journal.add("1-1", "2-1", "3-1")
    journal.client.xtrim("j", minid="3-1", approximate=False)
    assert journal.judge(on("2-1")) == "trimmed"
    journal.client.xdel("j", "3-1")
    assert journal.judge(on("3-1")) == Chunk((), on("3-1"), ends=True, last=on("3-1").at), (
        "nothing can have been missed yet"
    )
    journal.add("4-1")
    assert journal.judge(on("3-1")) == "trimmed"


def test_ids_that_have_gone_backwards(journal: Journal) -> None:
    journal.add("5-1")
    older = journal.client.dump("j")
    assert isinstance(older, bytes)
    journal.add("6-1")
    journal.client.restore("j", 0, older, replace=True)

    assert journal.judge(on("6-1")) == "backwards"
    assert journal.judge(Position(EntryId(6, 1), added=2)) == "backwards"
    assert journal.read(OLDEST) == ["5-1"]


@pytest.mark.parametrize("hides_info", [False, True])
def test_a_stream_that_is_gone(journal: Journal, hides_info: bool) -> None:
    journal.hides_info = hides_info
    journal.add("1-1")
    journal.client.delete("j")

    assert journal.judge(on("1-1")) == ("backwards" if hides_info else "deleted")
    assert journal.judge(NOTHING_YET) == Chunk((), NOTHING_YET, ends=True)
    assert journal.judge(OLDEST) == Chunk((), OLDEST if hides_info else NOTHING_YET, ends=True)
    assert journal.end() == (OLDEST if hides_info else NOTHING_YET)


def test_a_stream_that_was_made_anew_has_lost_what_was_in_it(journal: Journal) -> None:
    journal.add("1-1")
    journal.client.delete("j")
    journal.add("2-1")

    assert journal.judge(on("1-1")) == "trimmed"


def test_who_stood_where_nothing_was_notices_that_something_came_and_went(journal: Journal) -> None:
    journal.add("1-1", "2-1")
    assert journal.read(NOTHING_YET) == ["1-1", "2-1"]
    journal.client.xdel("j", "1-1")
    assert journal.read(NOTHING_YET) == "trimmed"
    journal.client.xdel("j", "2-1")
    empty = journal.end()
    assert empty == Position(EntryId(2, 1), added=2)
    assert journal.read(empty) == []
    journal.add("3-1", "4-1")
    assert journal.read(empty) == ["3-1", "4-1"]
    journal.client.xdel("j", "3-1")
    assert journal.read(empty) == "trimmed"
    journal.client.delete("j")
    assert journal.read(empty) == "deleted"


def test_an_entry_that_was_deleted_before_it_was_read_is_told_once(journal: Journal) -> None:
    journal.add("1-1", "2-1", "3-1", "4-1")
    journal.client.xdel("j", "3-1")
    look = seen(journal._replies(ask_from("j", on("1-1"), COUNT)))
    assert not isinstance(look, Unreadable)

    assert judge(on("1-1"), look, COUNT) == "trimmed"
    assert isinstance(judge(on("1-1"), look, COUNT, excused=look.deleted), Chunk)
    assert isinstance(journal.judge(on("4-1")), Chunk), "what was read before it was deleted is no loss"


def test_without_xinfo_whatever_has_an_entry_to_stand_on_is_as_exact(journal: Journal) -> None:
    journal.hides_info = True
    journal.add("1-1", "2-1")
    assert journal.read(on("1-1")) == ["2-1"]
    journal.client.xdel("j", "1-1")
    assert journal.judge(on("1-1")) == "trimmed"
    journal.client.xdel("j", "2-1")
    assert journal.judge(on("2-1")) == "backwards", "it cannot be told from a loss"
    assert journal.read(NOTHING_YET) == [], "the control: this is what XINFO is needed for"


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([redis.ResponseError("NOPERM this user has no permissions"), []], "denied"),
        ([redis.ResponseError("WRONGTYPE Operation against a key"), []], "wrong_type"),
        ([redis.ResponseError("LOADING Redis is loading"), []], "unavailable"),
        ([b"text", []], "unavailable"),
        ([[[b"x-y", []]], []], "unavailable"),
        ([[None], []], "unavailable"),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(replies: list[Any], reason: str) -> None:
    look = seen(replies)
    assert isinstance(look, Unreadable)
    assert look.reason == reason


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_nothing_is_ever_skipped_without_a_word(journal: Journal, data: st.DataObject) -> None:
    # Whoever reads gets all that came after the position, or is told of a break.
    journal.client.flushall()
    position, clock = journal.end(), 0
    unread: list[str] = []
    for _ in range(data.draw(st.integers(1, 12))):
        match data.draw(st.sampled_from(["add", "add", "read", "delete", "trim", "remove"])):
            case "add":
                clock += 1
                journal.add(f"{clock}-1")
                unread.append(f"{clock}-1")
            case "delete" if clock:
                journal.client.xdel("j", f"{data.draw(st.integers(1, clock))}-1")
            case "trim":
                journal.client.xtrim("j", maxlen=data.draw(st.integers(0, 3)), approximate=False)
            case "remove" if position.stands_on_entry:  # what came and went before the first look, nobody can know
                journal.client.delete("j")
            case "read":
                found = journal.judge(position, count=100)
                if not isinstance(found, Chunk):
                    return
                got = [str(entry.id) for entry in found.entries]
                assert got == unread
                unread = []
                position = found.position
            case _:
                pass


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
def test_an_id_is_read_back(ms: int, seq: int) -> None:
    assert parse_id(str(EntryId(ms, seq))) == EntryId(ms, seq)


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-1-1", "١-١", "1-1\n", f"{1 << 64}-0", 1, None, b"\xff-1"])
def test_what_is_no_id(text: object) -> None:
    assert parse_id(text) is None


@given(st.recursive(st.none() | st.integers() | st.binary(max_size=5), st.lists, max_leaves=6))
def test_no_reply_makes_it_stumble(reply: object) -> None:
    parse_entry(reply)
    seen([reply, reply])

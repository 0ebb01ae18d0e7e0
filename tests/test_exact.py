"""exact.py and what it is made of: lanes that read a journal, each guard with the mechanism switched off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from invalidator import BackendError
from invalidator.journal.reading import Chunk
from invalidator.replay.catch_up import CatchUp
from invalidator.replay.exact import Journaled
from invalidator.replay.reader import Reader
from invalidator.replay.tail import Tail
from tests.support.exact import Process, Store, keys
from tests.support.journals import STREAM
from tests.support.lanes import Inline
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.journals import Publisher
    from tests.support.stores import RedisServer


def test_a_lane_that_is_full_is_given_everything_later_and_the_others_do_not_wait(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    quick, slow = Store("quick"), Store("slow", well=False)
    worker = process(quick, slow, limit=10)
    last = publisher.add_each(*keys(0, 100))
    worker.until(lambda: set(quick.purged) == set(keys(0, 100)))
    worker.until(lambda: worker.behind() == ["slow"])
    assert worker.rigs[1].counts()["pending"] <= 10
    assert worker.cursors()["objects slow"] == ("0-0", "")
    slow.free.set()
    worker.until(lambda: worker.cursors()["objects slow"] == (last, ""))

    assert set(slow.purged) == set(keys(0, 100))
    assert worker.behind() == []
    assert quick.flushed == slow.flushed == []
    assert all(rig.adds_up() for rig in worker.rigs)
    publisher.add("users:live")
    worker.until(lambda: "users:live" in slow.purged)


def test_without_the_catch_up_what_a_full_lane_has_refused_is_lost(
    process: Callable[..., Process], publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control for the test above.
    monkeypatch.setattr(CatchUp, "turn", lambda *_: None)
    slow = Store("slow", well=False)
    worker = process(slow, limit=10)
    last = publisher.add_each(*keys(0, 100))
    worker.until(lambda: worker.behind() == ["slow"])
    slow.free.set()
    worker.until(lambda: worker.rigs[0].counts()["pending"] == 0)

    assert set(slow.purged) < set(keys(0, 100))
    assert worker.cursors()["objects slow"] != (last, ""), "and it does not claim that it was not"


def test_what_was_heard_and_refused_is_read_again_and_what_was_heard_while_behind_as_well(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    slow = Store("slow", well=False)
    worker = process(slow, limit=5)
    for key in keys(0, 20):
        worker.hear(key, journal=publisher.add(key))
    assert worker.behind() == ["slow"]
    slow.free.set()
    worker.until(lambda: set(slow.purged) == set(keys(0, 20)))

    assert slow.flushed == []
    assert worker.counts().get("missed", 0) == worker.counts().get("unjournaled", 0) == 0


def test_an_entry_that_no_lane_could_ever_hold_collapses_it_and_is_no_end(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    store = Store("one")
    worker = process(store, limit=10)
    last = publisher.add(*keys(0, 30))
    worker.until(lambda: worker.cursors()["objects one"] == (last, ""))

    assert store.flushed == ["overflow"]


def test_without_reading_the_journal_what_was_not_heard_is_lost(
    process: Callable[..., Process], publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store("one")
    worker = process(store)
    publisher.add("users:read")
    worker.until(lambda: store.purged == ["users:read"])
    monkeypatch.setattr(Tail, "turn", lambda *_: None)
    publisher.add("users:lost")
    worker.hear("users:heard")
    worker.until(lambda: store.purged == ["users:read", "users:heard"])

    assert "users:lost" not in store.purged, "the control: nothing else would have purged what was read"


def test_a_cursor_waits_for_the_backends_answer_and_a_successor_purges_what_it_did_not_give(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    first = Store("one")
    worker = process(first)
    done = publisher.add("users:done")
    worker.until(lambda: worker.cursors()["objects one"] == (done, ""))
    first.free.clear()
    last = publisher.add_each(*keys(0, 5))
    worker.until(lambda: "users:0" in first.purged)
    worker.delivery._book.keep(worker.delivery._readership.readers)
    assert worker.cursors()["objects one"] == (done, "")
    second = Store("one")
    successor = process(second)
    successor.until(lambda: successor.cursors()["objects one"] == (last, ""))
    first.free.set()

    assert second.purged == keys(0, 5)
    assert second.flushed == []


def test_a_cursor_that_moved_before_the_answer_would_lose_what_was_in_flight(
    process: Callable[..., Process], publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control for the test above.
    monkeypatch.setattr(Reader, "settle", lambda reader: reader._marks.settle(reader.offered))
    first = Store("one", well=False)
    worker = process(first)
    last = publisher.add_each(*keys(0, 5))
    worker.until(lambda: worker.cursors()["objects one"] == (last, ""))
    second = Store("one")
    successor = process(second)
    publisher.add("users:end")
    successor.until(lambda: "users:end" in second.purged)
    first.free.set()

    assert second.purged == ["users:end"]


def test_two_processes_of_one_worker_write_one_file_and_both_say_what_is_true(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    elder, younger = Store("one"), Store("one")
    one = process(elder)
    other = process(younger)
    last = ""
    for key in keys(0, 20):
        last = publisher.add(key)
        one.turn()
        other.turn()
    one.until(lambda: elder.purged == keys(0, 20))
    other.until(lambda: younger.purged == keys(0, 20))
    one.stop()
    other.until(lambda: other.cursors()["objects one"] == (last, ""))


def test_a_message_that_lies_about_its_entry_is_lost_by_no_lane(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    quick, slow = Store("quick"), Store("slow", well=False)
    worker = process(quick, slow, limit=10)
    publisher.add_each(*keys(0, 50))
    worker.until(lambda: worker.behind() == ["slow"])
    true = publisher.add("users:true")
    worker.hear("users:lie", journal="99999999999999-0")
    worker.hear("users:other", journal=true)
    worker.until(lambda: worker.counts().get("unjournaled") == 2)
    worker.until(lambda: {"users:lie", "users:other", "users:true"} <= set(quick.purged))
    slow.free.set()
    worker.until(lambda: {"users:lie", "users:other"} <= set(slow.purged) or "overflow" in slow.flushed)
    worker.until(lambda: worker.behind() == [])
    assert all(rig.adds_up() for rig in worker.rigs)


def test_a_burst_waits_to_be_heard_until_the_journal_was_read_as_far_and_nothing_is_forgotten(
    process: Callable[..., Process], publisher: Publisher, source: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.replay.hearing.CROWD", 5)
    store = Store("one")
    worker = process(store)
    entries = {publisher.add(name): name for name in keys(0, 5)}
    source.stop()  # nothing is read meanwhile
    for entry, name in entries.items():
        assert not worker.delivery.is_crowded()
        worker.hear(name, journal=entry)
    assert worker.delivery.is_crowded()
    worker.until(lambda: worker.delivery.trouble[0])
    assert not worker.delivery.is_crowded(), "nobody knows when it can be read again"
    source.cont()
    worker.until(lambda: worker.cursors()["objects one"] == (list(entries)[-1], ""))

    assert sorted(store.purged) == keys(0, 5)
    assert worker.counts()["received"] == 5
    assert not {"missed", "unjournaled"} & worker.counts().keys()


def test_a_flush_that_is_owed_outlives_the_process(process: Callable[..., Process], publisher: Publisher) -> None:
    first = Store("one")
    worker = process(first)
    done = publisher.add("users:0")
    worker.until(lambda: worker.cursors()["objects one"] == (done, ""))
    first.error = BackendError("unreachable", "away")
    publisher.client.delete(STREAM)
    worker.until(lambda: worker.cursors()["objects one"] == ("0-0", "trimmed"))
    assert [gap.cause for gap in worker.gaps] == ["trimmed"]
    second = Store("one")
    successor = process(second)
    successor.until(lambda: second.flushed == ["trimmed"])
    successor.until(lambda: successor.cursors()["objects one"] == ("0-0", ""))


def test_a_lane_whose_place_is_gone_is_flushed_and_goes_on_from_the_oldest_entry(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    quick, slow = Store("quick"), Store("slow", well=False)
    worker = process(quick, slow, limit=10)
    publisher.add_each(*keys(0, 100))
    worker.until(lambda: set(quick.purged) == set(keys(0, 100)))
    worker.until(lambda: worker.behind() == ["slow"])
    publisher.client.xtrim(STREAM, maxlen=20, approximate=False)
    slow.free.set()
    worker.until(lambda: set(slow.purged) >= set(keys(80, 100)) and "trimmed" in slow.flushed)

    assert quick.flushed == []
    assert worker.counts()["journal_break:trimmed"] == 1


def test_who_may_not_know_the_server_takes_it_for_another_one_after_each_gap(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    publisher.do("ACL", "SETUSER", "default", "-info")
    store = Store("one")
    worker = process(store)
    publisher.add("users:1")
    worker.until(lambda: store.purged == ["users:1"])
    assert store.flushed == []
    worker.gap("disconnect")
    worker.until(lambda: store.flushed == ["role"])
    assert worker.counts()["journal_break:dataset"] == 1


def test_memory_is_vouched_for_again_only_when_the_journal_was_read_to_its_end(
    process: Callable[..., Process], source: RedisServer
) -> None:
    memory = Inline()
    worker = process(memory)
    worker.until(lambda: worker.delivery.current_until(5.0) == 5.0)
    source.stop()
    worker.gap("disconnect")
    worker.turn()
    assert worker.delivery.current_until(5.0) == 0.0
    source.cont()
    worker.until(lambda: worker.delivery.current_until(5.0) == 5.0)


def test_memory_is_vouched_for_again_under_a_load_that_is_read_no_faster_than_it_is_published(
    process: Callable[..., Process], publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Inline()
    worker = process(memory)
    worker.until(lambda: worker.delivery.current_until(5.0) == 5.0)
    monkeypatch.setattr("invalidator.journal.reading.Chunk.__init__", _never_at_the_end(Chunk.__init__))
    publisher.add("users:1")
    worker.gap("disconnect")
    publisher.add("users:2")
    worker.until(lambda: worker.delivery.current_until(5.0) == 5.0)
    assert not [batch for batch in memory.batches if batch.cause == "disconnect"]

    # The control: with nothing but the end to tell, it is vouched for never again.
    monkeypatch.setattr(Journaled, "_has_read_what_was_doubtful", lambda _self, chunk: chunk.ends)
    worker.gap("disconnect")
    publisher.add("users:3")
    with pytest.raises(AssertionError):
        worker.until(lambda: worker.delivery.current_until(5.0) == 5.0, 0.5)


def _never_at_the_end(make: Callable[..., None]) -> Callable[..., None]:
    def make_endless(chunk: Chunk, *values: Any, **named: Any) -> None:
        make(chunk, *values, **named)
        object.__setattr__(chunk, "ends", False)

    return make_endless


def test_a_gap_that_cannot_be_replayed_within_the_deadline_is_flushed(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    store = Store("one")
    worker = process(store)
    publisher.do("ACL", "SETUSER", "default", "-xrange")
    worker.gap("disconnect")
    worker.until(lambda: store.flushed == ["disconnect"])
    assert worker.delivery.proven_until(5.0, float("inf")) == 0.0
    assert worker.delivery.trouble[0] == "denied"
    publisher.add("users:1")
    publisher.do("ACL", "SETUSER", "default", "+xrange")
    worker.until(lambda: store.purged == ["users:1"])
    assert worker.delivery.trouble == ("", "")


def test_entries_that_are_no_messages_are_counted_and_stepped_over(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    store = Store("one")
    worker = process(store)
    publisher.client.xadd(STREAM, {"what": "ever"})
    publisher.client.xadd(STREAM, {"channel": "cache:invalidate:users:x", "payload": b"{garbage"})
    publisher.client.xadd(STREAM, {"channel": b"\xff\x00", "payload": b"users:2"})
    last = publisher.add("users:1")
    worker.until(lambda: worker.cursors()["objects one"] == (last, ""))

    assert store.purged == ["users:1"]
    assert worker.counts()["rejected:shape"] == worker.counts()["rejected:json"] == 1


def test_a_redis_that_hangs_keeps_nobody_waiting(
    process: Callable[..., Process], publisher: Publisher, source: RedisServer
) -> None:
    store = Store("one")
    worker = process(store)
    source.stop()
    try:
        worker.hear("users:1", journal="5-5")
        wait_until(lambda: store.purged == ["users:1"])
        worker.until(lambda: worker.delivery.trouble[0] == "unreachable")
    finally:
        source.cont()
    worker.until(lambda: worker.delivery.trouble == ("", ""))

"""Journaled delivery where the journal cannot say what was missed: every lane that missed something is flushed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from invalidator import BackendError
from invalidator.messages import Messages
from invalidator.replay.hearing import Hearing
from invalidator.slots import clock
from invalidator.wire.sideline import Sideline
from tests.support.exact import Process, Store, keys, started
from tests.support.journals import CHANNEL, STREAM
from tests.support.lanes import Inline
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from tests.support.journals import Publisher
    from tests.support.stores import RedisServer


def test_what_was_added_and_trimmed_while_nobody_read_is_missed_though_nothing_newer_is_there(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    worker = process(Store("one"))
    done = publisher.add("users:done")
    worker.until(lambda: worker.cursors()["objects one"] == (done, ""))
    worker.close()
    publisher.add_each(*keys(0, 3))
    publisher.client.xtrim(STREAM, maxlen=0, approximate=False)
    store = Store("one")
    successor = process(store)
    successor.until(lambda: store.flushed == ["trimmed"])
    assert successor.counts()["journal_break:trimmed"] == 1


@pytest.mark.parametrize("how", ["delete", "delete and add", "trim"])
def test_a_lane_that_is_behind_has_missed_what_the_worker_has(
    process: Callable[..., Process], publisher: Publisher, how: str
) -> None:
    quick, slow = Store("quick"), Store("slow", well=False)
    worker = process(quick, slow, limit=10)
    publisher.add_each(*keys(0, 100))
    worker.until(lambda: set(quick.purged) == set(keys(0, 100)))
    worker.until(lambda: worker.behind() == ["slow"])
    if how == "trim":
        publisher.client.xtrim(STREAM, maxlen=0, approximate=False)
    else:
        publisher.client.delete(STREAM)
    if how != "delete":
        publisher.add("users:new")
    worker.until(lambda: "trimmed" in quick.flushed)
    slow.free.set()
    worker.until(lambda: "trimmed" in slow.flushed and worker.behind() == [])


def test_a_break_that_came_with_another_server_excuses_no_later_one(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    quick, slow = Store("quick"), Store("slow", well=False)
    worker = process(quick, slow, limit=10)
    publisher.add_each(*keys(0, 300))
    worker.until(lambda: set(quick.purged) == set(keys(0, 300)) and worker.behind() == ["slow"])
    worker.delivery._book.server = "another one"
    worker.until(lambda: quick.flushed == ["role"])
    # It is flushed, and its place has held on the other server. It goes on from there until it is full again.
    reader = next(reader for reader in worker.delivery._readership if reader.lane.backend is slow)
    before = reader.behind
    slow.free.set()
    worker.until(lambda: slow.flushed == ["role"] and reader.behind != before)
    slow.error = BackendError("unreachable", "away")
    worker.until(lambda: worker.rigs[1].lane.room() < 6)
    worker.turn()
    publisher.client.xtrim(STREAM, maxlen=2, approximate=False)
    slow.error = None
    worker.until(lambda: worker.behind() == [])
    worker.until(lambda: slow.flushed == ["role", "trimmed"])
    assert quick.flushed == ["role"], "its place is there"


@pytest.mark.parametrize("predecessor", [True, False])
@pytest.mark.parametrize("remembers", [True, False])
def test_what_is_read_again_after_a_break_is_not_counted_as_missed(
    process: Callable[..., Process],
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    *,
    remembers: bool,
    predecessor: bool,
) -> None:
    if not remembers:  # the negative control
        monkeypatch.setattr(Hearing, "reached", lambda self, at: None)
    store = Store("one")
    worker = process(store)
    for name in keys(0, 5):
        worker.hear(name, journal=publisher.add(name))
    last = publisher.add("users:last")
    worker.until(lambda: worker.cursors()["objects one"] == (last, ""))
    if predecessor:
        worker.close()
    publisher.client.xdel(STREAM, last)
    again = process(store) if predecessor else worker
    publisher.add("users:next")
    again.until(lambda: again.counts().get("journal_break:trimmed"))
    again.until(lambda: store.purged.count("users:0") == 2 and "users:next" in store.purged)
    again.until(lambda: not again.delivery._hearing._unheard)
    expected = 1 if predecessor else 2  # the last and the next; of the five, each was heard when it came
    assert (again.counts()["missed"] == expected) == remembers, again.counts()


@pytest.mark.parametrize("how", ["dataset", "deleted"])
def test_what_was_heard_and_lost_with_its_entry_makes_no_publisher_one_without_a_journal(
    process: Callable[..., Process], publisher: Publisher, how: str
) -> None:
    store = Store("one")
    worker = process(store)
    publisher.add("users:1")
    worker.until(lambda: store.purged == ["users:1"])
    gone = publisher.add("users:2")
    publisher.client.delete(STREAM)
    worker.hear("users:2", journal=gone)
    worker.delivery._book.server = "another one" if how == "dataset" else worker.delivery._book.server
    worker.until(lambda: worker.counts().get(f"journal_break:{how}"))
    worker.until(lambda: "users:2" in store.purged and not len(worker.delivery._hearing))
    assert "unjournaled" not in worker.counts()
    flushed = list(store.flushed)
    worker.gap("disconnect")
    worker.until(lambda: worker.delivery.current_until(5.0) == 5.0)
    assert store.flushed == flushed, "the next hour's Gaps are none of its business"
    # The control: one that names an entry which was never there.
    worker.hear("users:3", journal=gone)
    worker.until(lambda: worker.counts().get("unjournaled") == 1)
    worker.gap("disconnect")
    worker.until(lambda: store.flushed == [*flushed, "disconnect"])


def test_a_backend_that_is_away_at_the_first_start_keeps_no_worker_from_being_ready(
    source: RedisServer, publisher: Publisher, tmp_path: Path, cleanup: ExitStack
) -> None:
    publisher.add("users:before")
    store = Store("one")
    store.error = BackendError("unreachable", "away")
    worker = started(cleanup, Process(source, tmp_path, store, flush_on_start=True))
    assert [owes for _, owes in worker.cursors().values()] == ["start"]


def test_what_a_former_process_has_written_last_does_not_stay(
    process: Callable[..., Process], publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.replay.book.AGAIN_SECONDS", 0.1)
    elder = process(Store("one"))
    younger = process(Store("one"), Store("new"))
    done = publisher.add("users:done")
    younger.until(lambda: younger.cursors() == {"objects one": (done, ""), "objects new": (done, "")})
    elder.until(lambda: "objects new" not in elder.cursors())
    elder.close()
    younger.until(lambda: younger.cursors() == {"objects one": (done, ""), "objects new": (done, "")})


def test_what_was_asked_before_a_gap_says_nothing_of_what_is_there_after_it(
    process: Callable[..., Process], source: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The connection that is open may lead to a former master, which knows nothing of what was published since.
    memory = Inline()
    worker = process(memory)
    worker.until(lambda: worker.delivery.current_until(5.0) == 5.0)
    asked: list[bool] = []
    answered: list[bool] = []
    ask = Sideline.ask

    def recorded(
        sideline: Sideline, commands: Any, then: Callable[[Any], None], *, urgent: bool = True, anew: bool = False
    ) -> bool:
        def told(outcome: Any) -> None:
            answered.append(anew)
            then(outcome)

        asked.append(anew)
        return ask(sideline, commands, told, urgent=urgent, anew=anew)

    monkeypatch.setattr(Sideline, "ask", recorded)
    source.stop()
    ask(worker._sideline, [("PING",)], lambda _: None)
    worker.until(lambda: asked)  # behind it, so that it is sent after the Gap
    worker.gap("disconnect")
    source.cont()
    worker.until(lambda: worker.delivery.current_until(5.0) == 5.0)
    assert True in answered, "over a new connection"


def test_what_was_published_after_a_look_was_asked_for_is_not_taken_for_absent(
    process: Callable[..., Process], publisher: Publisher
) -> None:
    # The loop's turn begins before it reads its socket: in between, the journal may be asked and a message published.
    store = Store("one")
    worker = process(store)
    worker.until(lambda: not worker._sideline._waiting)
    began = clock()
    worker.until(lambda: worker._sideline._waiting)
    wait_until(lambda: worker._sideline._outcomes)
    entry = publisher.add("users:1")
    message = f'{{"v": 1, "keys": ["users:1"], "journal": "{entry}"}}'.encode()
    worker.delivery.heard(worker._intake.take(Messages([CHANNEL.encode()], [message])), began)
    worker.until(lambda: worker.cursors()["objects one"] == (entry, ""))
    assert worker.counts().get("unjournaled", 0) == worker.counts().get("missed", 0) == 0
    assert store.purged == ["users:1"]

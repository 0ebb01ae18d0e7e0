"""Whatever comes in between, a direct lane purges each key after it was last asked for, and counts it once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from invalidator import BackendError, PurgeResult
from invalidator.lanes.direct import PATIENCE
from invalidator.slots import clock
from tests.support.lanes import Rig
from tests.support.sending import BAD, GOOD, Sending
from tests.support.waiting import wait_past, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from invalidator import Batch

IMPATIENT = 0.001
"""Seconds after which an answer is late here."""
MOST_FAILURES = 3
STEPS = ["good", "bad", "late", "pause", "resume", "hang up", "fail", "flush", "turn"]
keys = st.lists(st.sampled_from("abcde"), min_size=1, max_size=3, unique=True)
steps = st.lists(keys | keys.map(tuple) | st.sampled_from(STEPS), max_size=25)
"""Lists are offered as targets, tuples in bulk: those are in flight at once where nothing else is."""


Step = str | list[str] | tuple[str, ...]


class Noting(Sending):
    """Knows after which of the offers each of its batches was begun."""

    def __init__(self) -> None:
        super().__init__(self._purged)
        self.offered: dict[str, int] = {}
        self.purged: dict[str, int] = {}
        self.failing = 0
        self.failed = 0

    def _purged(self, batch: Batch) -> PurgeResult:
        began = self.number
        if self.failing > 0:
            self.failing -= 1
            raise BackendError("server_error", "not now")
        self.purged.update(dict.fromkeys(self.offered if batch.cause else batch.keys, began))
        return PurgeResult()

    def fail(self) -> None:
        """The next purge fails; not so often that its lane would rest for long."""
        self.failed += 1
        self.failing = int(self.failed <= MOST_FAILURES)

    def say(self, answer: bytes) -> None:
        """The answer to the last batch that was sent, if that has none."""
        if self.sent and not self.sent[-1].said:
            self.sent[-1].say(answer)

    def stale(self) -> list[str]:
        """What was not purged after it was last asked for."""
        last = dict(self.purged)
        for sent in self.answered:
            last.update({key: max(sent.number, last.get(key, 0)) for key in sent.batch.keys})
        return [key for key, number in self.offered.items() if last.get(key, 0) < number]


def do(step: Step, rig: Rig, backend: Noting) -> None:
    match step:
        case list() | tuple():
            backend.number += 1
            backend.offered.update(dict.fromkeys(step, backend.number))
            (rig.offer if isinstance(step, list) else rig.offer_in_bulk)(*step)
        case "good":
            backend.say(GOOD)
        case "bad":
            backend.say(BAD)
        case "late":
            wait_past(clock() + IMPATIENT)
        case "pause":
            rig.lane.pause()
        case "resume":
            rig.lane.resume()
        case "hang up":
            backend.sends = not backend.sends
        case "fail":
            backend.fail()
        case "flush":
            rig.lane.flush("disconnect", clock())
    rig.lane.turn()


@settings(max_examples=60, deadline=None)
@given(steps=steps, stopped=st.booleans())
def run_any(folder: Path, steps: list[Step], stopped: bool) -> None:
    backend = Noting()
    rig = Rig(backend, folder).start()
    for step in steps:
        do(step, rig, backend)
        assert rig.adds_up(), step

    backend.failing = 0

    def nothing_fails() -> bool:
        # What fails after a stop has begun is not asked for again, in this lane as in any other.
        rig.lane.turn()
        return not rig.pending.is_asking() or bool(backend.sent and not backend.sent[-1].said)

    def is_done() -> bool:
        backend.say(GOOD)
        if not stopped:
            rig.lane.turn()
        return rig.lane.is_idle()

    wait_until(nothing_fails)
    if stopped:
        rig.lane.stop()
    else:
        rig.lane.resume()
    wait_until(is_done)
    assert rig.stop() == 0
    assert rig.adds_up()
    counts = rig.counts()
    assert (counts["pending"], counts["dead"], counts["lost"]) == (0, 0, 0)
    assert backend.overlaps == 0
    assert backend.closed == 1
    assert backend.stale() == []


def test_each_key_is_purged_after_its_last_offer_and_counted_once_and_no_two_batches_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert IMPATIENT < PATIENCE
    monkeypatch.setattr("invalidator.lanes.direct.PATIENCE", IMPATIENT)
    run_any(tmp_path)

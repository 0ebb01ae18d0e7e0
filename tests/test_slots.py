"""slots.py: what a worker writes and its supervisor reads."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from invalidator.slots import BACKEND_WORDS, READY, Region, alive_for, is_subscribed

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_what_a_forked_process_counts_is_read_by_its_parent() -> None:
    region = Region(["near", "far"])
    pid = os.fork()
    if pid == 0:
        region.worker().add("received", 7)
        region.worker().state(READY)
        region.backend("far").add({"received": 3, "pending": 3}, purge=0.02, propagation=[0.5, -1.0])
        os._exit(0)
    os.waitpid(pid, 0)
    snapshot = region.snapshot()

    assert snapshot.worker["received"] == 7
    assert snapshot.worker["state"] == READY
    assert snapshot.backends["near"]["received"] == 0
    assert snapshot.backends["far"]["pending"] == 3
    assert snapshot.backends["far"]["purge:0.025"] == 1
    assert snapshot.backends["far"]["propagation:0.5"] == 1
    assert snapshot.backends["far"]["propagation:0.0001"] == 1, "a time before the publication counts as none"
    region.close()


def test_a_reader_never_sees_half_of_a_change() -> None:
    region = Region(["b"])
    with writing(region):
        assert all(adds_up(region.snapshot().backends["b"]) for _ in range(5_000))


def test_a_reader_that_does_not_look_at_the_version_sees_halves() -> None:
    # The control for the test above.
    region = Region(["b"])
    with writing(region):
        words = region._backend_words("b")
        reads = (dict(zip(BACKEND_WORDS, words.tolist(), strict=True)) for _ in range(500_000))
        assert not all(map(adds_up, reads))


@contextmanager
def writing(region: Region) -> Iterator[None]:
    """A process that counts into the region without a pause."""
    pid = os.fork()
    if pid == 0:
        slots = region.backend("b")
        while True:
            slots.add({"received": 1, "pending": 1})
            slots.add({"pending": -1, "purged": 1})
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def adds_up(words: dict[str, int]) -> bool:
    return words["received"] == words["purged"] + words["pending"]


def test_a_writer_that_died_in_the_middle_does_not_hold_up_the_reader() -> None:
    region = Region(["b"])
    region._backend_words("b")[0] = 1  # an odd version: a write that will never be finished

    assert region.snapshot().backends["b"]["version"] == 1


def test_a_worker_that_says_nothing_more_is_not_subscribed_for_long() -> None:
    region = Region([])
    region.worker().beat(100.0)
    region.worker().subscribed_until(103.0)

    assert alive_for(region, 101.5) == 1.5
    assert is_subscribed(region, 102.9)
    assert not is_subscribed(region, 103.1)


def test_each_word_has_its_own_place() -> None:
    assert len(set(BACKEND_WORDS)) == len(BACKEND_WORDS)

"""inheritance.py and reload.py: when a successor has missed nothing. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from invalidator.channel import Orders
from invalidator.messages import Gap
from invalidator.pipeline.inheritance import Inheritance
from invalidator.supervision.reload import heard_on
from tests.support.topologies import loaded

if TYPE_CHECKING:
    from pathlib import Path

START = Gap("start", 1.0, 2.0)


def test_a_start_beside_a_predecessor_is_no_gap_if_that_one_keeps_its_word() -> None:
    ours = Inheritance(frozenset({"edge"}))

    assert ours.holds_back(START)
    assert ours.learn(Orders(predecessor="hears")) is None
    assert ours.learn(Orders(predecessor="done")) is None
    assert ours.may_vouch
    assert not ours.holds_back(START), "a later one is a Gap like any other"


def test_nobody_vouches_for_what_a_predecessor_has_yet_to_hear() -> None:
    ours = Inheritance(frozenset({"edge"}))
    assert ours.learn(Orders(predecessor="hears")) is None

    assert not ours.may_vouch


def test_it_is_one_after_all_if_the_predecessor_does_not() -> None:
    ours = Inheritance(frozenset({"edge"}))
    assert ours.holds_back(START)

    assert ours.learn(Orders(predecessor="failed")) == START
    assert ours.may_vouch
    assert ours.learn(Orders(predecessor="failed")) is None, "once"


def test_a_predecessor_that_is_gone_before_the_confirmation_holds_nothing_back() -> None:
    ours = Inheritance(frozenset({"edge"}))

    assert ours.learn(Orders(predecessor="failed")) is None
    assert not ours.holds_back(START)


def test_no_other_gap_is_held_back_and_none_without_a_predecessor() -> None:
    assert not Inheritance(frozenset({"edge"})).holds_back(Gap("disconnect", 1.0, 2.0))
    assert not Inheritance(frozenset()).holds_back(START)
    assert Inheritance(frozenset()).may_vouch


def test_what_was_left_undone_is_flushed_once() -> None:
    ours = Inheritance(frozenset({"edge"}))

    assert ours.undone(Orders()) == ()
    assert ours.undone(Orders(flush=("edge",))) == ("edge",)
    assert ours.undone(Orders(flush=("edge",))) == ()


BEFORE = """
redis: {url: redis://127.0.0.1:6379/0}
plugins: [log]
backends:
  near: {type: log}
  far: {type: log}
workers:
  - {name: a, pattern: "a:*", backends: [near, far], flush: {prefix: "a:"}}
"""


@pytest.mark.parametrize(
    ("old", "new", "heard"),
    [
        ("a:*", "a:*", {"near", "far"}),
        ("name: a,", "name: a, window: 5ms,", {"near", "far"}),
        ('pattern: "a:*"', 'pattern: "b:*"', set()),
        ("6379/0", "6379/1", set()),
        ("far: {type: log}", "far: {type: log, level: debug}", {"near"}),
        ("[near, far]", "[near, {backend: far, on_gap: ignore}]", {"near"}),
        ('prefix: "a:"', 'prefix: "b:"', set()),
        ("name: a,", "name: a, on_gap: ignore,", set()),
    ],
)
def test_what_a_worker_hears_on_is_what_its_successor_would_hear(
    tmp_path: Path, old: str, new: str, heard: set[str]
) -> None:
    before, after = (read(tmp_path, text) for text in (BEFORE, BEFORE.replace(old, new)))

    assert heard_on(before, before.workers[0], after, after.workers[0]) == heard


def test_a_backend_that_is_new_has_heard_nothing(tmp_path: Path) -> None:
    before = read(tmp_path, BEFORE.replace("[near, far]", "[near]"))
    after = read(tmp_path, BEFORE)

    assert heard_on(before, before.workers[0], after, after.workers[0]) == {"near"}


def read(folder: Path, text: str) -> Any:
    return loaded(folder, text).topology

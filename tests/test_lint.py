"""Warnings: what is valid, and may not be what its operator wants. And the rules for channel patterns behind them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.topology.patterns import LONGEST_NAME, has_literal_first_segment, overlap, worker_name
from tests.support.topologies import SOUND, problems, warnings

if TYPE_CHECKING:
    from pathlib import Path

GAPS_IGNORED = (
    "'objects' (store) ignores gaps: what was missed in one stays stale, and when more than 100,000 targets wait, "
    "those beyond are dead-lettered up to a bound and then lost"
)
DRY = (
    "9:22: workers[0].backends[1]: 'objects' (store) is a dry run here: "
    "nothing is sent, and everything is counted as skipped"
)


def test_a_sound_topology_has_no_warnings(tmp_path: Path) -> None:
    assert warnings(tmp_path, SOUND) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("allow: [key]", "window: 0ms", [
            ("9:22: workers[0].backends[1]: 'objects' (store) cannot purge tag, prefix, url, which users allows: "
             "such targets are skipped and counted; unsupported: flush widens them to a flush"),
        ]),
        ("flush: {all: true}", "on_gap: ignore", [f"9:22: workers[0].backends[1]: {GAPS_IGNORED}"]),
        ('"cache:users:*"', '"*:users"', [
            ("8:14: workers[0].pattern: has no literal first segment: "
             "it hears the channels of every application on this Redis"),
        ]),
        ("  near: {type: table}", "  near: {type: table}\n  idle: {type: table}", [
            "6:3: backends.idle: no worker uses this backend",
        ]),
        ("flush: {all: true}", "flush: {all: true}, dry_run: true", [DRY]),
        ("server: here}", "server: here, dry_run: true}", [DRY]),
        ("plugins:", '  - {name: all, pattern: "cache:*:new", backends: [near]}\nplugins:', [
            ("11:26: workers[1].pattern: overlaps with the pattern of users (workers[0]): "
             "what matches both reaches both workers"),
        ]),
        ("plugins:", '  - {name: one, pattern: "x:*", backends: [near], flush: {prefix: "x:*"}}\nplugins:', [
            "11:51: workers[1].flush: the prefix ends with *, which is taken literally: a prefix needs none",
        ]),
        ("flush: {all: true}}]", "on_gap: ignore}]\n    delivery: journal", [
            ("9:22: workers[0].backends[1]: 'objects' (store) ignores gaps: what the journal can no longer say, "
             "because it was trimmed or deleted or its Redis has lost it, stays stale"),
        ]),
    ],
)  # fmt: skip
def test_each_surprise_is_a_warning_and_no_error(tmp_path: Path, old: str, new: str, said: list[str]) -> None:
    assert old in SOUND
    assert warnings(tmp_path, SOUND.replace(old, new, 1)) == said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("allow: [key]", "allow: key"),
        ("allow: [key]", "allow: key\n    delivery: journal"),
        ("6379/0\n", "6379/0\njournal: {stream: events, keep: 5000}\n"),
        ("}}]\n    allow: [key]", "}, unsupported: flush}]\n    allow: [key, tag]"),
        ("flush: {all: true}}", "flush: {all: true}, dry_run: false, after: null}"),
        ("flush: {all: true}}", "flush: {all: true}, after: near, delay: 200ms, rebound: 2s}"),
        ("flush: {all: true}}", "flush: {all: true}, delay: 0, rebound: 10m}"),
        ("plugins:", '  - {name: b, pattern: "cache:pages:*", backends: [near]}\nplugins:'),
        ("plugins:", '  - {pattern: "cache:*", redis: {url: redis://b}, backends: [near]}\nplugins:'),
    ],
)
def test_what_only_looks_like_a_surprise_is_none(tmp_path: Path, old: str, new: str) -> None:
    assert problems(tmp_path, SOUND.replace(old, new, 1)) == []
    assert warnings(tmp_path, SOUND.replace(old, new, 1)) == []


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("cache:invalidate:users:*", "cache-invalidate-users"),
        ("users", "users"),
        ("*", "all"),
        ("a:[bc]:d", "a-d"),
        ("a b:ü", "a_b-_"),
        (":::", "all"),
        ("-x:*", "x"),
        ("x" * 200, "x" * LONGEST_NAME),
    ],
)
def test_a_name_is_made_from_the_literal_segments_of_a_pattern(pattern: str, name: str) -> None:
    assert worker_name(pattern) == name


@given(st.text(max_size=80))
def test_a_name_made_from_any_pattern_is_a_valid_name(pattern: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", worker_name(pattern))
    assert len(worker_name(pattern)) <= LONGEST_NAME


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [("a:*", True), ("a", True), ("a*", False), ("*", False), ("[a]:b", False), (":a", False), (r"a\*:b", False)],
)
def test_a_literal_first_segment_keeps_a_pattern_within_one_application(pattern: str, *, literal: bool) -> None:
    assert has_literal_first_segment(pattern) is literal


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("a:*", "a:b", True),
        ("a:*", "b:*", False),
        ("*", "anything", True),
        ("a*c", "ab*", True),
        ("a*c", "b*c", False),
        ("a?c", "ac", False),
        ("a?c", "abc", True),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a-c]x", "[a-d]x", True),
        ("[a]x", "[b]x", False),
        (r"a\*", "ab", False),
        (r"a\*", "a*", True),
        ("a**b", "ab", True),
        ("[c-a]", "b", True),
        ("[ab", "a", True),
        ("", "*", True),
        ("", "a", False),
    ],
)
def test_two_patterns_overlap_when_some_channel_matches_both(one: str, other: str, *, meet: bool) -> None:
    assert overlap(one, other) is meet
    assert overlap(other, one) is meet


@given(st.text("ab*?", max_size=7), st.text("ab*?", max_size=7), st.text("ab", max_size=6))
def test_no_channel_that_matches_both_is_overlooked(one: str, other: str, channel: str) -> None:
    if all(re.fullmatch(as_regex(pattern), channel) for pattern in (one, other)):
        assert overlap(one, other)


@given(st.text("ab*?[]^-\\", max_size=8))
def test_every_pattern_overlaps_with_everything(pattern: str) -> None:
    assert overlap(pattern, "*") or "[" in pattern  # an empty set matches nothing


def test_long_patterns_of_many_stars_are_compared_at_once() -> None:
    assert not overlap("*a" * 250 + "b", "*a" * 250 + "c")


def as_regex(pattern: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(char, char) for char in pattern)

"""invalidator.envelope: whatever an application names arrives exactly once, in payloads that every worker takes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.envelope import MAX_PAYLOAD, Head, check_channel, envelopes
from invalidator.errors import PublishError
from invalidator.messages import EVERYTHING, KINDS, Target
from invalidator.pipeline.decoder import decode

HEAD = Head(id="b7", ts=1732312345.123, source="checkout-7")

# Quotes, backslashes and what looks like our own members: all that JSON must escape, or that a splitter could trip on.
_text = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=300) | st.sampled_from(
    ['"', "\\", '"],"all":true,"x":["', "users:42", "é", "\u2028", "𝄞" * 200, "x" * 1900]
)
_target = st.builds(Target, st.sampled_from([kind for kind in KINDS if kind != "all"]), _text) | st.just(EVERYTHING)
_head = st.builds(
    Head,
    id=st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60),
    ts=st.floats(0, 4e9),
    source=st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60),
    soft=st.booleans(),
    traceparent=st.sampled_from(["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]),
)


@given(st.lists(_target, min_size=1, max_size=60), _head, st.sampled_from([2500, 4096, MAX_PAYLOAD]))
def test_every_target_arrives_exactly_once_in_payloads_within_the_limit(
    targets: list[Target], head: Head, limit: int
) -> None:
    payloads = envelopes(targets, head, limit)
    decoded = [decode(payload, KINDS, limit) for payload in payloads]
    arrived = [target for message in decoded for target in message.targets]
    assert sorted(arrived) == sorted(set(targets))
    assert all(len(payload) <= limit for payload in payloads)
    assert all(not message.rejected for message in decoded)
    assert {(message.source, message.soft, message.traceparent) for message in decoded} == {
        (head.source, head.soft, head.traceparent)
    }
    assert all(message.ts == pytest.approx(head.ts, abs=1e-6) for message in decoded)


def test_several_payloads_have_ids_of_their_own_for_with_one_all_but_the_first_would_be_repetitions() -> None:
    payloads = envelopes([Target("key", f"users:{number}") for number in range(5000)], HEAD)
    ids = [decode(payload, KINDS, MAX_PAYLOAD).id for payload in payloads]
    assert ids == [f"b7.{number}" for number in range(1, len(payloads) + 1)]
    assert len(ids) > 5


def test_one_payload_has_the_very_id() -> None:
    (payload,) = envelopes([Target("key", "users:42"), Target("key", "users:42")], HEAD)
    assert json.loads(payload) == {
        "v": 1,
        "id": "b7",
        "ts": 1732312345.123,
        "source": "checkout-7",
        "keys": ["users:42"],
    }


def test_payloads_are_filled_before_another_one_is_begun() -> None:
    payloads = envelopes([Target("key", f"users:{number:06}") for number in range(5000)], HEAD)
    assert all(len(payload) > MAX_PAYLOAD - 40 for payload in payloads[:-1])


@pytest.mark.parametrize("size", [MAX_PAYLOAD, MAX_PAYLOAD - 60])
def test_a_target_that_no_payload_holds_is_refused_by_name(size: int) -> None:
    with pytest.raises(PublishError, match=r"the key 'xxx.*\.\.\.' does not fit"):
        envelopes([Target("key", "users:1"), Target("key", "x" * size)], HEAD)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target("key", "users:\r\n42"), "control character"),
        (Target("tag", "a\x85b"), "control character"),
        (Target("prefix", ""), "is empty"),
        (Target("url", "\ud800"), "surrogate"),
    ],
)
def test_a_target_that_every_worker_would_reject_is_refused(target: Target, why: str) -> None:
    with pytest.raises(PublishError, match=why):
        envelopes([Target("key", "good"), target], HEAD)


def test_a_message_without_a_target_is_refused() -> None:
    with pytest.raises(PublishError, match="nothing to invalidate"):
        envelopes([], HEAD)


@pytest.mark.parametrize("head", [Head(id="a\n", ts=0, source=""), Head(id="a", ts=0, source="x" * 256)])
def test_a_head_that_is_no_plain_short_text_is_refused(head: Head) -> None:
    with pytest.raises(PublishError, match=r"the (id|source)"):
        envelopes([EVERYTHING], head)


@pytest.mark.parametrize("channel", ["cache:invalidate:users:profile", "c", "cache:größe", "a b:c.d-e_f/{g}"])
def test_a_plain_channel_is_taken(channel: str) -> None:
    check_channel(channel)


@pytest.mark.parametrize(
    ("channel", "why"),
    [
        ("", "empty segment"),
        ("cache::users", "empty segment"),
        (":cache", "empty segment"),
        ("cache:", "empty segment"),
        ("cache:*", "glob"),
        ("cache:user?", "glob"),
        ("cache:[ab]", "glob"),
        ("cache:\\a", "glob"),
        ("cache:a\nb", "control"),
        ("cache:\x00", "control"),
        ("cache:\ud800", "surrogate"),
    ],
)
def test_a_channel_that_a_pattern_would_misread_is_refused(channel: str, why: str) -> None:
    with pytest.raises(PublishError, match=why):
        check_channel(channel)

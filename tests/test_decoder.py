"""decoder.py: a payload's bytes become an Invalidation, or a reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invalidator.errors import DecodeError
from invalidator.messages import KINDS, REJECT_REASONS, Kind, Target
from invalidator.pipeline.decoder import decode

DEFAULT: frozenset[Kind] = frozenset({"key", "tag", "prefix", "url"})
EVERY: frozenset[Kind] = frozenset(KINDS)


@pytest.mark.parametrize(
    ("payload", "target"),
    [
        (b"users:42", Target("key", "users:42")),
        (b"a key with blanks", Target("key", "a key with blanks")),
        ("grüße:42".encode(), Target("key", "grüße:42")),
        (b"../../etc/passwd", Target("key", "../../etc/passwd")),
        (b"users:*", Target("prefix", "users:")),
        (b"users:*:name", Target("pattern", "users:*:name")),
        (b"users:?", Target("pattern", "users:?")),
        (b"users:[ab]", Target("pattern", "users:[ab]")),
        (b"users:**", Target("pattern", "users:**")),
        (b"*", Target("all")),
        (b" {not json", Target("key", " {not json")),
    ],
)
def test_a_bare_payload_is_a_key_a_prefix_a_pattern_or_all(payload: bytes, target: Target) -> None:
    assert decode(payload, EVERY, 8192).targets == (target,)


def test_every_field_of_the_envelope_is_read() -> None:
    envelope = {
        "v": 1,
        "id": "m1",
        "ts": 1732312345.125,
        "source": "checkout-7",
        "keys": ["k*", "l"],
        "tags": ["t"],
        "prefixes": ["p:"],
        "patterns": ["a*b"],
        "urls": ["https://shop.example/x"],
        "all": True,
        "soft": True,
        "reply": "invalidator:reply:1",
        "journal": "1-0",
        "traceparent": "00-1-2-01",
        "unknown": {"is": "ignored"},
    }

    invalidation = decode(json.dumps(envelope).encode(), EVERY, 8192)

    assert invalidation.targets == (
        Target("key", "k*"),
        Target("key", "l"),
        Target("tag", "t"),
        Target("prefix", "p:"),
        Target("pattern", "a*b"),
        Target("url", "https://shop.example/x"),
        Target("all"),
    )
    assert (invalidation.id, invalidation.ts, invalidation.source) == ("m1", 1732312345.125, "checkout-7")
    assert (invalidation.soft, invalidation.reply, invalidation.journal) == (True, "invalidator:reply:1", "1-0")
    assert invalidation.traceparent == "00-1-2-01"


def test_a_cloud_event_carries_the_envelope_as_its_data() -> None:
    event = {"specversion": "1.0", "id": "e", "source": "/s", "type": "t", "data": {"keys": ["users:42"], "ts": 1.5}}

    invalidation = decode(json.dumps(event).encode(), DEFAULT, 8192)

    assert invalidation.targets == (Target("key", "users:42"),)
    assert invalidation.ts == 1.5


@pytest.mark.parametrize(
    "attributes",
    [
        {"tags": "x"},
        {"keys": "x", "soft": "1", "all": "yes", "v": "7", "ts": "2026-01-01T00:00:00Z"},
        {"id": 5, "source": {"a": 1}, "prefixes": {"keys": ["no"]}, "urls": None, "reply": 1},
        {"keys": ["not:this"], "tags": ["nor:this"], "all": True},
    ],
)
def test_attributes_of_a_cloud_event_are_no_part_of_the_envelope(attributes: dict[str, object]) -> None:
    for event in (
        {**attributes, "specversion": "1.0", "data": {"keys": ["users:42"]}},
        {"specversion": "1.0", "data": {"keys": ["users:42"]}, **attributes},
    ):
        invalidation = decode(json.dumps(event).encode(), EVERY, 8192)

        assert invalidation.targets == (Target("key", "users:42"),)
        assert (invalidation.soft, invalidation.id, invalidation.reply) == (False, "", "")


def test_data_beside_an_envelope_is_one_of_the_fields_that_we_do_not_know() -> None:
    assert decode(b'{"keys":["a"],"data":5}', DEFAULT, 8192).targets == (Target("key", "a"),)


def test_an_envelope_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invalidator.pipeline.decoder._cloud_event", None)
    monkeypatch.setattr("invalidator.pipeline.decoder._names_twice", None)

    assert decode(b'{"keys":["a"],"tags":["t"],"ts":1.5}', DEFAULT, 8192).targets


@pytest.mark.parametrize("name", ["journal", "reply", "traceparent"])
@pytest.mark.parametrize("value", ["5", "true", "[[1]]", '{"a":1}'])
def test_what_only_says_more_about_a_message_costs_no_target_where_it_is_no_text(name: str, value: str) -> None:
    expected = decode(b'{"keys":["a"]}', DEFAULT, 8192)
    assert decode(f'{{"keys":["a"],"{name}":{value}}}'.encode(), DEFAULT, 8192) == expected


def test_an_absent_text_may_be_written_as_null() -> None:
    assert decode(b'{"keys":["a"],"id":null,"ts":null,"source":null}', DEFAULT, 8192).targets == (Target("key", "a"),)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"x" * 8193, "oversize"),
        (b"\xff\xfe", "utf8"),
        (b"users:\xc3", "utf8"),
        (b"users:42\r\nflush_all", "control"),
        (b"users:\x00", "control"),
        (b"users:\x7f", "control"),
        ("users:\x85".encode(), "control"),
        (b"*", "not_allowed"),
        (b"a*b", "not_allowed"),
        (b"{", "json"),
        (b'{"keys":["a"]} trailing', "json"),
        (b'{"keys":["a"],"x":"\xff"}', "utf8"),
        (b'{"keys":["\\ud800"]}', "json"),
        (b'{"keys":"a"}', "shape"),
        (b'{"keys":[1]}', "shape"),
        (b'{"keys":null}', "shape"),
        (b'{"ts":"now","keys":["a"]}', "shape"),
        (b'{"hops":"1","keys":["a"]}', "shape"),  # overlooked, it would be passed on in a circle
        (b'{"v":true,"keys":["a"]}', "shape"),
        (b'{"v":2,"keys":["a"]}', "version"),
        (b"{}", "no_target"),
        (b'{"keys":[]}', "no_target"),
        (b'{"all":false}', "no_target"),
        (b'{"all":true}', "not_allowed"),
        (b'{"patterns":["a*"]}', "not_allowed"),
        (b'{"keys":[""]}', "empty"),
        (b'{"keys":["a\\u0000"]}', "control"),
        (b'{"keys":["a"],"keys":["b"]}', "ambiguous"),
        (b'{"keys":["a"],"tags":["b"],"tags":[]}', "ambiguous"),
        (b'{"keys":["a"],"all":true,"all":false}', "ambiguous"),
        (b'{"keys":["a"],"soft":false,"soft":true}', "ambiguous"),
        (b'{"keys":["a"],"k\\u0065ys":["b"]}', "ambiguous"),
        (b'{"x":' + b"[" * 3000 + b"]" * 3000 + b',"keys":["a"]}', "depth"),
        (b'{"keys":["a"],"x":' + b"[" * 40 + b"]" * 40 + b"}", "depth"),
        (b'{"specversion":"1.0","id":"1"}', "shape"),
        (b'{"specversion":"1.0","data":{"keys":"a"}}', "shape"),
        (b'{"specversion":"1.0","data":{"v":2,"keys":["a"]}}', "version"),
        (b'{"specversion":"1.0","data":{}}', "no_target"),
        (b'{"specversion":"1.0","data":"users:42"}', "shape"),
        (b'{"specversion":"1.0","data":{},"keys":["a"]}', "no_target"),
        (b'{"specversion":1.0,"data":{"keys":["a"]}}', "shape"),
        (b'{"specversion":"1.0","tags":5,"data":{"keys":["a"]},"data":{"keys":["b"]}}', "ambiguous"),
        (b'{"specversion":"1.0","tags":5,"tags":5,"keys":["a"],"data":{"tags":["a"]}}', "ambiguous"),
        (b'{"specversion":"1.0","tags":5,"data":{"keys":["a"]}', "json"),
        (b'{"specversion":"2.0","data":{"keys":["a"]}}', "version"),
        (b'{"specversion":"1.0","data":{"keys":["a"]},"data":{"keys":["b"]}}', "ambiguous"),
    ],
)
def test_what_says_nothing_we_may_act_on_is_rejected_with_its_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as raised:
        decode(payload, DEFAULT, 8192)

    assert raised.value.reason == reason


def test_one_bad_target_rejects_only_itself() -> None:
    invalidation = decode(b'{"keys":["good","b\\nad",""],"all":true}', DEFAULT, 8192)

    assert invalidation.targets == (Target("key", "good"),)
    assert invalidation.rejected == ("control", "empty", "not_allowed")


def test_brackets_in_a_text_are_not_levels() -> None:
    key = '["' * 100
    payload = json.dumps({"keys": [key], "x": [[[["deep", "enough"]]]]}).encode()

    assert decode(payload, DEFAULT, 8192).targets == (Target("key", key),)


def test_a_key_that_is_called_like_a_field_is_not_taken_for_one() -> None:
    assert decode(b'{"keys":["keys","tags"],"tags":["keys"]}', DEFAULT, 8192).targets == (
        Target("key", "keys"),
        Target("key", "tags"),
        Target("tag", "keys"),
    )


@settings(deadline=None)
@given(payload=st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"{" + data))
def test_no_bytes_do_more_than_be_rejected(payload: bytes) -> None:
    try:
        invalidation = decode(payload, EVERY, 128)
    except DecodeError as error:
        assert error.reason in REJECT_REASONS  # noqa: PT017  # either outcome is right
    else:
        assert invalidation.targets


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("v", "id", "ts", "keys", "tags", "prefixes", "urls", "patterns", "all", "soft", "data", "specversion")


@settings(deadline=None)
@given(envelope=st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_no_object_does_more_than_be_rejected(envelope: dict[str, object]) -> None:
    try:
        invalidation = decode(json.dumps(envelope).encode(), DEFAULT, 8192)
    except DecodeError as error:
        assert error.reason in REJECT_REASONS  # noqa: PT017  # either outcome is right
    else:
        assert all(target.kind in DEFAULT for target in invalidation.targets)
        assert all(target.value.isprintable() or "\n" not in target.value for target in invalidation.targets)

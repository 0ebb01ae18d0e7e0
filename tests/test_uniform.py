"""uniform.py: envelopes of one shape, decoded together, are what each of them is alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invalidator import DecodeError
from invalidator.messages import KINDS
from invalidator.pipeline.decoder import decode
from invalidator.pipeline.envelope import message_of
from invalidator.pipeline.uniform import ENOUGH, decode_uniform
from tests.support.payloads import ENVELOPE, PIECE, PLAIN, taken_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator import Invalidation

FULL = (
    b'{"v":1,"id":"7","ts":2.5,"source":"shop","keys":["a"],"tags":[],"soft":false,"reply":null,"traceparent":"00-1"}'
)

VALUES = {
    "v": st.sampled_from(["1", "1", "1", "2", "null", "1.0"]),
    "id": st.sampled_from(['"1"', '"2"', '"["', '"keys"', '"true"', '""', "null", "5"]),
    "ts": st.sampled_from(["1.5", "2", "1e3", "null", '"soon"']),
    "source": st.sampled_from(['"shop"', '"all"', '"{"', "null"]),
    "keys": st.sampled_from(['["a"]', '["b"]', '["a","b"]', '["keys","true"]', "[]", '[""]', '["\x7f"]', '["é"]']),
    "tags": st.sampled_from(["[]", "[]", "[ ]", '["t"]']),
    "urls": st.sampled_from(["[]", "[]", '["u"]']),
    "all": st.sampled_from(["false", "false", "true"]),
    "soft": st.sampled_from(["false", "false", "true"]),
    "reply": st.sampled_from(["null", '"invalidator:reply:1"']),
    "hops": st.sampled_from(["null", "0", "9"]),
    "traceparent": st.sampled_from(['"00-1"', "null", "[]", '"\\u0061"']),
    "specversion": st.just('"1.0"'),
    "more": st.sampled_from(["1", '"keys"']),
}


def written(members: Sequence[tuple[str, str]], gap: str, lead: str) -> bytes:
    inside = f",{gap}".join(f'"{name}":{gap}{value}' for name, value in members)
    return f"{lead}{{{inside}}}".encode()


@st.composite
def of_one_shape(draw: st.DrawFn) -> list[bytes]:
    """Payloads with the same members in the same order; and now and then one that is odd in some way."""
    names = draw(st.permutations(["keys", *draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=6))]))
    names = list(dict.fromkeys(names))
    gap = draw(st.sampled_from(["", "", " "]))
    fixed = {name: draw(VALUES[name]) for name in names}
    payloads = []
    for _ in range(draw(st.integers(1, 4))):
        mine = {**fixed, **{name: draw(VALUES[name]) for name in draw(st.sets(st.sampled_from(names), max_size=2))}}
        members = list(mine.items())
        if draw(st.sampled_from([False, False, True])):
            twin = draw(st.sampled_from(names))
            members.insert(draw(st.integers(0, len(members))), (twin, draw(VALUES[twin])))
        if draw(st.sampled_from([False, False, False, True])):
            members.pop()
        payloads.append(written(members, gap, draw(st.sampled_from(["", "", "", " "]))))
    return payloads


def alone(payload: bytes) -> Invalidation | None:
    try:
        return decode(payload, KINDS, 8192)
    except DecodeError:
        return None


def together(payloads: Sequence[bytes]) -> list[Invalidation] | None:
    said = decode_uniform(payloads, b",".join(payloads))
    return [message_of(one) for one in said.envelopes] if said else None


@given(of_one_shape())
@settings(max_examples=400)
def test_what_is_decoded_together_is_what_each_says_alone(payloads: list[bytes]) -> None:
    if said := together(payloads):
        assert said == [alone(payload) for payload in payloads]
        names = decode_uniform(payloads, b"".join(payloads))
        assert names
        assert names.names == [target.value for one in said for target in one.targets]


@given(st.lists(st.one_of(PLAIN, PIECE, ENVELOPE, of_one_shape().map(lambda them: them[0])), min_size=1, max_size=4))
@settings(max_examples=200)
def test_so_it_is_whatever_stands_side_by_side(payloads: list[bytes]) -> None:
    if said := together(payloads):
        assert said == [alone(payload) for payload in payloads]


@given(
    of_one_shape(), st.sampled_from([b"", b"a", b'{"keys":["a"],"keys":["b"]}', b'{"keys":["z"]}']), st.integers(0, 70)
)
@settings(max_examples=60, deadline=None)
def test_a_worker_takes_in_and_counts_the_same(payloads: list[bytes], odd: bytes, place: int) -> None:
    many = payloads * ENOUGH
    if odd:
        many.insert(place, odd)
    assert taken_in(many, bulk=True) == taken_in(many, bulk=False)


def test_envelopes_of_one_shape_are_decoded_together_whatever_they_hold() -> None:
    others = [FULL.replace(b'["a"]', keys) for keys in (b'["b{}[]","c"]', b'["keys","{"]', b'["d"]')]
    assert together([FULL, *others]) == [alone(payload) for payload in [FULL, *others]]
    assert together([other.replace(b",", b", ").replace(b":", b": ") for other in others]) is not None


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b'"keys":["a"]', b'"keys":["a"],"keys":["b"]'),
        (b'"keys":["a"]', b'"keys":[],"keys":["b"]'),
        (b'"tags":[]', b'"tags":[],"tags":[]'),
        (b'"id":"7"', b'"id":"7","id":"8"'),
        (b'"v":1', b'"v":1,"v":1'),
        (b'"id":"7",', b""),
        (b'"id":"7"', b'"id":7'),
        (b'"soft":false', b'"soft":true'),
        (b'"soft":false', b'"soft":true,"soft":false'),
        (b'"reply":null', b'"reply":"x"'),
        (b'"tags":[]', b'"tags":["t"]'),
        (b'"source":"shop"', b'"sauce":"shop"'),
        (b'"source":"shop"', b'"source":"sh\\u006fp"'),
        (b'"source":"shop"', b'"source":"\xc3\xa9"'),
        (b'["a"]', b'["\x7f"]'),
        (b'["a"]', b'[""]'),
        (b'{"v"', b' {"v"'),
        (b'"v":1', b'"v":2'),
        (b'"traceparent":"00-1"', b'"traceparent":{"keys":["b"]}'),
    ],
)
def test_one_of_another_kind_is_not_decoded_together_with_the_others(part: bytes, other: bytes) -> None:
    odd = FULL.replace(part, other)
    assert odd != FULL
    assert together([FULL, FULL]) is not None
    for payloads in ([FULL, odd], [odd, FULL], [FULL, odd, FULL]):
        assert together(payloads) is None


def test_a_name_that_stands_twice_is_found_by_its_quotes_alone() -> None:
    twice = FULL.replace(b'"id":"7"', b'"id":"7","id":"8"')
    assert json.loads(twice)["id"] == "8", "a parser keeps the last"

    class Blind(bytes):
        def count(self, *_: object) -> int:
            return FULL.count(b'"') * 2

    assert together([FULL, twice]) is None
    assert decode_uniform([FULL, twice], Blind(FULL + twice)), "without the count, nobody would see it"


@pytest.mark.parametrize("first", [b"", b"[]", b"{", b'{"id":"1"}', b'{"keys":"a"}', b'{"keys":[' + b"[" * 3000])
def test_what_has_no_such_shape_is_left_to_others(first: bytes) -> None:
    assert together([first, FULL]) is None

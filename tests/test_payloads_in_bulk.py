"""Many payloads at once: what is decoded together is taken in as it is one by one."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING

import pluggy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invalidator import DecodeError, Invalidation, Target, hookimpl, hookspecs
from invalidator.channel import pair
from invalidator.logs import get_logger
from invalidator.messages import KINDS, Keys, Messages
from invalidator.pipeline.bulk import decode_envelopes, decode_keys
from invalidator.pipeline.decoder import decode
from invalidator.pipeline.envelope import message_of
from invalidator.pipeline.formats import decoder_in_bulk
from invalidator.pipeline.ignoring import Ignoring
from invalidator.pipeline.intake import Intake
from invalidator.pipeline.repeats import Repeats
from invalidator.pipeline.tap import Tap
from invalidator.slots import Region
from tests.support.payloads import ENVELOPE, IN_BULK, LONGEST, PAYLOAD, PIECE, PLAIN, taken_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.messages import Kind


def keys_of(payload: bytes) -> Sequence[Target] | None:
    """What is to be decoded in bulk: one key and nothing else."""
    try:
        invalidation = decode(payload, KINDS, LONGEST)
    except DecodeError:
        return None
    return invalidation.targets if payload[:1] != b"{" and invalidation.targets[0].kind == "key" else None


@given(st.lists(PAYLOAD, max_size=6))
@settings(max_examples=200)
def test_payloads_are_decoded_together_where_each_is_a_sound_bare_key(payloads: list[bytes]) -> None:
    alone = [keys_of(payload) for payload in payloads]
    together = decode_keys(payloads, KINDS, LONGEST)
    if payloads and None not in alone:
        assert together == tuple(target for targets in alone for target in targets or ())
    else:
        assert together is None


@pytest.mark.parametrize(
    "odd", [b"", b"a*", b"a?", b"[a", b"{}", b"a\n", b"\x7f", b"\xff", "a\x85".encode(), b"x" * 99]
)
def test_one_that_is_odd_is_not_decoded_together_with_the_others(odd: bytes) -> None:
    for payloads in ([odd], [b"a", odd], [odd, b"a"], [b"a", odd, b"b"]):
        assert decode_keys(payloads, KINDS, LONGEST) is None
    assert decode_keys([b"a{b}", "é".encode(), b"a b"], KINDS, LONGEST) is not None


def test_keys_that_may_not_be_named_are_not_decoded_together() -> None:
    assert decode_keys([b"a"], {"key"}, 1) == (Target("key", "a"),)
    assert decode_keys([b"a"], {"tag"}, 1) is None
    assert decode_keys([b"a", b"aa"], {"key"}, 1) is None


def test_keys_are_what_the_tuple_of_their_targets_is() -> None:
    keys, same = Keys(["a", "b"]), (Target("key", "a"), Target("key", "b"))
    assert keys == same
    assert same == keys
    assert keys != Keys(["b"])
    assert hash(keys) == hash(same)
    assert repr(keys) == repr(same)
    assert (keys[0], len(keys), list(keys)) == (same[0], 2, list(same))
    assert keys[1:] == same[1:]


@given(st.lists(PAYLOAD, max_size=12), st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_is_taken_in_and_counted_as_it_is_one_by_one(payloads: list[bytes], times: int) -> None:
    many = payloads * times if len(payloads) * times < 200 else payloads
    assert taken_in(many, bulk=True) == taken_in(many, bulk=False)


@given(st.lists(st.one_of(PLAIN, PLAIN, PIECE, ENVELOPE), min_size=1, max_size=4))
@settings(max_examples=100)
def test_envelopes_that_are_parsed_together_say_what_each_says_alone(payloads: list[bytes]) -> None:
    together = decode_envelopes(payloads, KINDS, LONGEST)
    for payload, envelope in zip(payloads, together.envelopes if together else (), strict=together is not None):
        assert message_of(envelope) == decode(payload, KINDS, LONGEST)


def test_plain_envelopes_are_parsed_together_and_no_piece_of_one_spoils_its_neighbour() -> None:
    plain = b'{"v":1,"id":"7","ts":2.5,"source":"shop","keys":["a"],"traceparent":"00-1"}'
    said = decode_envelopes([plain] * 3, KINDS, LONGEST)
    assert said
    assert ([one.ts for one in said.envelopes], said.names) == ([2.5] * 3, ["a"] * 3)
    assert decode_envelopes([plain], {"tag"}, LONGEST) is None
    assert decode_envelopes([plain], KINDS, len(plain) - 1) is None
    for more in (
        b'"all":true',
        b'"hops":9',
        b'"soft":true',
        b'"reply":"x"',
        b'"journal":"1-1"',
        b'"v":2',
        b'"specversion":"1.0"',
    ):
        assert decode_envelopes([plain, plain[:-1] + b",%b}" % more], KINDS, 8192) is None
    assert decode_envelopes([plain, plain[:-1] + b',"more":1}'], KINDS, 8192) is not None
    assert decode_envelopes([b'{"a":"[}', b'{","keys":["x"]}'], KINDS, LONGEST) is None, "the two would be one"
    torn, rest = b'{"keys":["a"],"x":"', b'{","y":1},{"keys":["b"]}'
    assert len(json.loads(b"[%b,%b]" % (torn, rest))) == 2, "neither is sound, and together they would be"
    assert decode_envelopes([torn, rest], KINDS, LONGEST) is None
    swallowed = [b'{"keys":["a"],"x":[1', b'{"x":["keys"]}', b'{"y":"keys"}]}']
    assert len(json.loads(b"[%b]" % b",".join(swallowed))) == 1, "two would be a part of the first"
    assert decode_envelopes(swallowed, KINDS, LONGEST) is None
    assert decode_envelopes([plain, b'{"keys":["a",""]}'], KINDS, LONGEST) is None
    deepest = [b'{"x":%b%b,"y":"keys"}' % (b"[" * 3000, b"]" * 3000), *([b'{"x":"keys"}'] * 2999)]
    assert decode_envelopes(deepest, KINDS, 8192) is None, "and it raises nothing"
    deep = plain[:-1] + b',"x":%b%b}' % (b"[" * 40, b"]" * 40)
    with pytest.raises(DecodeError, match="depth"):
        decode(deep, KINDS, 8192)
    assert decode_envelopes([plain, deep], KINDS, 8192) is None
    first, last = b'{"more":[{}', b'{}],"keys":["y"]},{"keys":["z"]}'
    assert len(json.loads(b"[%b]" % b",".join([first, plain, last]))) == 2, "one of them would be swallowed"
    assert decode_envelopes([first, plain, last], KINDS, LONGEST) is None


def test_lists_without_anything_in_them_are_no_reason_to_look_at_each_and_hide_nothing() -> None:
    full = b'{"v":1,"id":"7","keys":["a","b"],"tags":[],"prefixes":[],"urls":[]}'
    said = decode_envelopes([full] * 3, KINDS, LONGEST)
    assert said
    assert ([one.keys for one in said.envelopes], said.names) == ([("a", "b")] * 3, ["a", "b"] * 3)
    for lost in (b'{"keys":["a"],"tags":["t"],"tags":[]}', b'{"keys":[],"tags":["t"],"tags":[]}'):
        assert json.loads(lost)["tags"] == [], "a parser alone would lose one"
        for others in ([], [full], [b'{"keys":[]}'], [b'{"id":"[]","keys":[]}'], [b'{"id":"[[]","keys":[]}']):
            assert decode_envelopes([*others, lost], KINDS, LONGEST) is None
    for lost in (b'{"keys":["a"],"tags":["t"],"tags":[]}', b'{"keys":["a"],"all":true,"all":false}'):
        _, counts, *_ = taken_in([full, lost, full], bulk=True)
        assert counts["rejected:ambiguous"] == 1
    deepest = [b'{"x":%b%b,"y":"keys"}' % (b"[" * 3001, b"]" * 3001), *([b'{"x":"keys"}'] * 2999)]
    assert decode_envelopes(deepest, KINDS, 8192) is None, "and it raises nothing"


def test_what_is_refused_for_its_names_is_refused_among_others_too() -> None:
    plain, refused = b'{"keys":["a"]}', b'{"keys":["keys"],"id":"1","id":"2"}'
    assert json.loads(refused)["id"] == "2", "a parser alone has nothing against it"
    _, counts, *_ = taken_in([plain, refused, plain], bulk=True)
    assert counts["rejected:ambiguous"] == 1
    assert decode_envelopes([plain, refused.replace(b'["keys"]', b'["key"]')], KINDS, LONGEST), "as `decode` does alone"


@pytest.mark.parametrize(
    ("keys", "allow", "reason"),
    [('"a"', "tag", "not_allowed"), ('"a","\x7f"', "key", "control"), ('"a","\x85"', "key", "control")],
)
def test_an_envelope_of_keys_that_is_decoded_quickly_is_held_to_the_same_rules(
    keys: str, allow: Kind, reason: str
) -> None:
    said = f'{{"keys":[{keys}]}}'.encode()
    assert decode_envelopes([said, said], {allow}, LONGEST) is None
    if allow == "tag":
        with pytest.raises(DecodeError, match=reason):
            decode(said, {allow}, LONGEST)
    else:
        taken = decode(said, {allow}, LONGEST)
        assert (taken.targets, taken.rejected) == ((Target("key", "a"),), (reason,))
    assert isinstance(decode(b'{"keys":["a"]}', {"key"}, LONGEST).targets, Keys)


@pytest.mark.parametrize("together", [decode_keys, decode_envelopes])
def test_of_what_is_longer_than_allowed_no_copy_is_made(together: Callable[..., object]) -> None:
    small, huge = b'{"keys":["a"]}', b"{" + b"x" * (1 << 20)
    if together is decode_keys:
        small, huge = b"a", huge[1:]

    def peak(longest: int) -> int:
        tracemalloc.start()
        try:
            assert (together([small, huge], KINDS, longest) is None) == (
                longest < len(huge) or together is not decode_keys
            )
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(8192) < len(huge) // 16
    assert peak(1 << 22) > len(huge), "what is allowed is joined with the others"


def test_each_of_several_keys_is_taken_with_the_time_that_its_own_message_says() -> None:
    seen, *_ = taken_in([b'{"ts":1.5,"keys":["a","b"]}', b'{"keys":["c"]}', b'{"ts":2,"keys":["d"]}'], bulk=True)
    assert [(target.value, ts) for _, target, ts in seen] == [("a", 1.5), ("b", 1.5), ("c", None), ("d", 2.0)]


def test_many_are_known_as_long_as_one_by_one_and_none_of_them_if_one_is_not_new() -> None:
    repeats = Repeats(window=10.0)
    assert repeats.all_new([1, 2], 0.0)
    assert not repeats.all_new([2, 3], 1.0)
    assert not repeats.all_new([4, 4], 1.0)
    assert repeats.all_new([3, 4], 1.0), "who calls looks at each of them then, and would find it known"
    assert not repeats.all_new([1], 10.0), "of the time before"
    assert repeats.all_new([1], 31.0), "and not for ever"


def test_a_plugin_that_decodes_sees_each_message() -> None:
    class Plugin:
        @hookimpl
        def decode(self, payload: bytes, channel: bytes) -> None:
            """Takes part, and has nothing to say."""

    plugins = pluggy.PluginManager(hookspecs.PROJECT)
    plugins.add_hookspecs(hookspecs)
    assert decoder_in_bulk(plugins, {"key"}, LONGEST)
    plugins.register(Plugin())
    assert decoder_in_bulk(plugins, {"key"}, LONGEST) is None


def test_a_repetition_is_known_among_many_and_after_them() -> None:
    one, other = b'{"id":"1","keys":["a"]}', b'{"id":"2","keys":["b"]}'
    seen, counts, declined, _ = taken_in([one, other, one, one], bulk=True)
    assert [target.value for _, target, _ in seen] == ["a", "b"]
    assert counts["ignored:duplicate"] == 2
    assert [(said.id, outcome, reason) for said, outcome, reason in declined] == [("1", "ignored", "duplicate")] * 2


def test_who_looks_on_sees_each_message() -> None:
    assert taken_in([b"a", b"b", b"c"], bulk=True, tapped=True)[-1] == 3
    assert taken_in([b"a", b"b", b"c"], bulk=True)[-1] == 0


def test_bare_keys_become_one_invalidation_and_what_is_odd_among_them_spoils_only_its_neighbours() -> None:
    region, (ours, theirs) = Region([]), pair()
    intake = Intake(
        lambda message: decode(message.payload, KINDS, LONGEST),
        Ignoring(),
        lambda: 0,
        lambda *_: None,
        region.worker(),
        Tap(theirs, "users"),
        get_logger(),
    )
    intake.hear_alone(IN_BULK)
    plain = [b"users:%d" % number for number in range(1000)]
    assert intake.take(Messages([b"c"] * 1000, plain)) == [Invalidation(Keys([name.decode() for name in plain]))]
    assert len(intake.take(Messages([b"c"] * 1000, [*plain[:500], b"*", *plain[501:]]))) < 100
    ours.close()
    theirs.close()


def test_a_source_that_is_ignored_is_found_among_many() -> None:
    payloads = [b'{"keys":["a"]}', b'{"source":"web-1","keys":["b"]}', b'{"keys":["c"]}']
    seen, counts, *_ = taken_in(payloads, bulk=True)
    assert [target.value for _, target, _ in seen] == ["a", "c"]
    assert counts["ignored:source"] == 1


def test_a_few_that_come_twice_are_looked_at_and_all_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = [b'{"id":"%d","keys":["a","b"]}' % number for number in range(300)]
    payloads[50:50] = [payloads[0], payloads[40]]
    seen: list[str] = []
    look = Intake.is_repeat

    def watched(self: Intake, one: Invalidation, now: float) -> bool:
        seen.append(one.id)
        return look(self, one, now)

    monkeypatch.setattr(Intake, "is_repeat", watched)
    taken = taken_in(payloads, bulk=True)
    assert seen == ["0", "40", "0", "40"]
    assert taken[1]["ignored:duplicate"] == 2
    assert taken == taken_in(payloads, bulk=False)
    assert len(seen) > 300, "one by one, all are"


@pytest.mark.parametrize("given_up", [0, 1])
def test_who_sends_again_what_was_given_up_is_heard_among_many_too(given_up: int) -> None:
    counts = iter([0])
    region = Region([])
    other, end = pair()
    intake = Intake(
        lambda message: decode(message.payload, KINDS, LONGEST),
        Ignoring(()),
        lambda: next(counts, given_up),
        lambda *_: None,
        region.worker(),
        Tap(end, "users"),
        get_logger(),
    )
    intake.hear_alone(IN_BULK)
    payloads = [b'{"id":"%d","keys":["a"]}' % number for number in range(100)]
    for expected in (100, 100 if given_up else 0):
        taken = intake.take(Messages([b"c"] * 100, payloads))
        assert sum(len(one.targets) for one in taken) == expected
    other.close()
    end.close()

"""The path of many messages at once: whatever is done in bulk ends as it does message by message."""

from __future__ import annotations

import json
import re
import tracemalloc
from bisect import bisect_left
from itertools import repeat
from typing import TYPE_CHECKING, Any

import hiredis
import pluggy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invalidator import DecodeError, Failure, Invalidation, PurgeResult, Target, hookimpl, hookspecs
from invalidator.backend import targets_of
from invalidator.channel import pair
from invalidator.lanes.admission import offer
from invalidator.lanes.budget import Budgets
from invalidator.lanes.coalescer import Pending
from invalidator.lanes.ordered import Ordered
from invalidator.lanes.policy import Policy
from invalidator.lanes.tiers import Order
from invalidator.logs import get_logger
from invalidator.messages import KINDS, Gap, Keys, Message, Messages
from invalidator.pipeline.bulk import decode_envelopes, decode_keys
from invalidator.pipeline.decoder import decode
from invalidator.pipeline.envelope import message_of
from invalidator.pipeline.formats import InBulk, decoder_in_bulk
from invalidator.pipeline.ignoring import Ignoring
from invalidator.pipeline.intake import Intake
from invalidator.pipeline.repeats import Repeats
from invalidator.pipeline.tap import Tap
from invalidator.slots import PURGE_BOUNDS, Region
from invalidator.subscription.inbox import BITE, Inbox
from invalidator.wire.identity import ECHO
from tests.support.ear import Ear
from tests.support.ear import settings as heard_from

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.messages import Kind

LONGEST = 80

ENVELOPE = st.fixed_dictionaries(
    {
        "keys": st.lists(
            st.sampled_from(["a", "b", "b:1", "é", "", "x\n", '"keys"', "{", "[", "x" * LONGEST]), max_size=2
        )
    },
    optional={
        "v": st.sampled_from([1, 1, 1, 2, None]),
        "id": st.sampled_from(["1", "2", "3", "", None, 5]),
        "ts": st.sampled_from([1.5, 2, None, "soon"]),
        "source": st.sampled_from(["shop", "web-1", None]),
        "soft": st.booleans(),
        "all": st.booleans(),
        "tags": st.sampled_from([[], [], ["t"]]),
        "prefixes": st.sampled_from([[], [], ["p"]]),
        "reply": st.sampled_from([None, "invalidator:reply:1"]),
        "journal": st.just("1-1"),
        "hops": st.sampled_from([0, 9]),
        "specversion": st.just("1.0"),
        "more": st.sampled_from([1, [], {}]),
    },
).map(lambda said: json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode())
PLAIN = st.builds(
    b'{"id":"%d","ts":1.5,"keys":["%b"]}'.__mod__, st.tuples(st.integers(1, 4), st.sampled_from([b"a", b"b"]))
)
PIECE = st.sampled_from(
    [
        b'{"keys":["a"]},{"keys":["b"]}',
        b'{"keys":["a"],"keys":["b"]}',
        b'{"keys":["a}',
        b'{","keys":["x"]}',
        b'{"more":[{}',
        b'{}],"keys":["y"]},{"keys":["z"]}',
        b'{"keys":["a"]',
        b'{"keys":["a"]}]',
        b'{"keys":["a"]} ',
        b' {"keys":["a"]}',
        b'{"keys":["\x7f"]}',
        b'{"keys":["\x01"]}',
        b'{"":"}',
        b'{"keys":["a"]},',
        b'{"keys":["keys"],"id":"1","id":"2"}',
        b'{"keys":["a"],"tags":["t"],"tags":[]}',
        b'{"keys":["a"],"soft":true,"soft":false}',
        b'{"keys":[],"id":"[]"}',
        b"{}",
        b"{",
    ]
)
BARE = st.text(st.sampled_from("ab:1é\x00\n\r\x7f\x85*?[{ \u2028"), max_size=6).map(str.encode)
KEY = st.text(st.sampled_from("ab:1é"), min_size=1, max_size=6).map(str.encode)
PAYLOAD = st.one_of(
    KEY, KEY, KEY, PLAIN, PLAIN, PLAIN, BARE, ENVELOPE, PIECE, st.binary(max_size=4), st.just(b"x" * (LONGEST + 1))
)


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


IN_BULK = InBulk(
    lambda payloads: decode_keys(payloads, KINDS, LONGEST), lambda payloads: decode_envelopes(payloads, KINDS, LONGEST)
)


def taken_in(payloads: Sequence[bytes], *, bulk: bool, tapped: bool = False) -> tuple[Any, ...]:
    """What a worker takes in of these, and all that it has counted."""
    region = Region([])
    ours, theirs = pair()
    tap = Tap(theirs, "users")
    tap.on = tapped
    log = get_logger()
    declined: list[tuple[Any, ...]] = []
    intake = Intake(
        lambda message: decode(message.payload, KINDS, LONGEST),
        Ignoring(["web-*"]),
        lambda: 0,
        lambda *what: declined.append(what),
        region.worker(),
        tap,
        log,
    )
    intake.hear_alone(IN_BULK if bulk else None)
    invalidations = intake.take(Messages([b"cache:x"] * len(payloads), list(payloads)))
    heard = len(list(ours.receive(1000)))
    ours.close()
    theirs.close()
    counts = {name: count for name, count in region.snapshot().worker.items() if name != "last_message_ns"}
    seen = [
        (one.soft, target, ts)
        for one in invalidations
        for target, ts in zip(one.targets, getattr(one.targets, "times", ()) or repeat(one.ts), strict=False)
    ]
    return seen, counts, sorted(declined, key=repr), heard


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


# What Redis sends, in any cuts

CHANNEL = st.sampled_from([b"cache:a", b"cache:b\r\n$1\r\nx"])
SAID = st.one_of(
    BARE, st.sampled_from([b"\r\n", b"*4\r\n$8\r\npmessage\r\n$7\r\ncache:*\r\n", b"$5\r\nhello\r\n", b"", b"0"])
)
REPLY = st.one_of(
    st.tuples(st.just(b"pmessage"), st.just(b"cache:*"), CHANNEL, SAID),
    st.tuples(st.just(b"pmessage"), st.just(b"cache:*"), CHANNEL, SAID),
    st.tuples(st.just(b"message"), CHANNEL, SAID),
    st.tuples(st.just(b"pong"), SAID),
    st.sampled_from([b"PONG", b"four", 0, 1, None, ()]),
)


def on_the_wire(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n%s" % (len(reply), b"".join(map(on_the_wire, reply)))


class Wire:
    """A Link that brings these chunks."""

    gives_all = False

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = list(chunks)

    def read(self) -> bytes | None:
        return self._chunks.pop(0) if self._chunks else None


def parsed(chunks: Sequence[bytes], errors: type[Exception] | tuple[()] = ()) -> list[Any]:
    inbox = Inbox()
    inbox.absorb(Wire(chunks), 0.0)  # type: ignore[arg-type]
    replies: list[Any] = []
    try:
        for some in inbox.replies():
            replies.extend(some)
    except errors:
        replies.append("garbage")
    return replies


@given(st.lists(REPLY, max_size=12), st.lists(st.integers(1, 40), max_size=40))
@settings(max_examples=100)
def test_replies_are_the_same_in_whatever_pieces_they_come(replies: list[Any], cuts: list[int]) -> None:
    data, chunks = b"".join(map(on_the_wire, replies)), []
    for cut in cuts:
        chunks.append(data[:cut])
        data = data[cut:]
    got = parsed([chunk for chunk in [*chunks, data] if chunk])
    assert got == [list(reply) if isinstance(reply, tuple) else reply for reply in replies]


def test_a_chunk_of_many_bites_has_every_reply_whole_and_one_that_is_longer_than_a_bite() -> None:
    said = [(b"pmessage", b"cache:*", b"cache:a", b"%d" % number * (number % 90)) for number in range(1500)]
    said[700] = (b"pmessage", b"cache:*", b"cache:a", b"x" * 3 * BITE)
    data = b"".join(map(on_the_wire, said))
    assert len(data) > 8 * BITE
    assert parsed([data]) == [list(reply) for reply in said]
    assert parsed([data[:BITE], data[BITE:]]) == [list(reply) for reply in said]


def test_what_came_before_garbage_is_handed_on() -> None:
    said = on_the_wire((b"pmessage", b"cache:*", b"cache:a", b"x"))
    assert parsed([said + said + b"?what\r\n" + said], hiredis.HiredisError) == [
        [b"pmessage", b"cache:*", b"cache:a", b"x"]
    ] * 2 + ["garbage"]
    with pytest.raises(hiredis.HiredisError, match=re.compile(".")):
        parsed([b"?what\r\n"])


@pytest.mark.parametrize("pattern", ["cache:*", "*"])
def test_what_comes_after_a_confirmation_is_handed_on_after_its_gap_and_echoes_never(pattern: str) -> None:
    ear = Ear(heard_from("redis://127.0.0.1:1"), pattern)
    ear.subscriber.state = "confirming"
    said = [(b"pmessage", pattern.encode(), b"cache:a", b"%d" % number) for number in (1, 2)]
    echo = (b"pmessage", pattern.encode(), ECHO.encode() + b"x", b"3")
    heard = [echo] * (pattern == "*")  # nobody else is told of them
    replies = [*heard, said[0], (b"psubscribe", pattern.encode(), 1), *heard, said[1]]
    ear.subscriber._inbox.absorb(Wire([b"".join(map(on_the_wire, replies))]), 0.0)  # type: ignore[arg-type]
    before, gap, after = ear.subscriber._parse(0.0)
    assert isinstance(gap, Gap)
    assert [list(messages) for messages in (before, after) if isinstance(messages, Messages)] == [
        [Message(b"cache:a", b"1")],
        [Message(b"cache:a", b"2")],
    ]
    ear.close()


# What a lane makes of it

OFFER = st.tuples(
    st.lists(st.sampled_from(["k1", "k2", "k3", "k4", "x1", "x2"]), max_size=8),
    st.booleans(),
    st.sampled_from([None, 1.0, 2.0]),
)
FATE = st.lists(st.sampled_from(["ok", "ok", "ok", "again", "dead", "later"]), min_size=8, max_size=8)
STEP = st.one_of(
    st.tuples(st.just("offer"), OFFER),
    st.tuples(st.just("offer"), OFFER),
    st.tuples(st.just("take"), st.just(None)),
    st.tuples(st.just("settle"), st.one_of(st.just(["ok"] * 8), FATE)),
    st.tuples(st.just("flush"), st.just(None)),
    st.tuples(st.just("time"), st.floats(0, 5)),
)


def as_keys(names: Sequence[str]) -> list[Any]:
    return [Keys(names)]


def as_targets(names: Sequence[str]) -> list[Any]:
    return [tuple(Target("key", name) for name in names)]


def as_messages(names: Sequence[str]) -> list[Any]:
    return [(Target("key", name),) for name in names]


def lane_after(
    make: Callable[[], Pending], steps: Sequence[tuple[str, Any]], said: Callable[[Sequence[str]], list[Any]]
) -> list[object]:
    """All that one may see of a lane while these happen to it; `said` makes of keys what messages ask for."""
    lane, now = make(), 0.0
    seen: list[object] = []
    flight: Any = None
    for number, (what, how) in enumerate(steps, 1):
        if what == "offer":
            names, soft, ts = how
            lane.heard = number
            invalidations = [Invalidation(targets, soft=soft, ts=ts) for targets in said(names)]
            homeless = [target for one in invalidations for target in offer(lane, one, now)]
            lane.end("lost", len(homeless))
            seen.append(tuple(homeless))
        elif what == "take" and flight is None:
            flight = lane.take(now)
            seen.append(flight)
        elif what == "settle" and flight is not None:
            asked = list(zip(targets_of(flight), how * 20, strict=False))
            failures = tuple(Failure(t, "error", retry=f == "again") for t, f in asked if f in {"again", "dead"})
            result = lane.judge(PurgeResult(failures, deferred=tuple(t for t, f in asked if f == "later")), now)
            seen += [lane.poison(result), lane.settle(flight, result, now)]
            flight = None
        elif what == "flush":
            lane.heard = number
            lane.gap("disconnect", now)
        elif what == "time":
            now += how
        seen.append((lane.received, dict(lane.ends), len(lane), sorted(lane.leftover(), key=repr), lane.next_due(now)))
        seen.append((lane.settled_through(), lane.kept_through(), lane.in_flight(), lane.is_overdue()))
        assert lane.received == sum(lane.ends.values()) + len(lane)
    return seen


@pytest.mark.parametrize("order", [Order(), Order(rebound=1.0), Order(delay=0.5)], ids=["at once", "rebound", "delay"])
@given(steps=st.lists(STEP, max_size=30), limit=st.integers(1, 8), on_gap=st.booleans(), journal=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_lane_does_the_same_with_keys_as_with_their_targets(
    order: Order, steps: list[tuple[str, Any]], limit: int, on_gap: bool, journal: bool
) -> None:
    policy = Policy("w", "b", flush=(Target("prefix", "k"),), on_gap=on_gap, limit=limit, journal=journal, order=order)

    def make() -> Pending:
        return (Pending if order == Order() else Ordered)(policy, lambda: 0.5)

    assert (
        lane_after(make, steps, as_keys) == lane_after(make, steps, as_targets) == lane_after(make, steps, as_messages)
    )


@pytest.mark.parametrize("said", [as_keys, as_targets, as_messages])
def test_in_a_full_lane_a_key_that_comes_again_takes_the_room_of_its_own_rebound(
    said: Callable[[Sequence[str]], list[Any]],
) -> None:
    lane, names = Ordered(Policy("w", "b", limit=3, order=Order(rebound=1.0)), lambda: 0.5), ["a", "b", "c"]
    seen = lane_after(
        lambda: lane,
        [("offer", (names, False, None)), ("take", None), ("settle", ["ok"] * 8), ("offer", (names, False, None))],
        said,
    )
    assert (lane.ends["lost"], lane.ends["coalesced"]) == (1, 3), "all three would be, with all of them looked at first"
    assert seen


def test_keys_are_gathered_from_the_first_one_on() -> None:
    lane = Pending(Policy("w", "b", window=1.0), lambda: 0.5)
    offer(lane, Invalidation(Keys(["a"])), 5.0)
    offer(lane, Invalidation(Keys(["b"])), 5.5)
    assert (lane.next_due(5.5), lane.next_due(6.0)) == (0.5, 0.0)


def test_a_key_that_is_to_be_tried_again_is_pending_once_however_it_comes_again() -> None:
    lane = Pending(Policy("w", "b"), lambda: 0.5)
    again = [("offer", (["a"], False, None)), ("take", None), ("settle", ["again"]), ("offer", (["a"], False, None))]
    lane_after(lambda: lane, again, as_keys)
    assert (len(lane), lane.ends["coalesced"]) == (1, 1)


@pytest.mark.parametrize(("order", "limit"), [(Order(), 9), (Order(), 2), (Order(rebound=1.0), 9)])
def test_the_time_that_each_message_says_stays_with_its_key_where_a_lane_takes_them_one_by_one(
    order: Order, limit: int
) -> None:
    lane = (Pending if order == Order() else Ordered)(Policy("w", "b", limit=limit, order=order), lambda: 0.5)
    offer(lane, Invalidation(Keys(["a", "b", "a"], [1.0, 2.0, 3.0])), 0.0)
    assert [(target.value, stamp.ts) for target, stamp in lane.leftover()] == [("a", 1.0), ("b", 2.0)]


@pytest.mark.parametrize("times", [[], [1.0, None]])
@pytest.mark.parametrize(("widen", "counts"), [(False, (2, 2, 0)), (True, (2, 0, 2))])
def test_keys_are_nothing_to_a_lane_that_cannot_purge_them_but_its_flush_if_so_wished(
    times: list[float | None], widen: bool, counts: tuple[int, ...]
) -> None:
    policy = Policy("w", "b", kinds=frozenset({"tag", "all"}), flush=(Target("all"),), widen=widen)
    lane = Pending(policy, lambda: 0.5)
    offer(lane, Invalidation(Keys(["a", "b"], times)), 0.0)
    assert (lane.received, lane.ends["skipped"], len(lane)) == counts
    assert not lane.leftover()


class Word(str):
    """What the `decode` hook of a plugin may name a key by."""

    __slots__ = ()


def test_a_key_whose_name_is_a_text_of_a_kind_of_its_own_is_purged_as_any() -> None:
    lane = Pending(Policy("w", "b"), lambda: 0.5)
    offer(lane, Invalidation((Target("key", Word("a")), Target("tag", Word("t")), Target("key", "b"))), 0.0)
    assert type(lane.leftover()[0][0].value) is Word
    batch = lane.take(0.0)
    assert batch
    assert (batch.keys, batch.tags) == (("a", "b"), ("t",))


def test_a_key_that_is_wished_for_keeps_its_oldest_stamp_and_one_that_was_soft_becomes_hard() -> None:
    for times in ((), (1.0,)):
        lane = Pending(Policy("w", "b"), lambda: 0.5)
        for lane.heard in (1, 2):
            offer(lane, Invalidation(Keys(["a"], times)), 0.0)
        assert [stamp.number for _, stamp in lane.leftover()] == [1]
        offer(lane, Invalidation((Target("key", "b"),), soft=True), 0.0)
        offer(lane, Invalidation(Keys(["b"], times)), 0.0)
        assert (len(lane), lane.received, lane.ends["coalesced"]) == (2, 4, 2)


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


DURATION = st.one_of(
    st.sampled_from([*PURGE_BOUNDS, 0.0, -0.0, -5.0, 3600.0, 1e308, -1e308, float("inf"), float("nan")]),
    st.floats(0, 100),
)


@given(st.lists(DURATION, max_size=8))
def test_durations_that_are_observed_together_are_in_the_buckets_of_each(durations: list[float]) -> None:
    together, apart = Region(["b"]), Region(["b"])
    together.backend("b").add({}, propagation=iter(durations))
    slots = apart.backend("b")
    for duration in durations:
        slots.add({}, propagation=[duration])
    one, other = together.snapshot().backends["b"], apart.snapshot().backends["b"]
    rounded = len(durations) + 1e-9 * other["propagation:sum_ns"]
    assert abs(one.pop("propagation:sum_ns") - other.pop("propagation:sum_ns")) <= rounded
    assert {**one, "version": 0} == {**other, "version": 0}
    for seconds in (duration for duration in durations if 0 <= duration <= PURGE_BOUNDS[-1]):
        assert one[f"propagation:{PURGE_BOUNDS[bisect_left(PURGE_BOUNDS, seconds)]:g}"] > 0


def test_what_was_purged_after_a_failure_has_its_whole_budget_again() -> None:
    budgets, a = Budgets(), Target("key", "a")
    budgets.judge(PurgeResult((Failure(a, "error"),)), ["a", "b"], 0.0)
    assert len(budgets) == 1
    budgets.judge(PurgeResult(), ["a"], 1.0)
    assert len(budgets) == 0

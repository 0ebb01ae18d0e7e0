"""formats.py: what a plugin decodes is held to the rules of every message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from invalidator import DecodeError, Invalidation, Message, Target, hookimpl
from invalidator.messages import EVERYTHING
from invalidator.pipeline.formats import admitted, decoder
from invalidator.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.messages import Kind

ALLOWED: frozenset[Kind] = frozenset({"key", "tag"})
A, B = Target("key", "a"), Target("key", "b")


def decoding(answer: Callable[[bytes, bytes], Any]) -> Callable[[bytes], Invalidation]:
    """What a worker decodes payloads with when a plugin's `decode` gives this answer."""

    class Plugin:
        @hookimpl
        def decode(self, payload: bytes, channel: bytes) -> Any:
            return answer(payload, channel)

    plugins = Plugins()
    plugins.add("mine", Plugin())
    decode = decoder(plugins, ALLOWED, 100)
    return lambda payload: decode(Message(b"cache:users", payload))


def reason(decode: Callable[[bytes], Invalidation], payload: bytes = b"a") -> str:
    with pytest.raises(DecodeError) as raised:
        decode(payload)
    return raised.value.reason


def test_a_plugin_s_format_comes_first_and_the_contract_s_stay() -> None:
    decode = decoding(lambda payload, channel: Invalidation((B,)) if payload == b"\xff" else None)
    assert decode(b"\xff").targets == (B,)
    assert decode(b"a").targets == (A,)
    assert decode(b'{"keys":["a"],"id":"7"}').id == "7"


def test_a_plugin_is_told_the_channel() -> None:
    assert decoding(lambda _, channel: Invalidation((Target("key", channel.decode()),)))(b"x").targets == (
        Target("key", "cache:users"),
    )


def test_without_a_plugin_nothing_stands_in_between() -> None:
    assert decoder(Plugins(), ALLOWED, 100)(Message(b"c", b"a")).targets == (A,)


def test_a_plugin_cannot_ask_for_what_the_worker_does_not_allow() -> None:
    assert reason(decoding(lambda *_: Invalidation((EVERYTHING,)))) == "not_allowed"
    decoded = decoding(lambda *_: Invalidation((A, EVERYTHING, Target("key", "x\r\ny"), Target("key", "")), soft=True))
    assert decoded(b"x") == Invalidation((A,), soft=True, rejected=("not_allowed", "control", "empty"))


def test_a_plugin_is_not_given_what_is_too_long() -> None:
    seen: list[bytes] = []
    assert reason(decoding(lambda payload, _: seen.append(payload)), b"x" * 101) == "oversize"
    assert seen == []


def test_a_plugin_may_reject_a_message_with_a_reason_that_is_counted() -> None:
    assert reason(decoding(raising(DecodeError("version")))) == "version"
    assert reason(decoding(raising(DecodeError("tired")))) == "plugin"  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(3)], ids=repr)
def test_whatever_a_plugin_raises_rejects_one_message(error: BaseException) -> None:
    assert reason(decoding(raising(error))) == "plugin"


def raising(error: BaseException) -> Callable[[bytes, bytes], None]:
    def answer(payload: bytes, channel: bytes) -> None:
        raise error

    return answer


def test_a_plugin_that_finds_no_target_rejects_the_message() -> None:
    assert reason(decoding(lambda *_: Invalidation(()))) == "no_target"


@pytest.mark.parametrize(
    "garbage",
    [
        "a",
        True,
        Invalidation(None),  # type: ignore[arg-type]
        Invalidation(("a",)),  # type: ignore[arg-type]
        Invalidation((("key", "a"),)),  # type: ignore[arg-type]
        Invalidation((Target("key", b"a"),)),  # type: ignore[arg-type]
        Invalidation((Target("key", ["a"]),)),  # type: ignore[arg-type]
        Invalidation((A,), ts="now"),  # type: ignore[arg-type]
        Invalidation((A,), soft=None),  # type: ignore[arg-type]
        Invalidation((A,), rejected=("tired",)),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_garbage_from_a_plugin_rejects_one_message(garbage: object) -> None:
    assert reason(decoding(lambda *_: garbage)) == "plugin"


def test_a_kind_that_does_not_exist_is_not_allowed() -> None:
    with pytest.raises(DecodeError, match="not_allowed"):
        admitted(Invalidation((Target("kye", "a"),)), ALLOWED)  # type: ignore[arg-type]

"""Decoded: a payload's bytes become an Invalidation, or a DecodeError with a reason to count. Pure.

The payload is whatever somebody published: nothing in it may do more than be rejected.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import msgspec

from invalidator.errors import DecodeError
from invalidator.messages import EVERYTHING, Invalidation, Keys, Kind, RejectReason, Target
from invalidator.pipeline.envelope import LISTS, MARKS, CloudEvent, Envelope, Outermost, is_plain, message_of

if TYPE_CHECKING:
    from collections.abc import Container

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_GLOB = re.compile(r"[*?\[]")
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
DEEPEST = 32
"""Levels of nesting that a payload may have."""

_outermost = msgspec.json.Decoder(Outermost, strict=True)
_cloud_event = msgspec.json.Decoder(CloudEvent, strict=True)


def decode(payload: bytes, allow: Container[Kind], max_payload: int) -> Invalidation:
    """What a payload asks for, within what the worker allows.

    Raises DecodeError when the payload as a whole says nothing we may act on. A single bad target among good ones is
    left out, and named in `rejected`.
    """
    if not payload:
        raise DecodeError("empty")
    if len(payload) > max_payload:
        raise DecodeError("oversize", f"{len(payload)} bytes, at most {max_payload}")
    if payload[0] == 0x7B:
        return _decode_json(payload, allow)
    return _decode_bare(payload, allow)


def _decode_bare(payload: bytes, allow: Container[Kind]) -> Invalidation:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise DecodeError("utf8") from None
    target = Target("key", text)
    if _GLOB.search(text):
        target = _from_glob(text)
    refused = refusal(target, allow)
    if refused:
        raise DecodeError(refused, target.kind)
    return Invalidation((target,))


def _from_glob(text: str) -> Target:
    if text == "*":
        return EVERYTHING
    stem = text[:-1]
    if text[-1] == "*" and not _GLOB.search(stem):
        return Target("prefix", stem)
    return Target("pattern", text)


def _decode_json(payload: bytes, allow: Container[Kind]) -> Invalidation:
    envelope = _parse(payload)
    if envelope.v != 1:
        raise DecodeError("version", str(envelope.v), message_of(envelope, ()))
    targets: tuple[Target, ...] | Keys
    rejected: tuple[RejectReason, ...] = ()
    if _names_keys_alone(envelope) and "key" in allow and all(envelope.keys) and is_plain(payload):
        targets = Keys(envelope.keys)
    else:
        targets, rejected = _targets(envelope, allow)
    message = message_of(envelope, targets, rejected)
    if not targets:
        raise DecodeError(rejected[0] if rejected else "no_target", message=message)
    return message


def _names_keys_alone(envelope: Envelope) -> bool:
    return not (envelope.tags or envelope.prefixes or envelope.patterns or envelope.urls or envelope.all)


def _parse(payload: bytes) -> Envelope:
    if _depth(payload) > DEEPEST:
        raise DecodeError("depth", f"more than {DEEPEST} levels")
    try:
        if not payload.isascii():
            payload.decode()  # the parser looks only at the members that it reads
        return _read(payload)
    except msgspec.ValidationError as error:
        raise DecodeError("shape", str(error)) from None
    except RecursionError:
        raise DecodeError("depth") from None
    except UnicodeDecodeError:
        raise DecodeError("utf8") from None
    except msgspec.DecodeError as error:
        raise DecodeError("json", str(error)) from None


def _read(payload: bytes) -> Envelope:
    try:
        envelope = _outermost.decode(payload)
    except msgspec.ValidationError:
        event = _cloud_event.decode(payload)
        if not event.specversion:
            raise
    else:
        if not envelope.specversion:
            _refuse_twins(payload, envelope)
            return envelope
        event = _cloud_event.decode(payload)
    if event.data is None:
        raise DecodeError("shape", "a CloudEvent without data")
    if not (event.specversion or "").startswith("1."):
        raise DecodeError("version", "CloudEvents 1.0 is what we read")
    _refuse_twins(payload, event.data, b'"specversion"', b'"data"')
    return event.data


def _depth(payload: bytes) -> int:
    # How deep a parser goes before it gives up differs from one Python to the next; what we accept must not.
    if payload.count(b"[") + payload.count(b"{") <= DEEPEST:
        return 0
    depth = deepest = 0
    for bracket in _BRACKETS.findall(payload):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(bracket, 0)
        deepest = max(deepest, depth)
    return deepest


def _refuse_twins(payload: bytes, envelope: Envelope, *further: bytes) -> None:
    # A parser keeps one of two members with the same name, and the targets of the other would be lost without a word.
    # Counting is cheap and may cry wolf, as a key may be called "tags" or hold a bracket; then the slow way decides.
    named = [MARKS[name] for name, _ in LISTS if getattr(envelope, name)]
    lists = payload.count(b"[") - payload.count(b"[]")
    if (
        lists == len(named)  # or one with something in it is gone, and its name stands for an empty one
        and all(payload.count(mark) == 1 for mark in (*further, *named))
        and (b"true" not in payload or (payload.count(b'"all"') < 2 and payload.count(b'"soft"') < 2))
        and b"\\u" not in payload
    ):
        return
    if _names_twice(payload):
        raise DecodeError("ambiguous", "a name stands twice in one object")


def _names_twice(payload: bytes) -> bool:
    twice = False

    def notice(pairs: list[tuple[str, object]]) -> None:
        nonlocal twice
        twice = twice or len({name for name, _ in pairs}) != len(pairs)

    try:
        json.loads(payload, object_pairs_hook=notice)
    except (ValueError, RecursionError) as error:  # an integer of 5,000 digits in a field that nobody reads, say
        raise DecodeError("json", str(error)) from None
    return twice


def _targets(envelope: Envelope, allow: Container[Kind]) -> tuple[tuple[Target, ...], tuple[RejectReason, ...]]:
    accepted: list[Target] = []
    rejected: list[RejectReason] = []
    for name, kind in LISTS:
        for value in getattr(envelope, name):
            target = Target(kind, value)
            refused = refusal(target, allow)
            if refused is None:
                accepted.append(target)
            else:
                rejected.append(refused)
    if envelope.all:
        if "all" in allow:
            accepted.append(EVERYTHING)
        else:
            rejected.append("not_allowed")
    return tuple(accepted), tuple(rejected)


def refusal(target: Target, allow: Container[Kind]) -> RejectReason | None:
    """Why a message may not name this target; None if it may."""
    kind, value = target
    if kind not in allow:
        return "not_allowed"
    if kind == "all":
        return None
    if not value:
        return "empty"
    if _CONTROL.search(value):
        return "control"
    return None if _is_text(value) else "utf8"


def _is_text(value: str) -> bool:
    # JSON can name half of a surrogate pair, which no encoding can put on a wire.
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

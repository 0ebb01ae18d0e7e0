"""What a publisher puts on the wire: channels checked, targets packed into payloads that every worker takes. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.errors import PublishError
from invalidator.messages import KINDS, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from invalidator.messages import Kind

MAX_PAYLOAD = 8 * 1024
"""Bytes of one payload: what a worker takes unless its `max_payload` says otherwise."""
JOURNAL_STREAM = "invalidator:journal"
JOURNAL_KEEP = 1_000_000
"""The journal's Stream, and about how many messages it keeps, unless a topology or a publisher says otherwise."""

_MAX_TEXT = 255
_PART_SUFFIX = len(".9999999")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_GLOB = re.compile(r"[*?\[\]\\]")
_FRAMES: dict[Kind, tuple[bytes, bytes]] = {
    "key": (b',"keys":[', b"]"),
    "tag": (b',"tags":[', b"]"),
    "prefix": (b',"prefixes":[', b"]"),
    "pattern": (b',"patterns":[', b"]"),
    "url": (b',"urls":[', b"]"),
    "all": (b',"all":', b""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a message says beside its targets. `ts` is wall-clock seconds; `hops` how often it was passed on."""

    id: str
    ts: float
    source: str
    soft: bool = False
    traceparent: str = ""
    reply: str = ""
    hops: int = 0


def check_channel(channel: str) -> None:
    """Raises PublishError for a channel that patterns could not select, or that would be read as a pattern itself."""
    problem = _text_problem(channel)
    if _GLOB.search(channel):
        problem = "holds a glob character: a channel is a name, and patterns are the workers'"
    elif not all(channel.split(":")):
        problem = "has an empty segment"
    if problem:
        raise PublishError(f"the channel {_shown(channel)} {problem}")


def envelopes(targets: Iterable[Target], head: Head, limit: int = MAX_PAYLOAD) -> list[bytes]:
    """The payloads, of at most `limit` bytes each, in which every distinct target stands exactly once.

    Several payloads get ids of their own (`ID.1`, `ID.2`, ...): with one id in common, all but the first would look
    like repetitions of it. Raises PublishError if there is no target, one that no worker would take, or one too large.
    """
    distinct = sorted(dict.fromkeys(targets), key=lambda target: KINDS.index(target.kind))
    if not distinct:
        raise PublishError("there is nothing to invalidate: name at least one key, tag, prefix, pattern or url, or all")
    for name, text in (("id", head.id), ("source", head.source), ("traceparent", head.traceparent)):
        if text and (problem := _text_problem(text)):
            raise PublishError(f"the {name} {_shown(text)} {problem}")
        if len(text.encode()) > _MAX_TEXT:
            raise PublishError(f"the {name} {_shown(text)} is longer than {_MAX_TEXT} bytes")
    room = limit - len(_opening(head, head.id)) - _PART_SUFFIX - len(b"}")
    parts = list(_pack(distinct, room, limit))
    return [_render(head, message, part) for message, part in zip(ids_of(head.id, len(parts)), parts, strict=True)]


def ids_of(message: str, count: int) -> list[str]:
    """The ids of so many payloads of one message."""
    return [message] if count == 1 else [f"{message}.{number}" for number in range(1, count + 1)]


def _pack(targets: Iterable[Target], room: int, limit: int) -> Iterator[dict[Kind, list[bytes]]]:
    part: dict[Kind, list[bytes]] = {}
    used = 0
    for target in targets:
        text = _encode(target)
        frame = sum(map(len, _FRAMES[target.kind]))
        if part and used + len(text) + 1 + (0 if target.kind in part else frame) > room:
            yield part
            part, used = {}, 0
        used += len(text) + 1 + (0 if target.kind in part else frame)
        if used > room:
            raise PublishError(f"the {target.kind} {_shown(target.value)} does not fit into a payload of {limit} bytes")
        part.setdefault(target.kind, []).append(text)
    if part:
        yield part


def _render(head: Head, message_id: str, part: dict[Kind, list[bytes]]) -> bytes:
    lists = (_FRAMES[kind][0] + b",".join(texts) + _FRAMES[kind][1] for kind, texts in part.items())
    return _opening(head, message_id) + b"".join(lists) + b"}"


def _opening(head: Head, message_id: str) -> bytes:
    members: dict[str, object] = {"v": 1, "id": message_id, "ts": round(head.ts, 6), "source": head.source}
    if head.soft:
        members["soft"] = True
    if head.traceparent:
        members["traceparent"] = head.traceparent
    if head.reply:
        members["reply"] = head.reply
    if head.hops:
        members["hops"] = head.hops
    return _json(members)[:-1]


def _encode(target: Target) -> bytes:
    if target.kind == "all":
        return b"true"
    problem = _text_problem(target.value) if target.value else "is empty"
    if problem:
        raise PublishError(f"the {target.kind} {_shown(target.value)} {problem}")
    return _json(target.value)


def _text_problem(text: str) -> str:
    if _CONTROL.search(text):
        return "holds a control character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which UTF-8 cannot say"
    return ""


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")

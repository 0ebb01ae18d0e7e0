"""Decoded, many at once: a turn's payloads, where all of them are of the commonest sort. Pure.

What one look at all cannot tell is left to `decode`, which looks at each: the two never differ in what they make of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from invalidator.messages import Keys
from invalidator.pipeline.envelope import MARKS, Envelopes, Outermost, is_plain
from invalidator.pipeline.uniform import ENOUGH, decode_uniform

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from invalidator.messages import Kind

_CONTROL_BEYOND_ASCII = re.compile(r"[\x80-\x9f]")
_SUSPECT = bytes([*range(0x20), 0x7F, *b"*?["])
"""Bytes that are in no bare key that is a key and nothing else: controls, of which one stands between two keys."""

_outermosts = msgspec.json.Decoder(list[Outermost], strict=True)


def decode_keys(payloads: Sequence[bytes], allow: Container[Kind], max_payload: int) -> Keys | None:
    """What all of these ask for, if each is a bare key that is sound: one look at all costs less than one at each.

    None if one of them may be something else, or is to be rejected: then `decode` tells which, and why.
    """
    if "key" not in allow or not payloads or payloads[0].startswith(b"{") or max(map(len, payloads)) > max_payload:
        return None  # before anything is made of what may be huge
    joined = b"\n".join(payloads)
    # One byte is found in a tenth of the time that two are.
    if not all(payloads) or (b"{" in joined and b"\n{" in joined):
        return None
    if len(joined.translate(None, _SUSPECT)) != len(joined) - len(payloads) + 1:
        return None  # more is suspect than what stands between them
    try:
        text = joined.decode()
    except UnicodeDecodeError:
        return None
    if not text.isascii() and _CONTROL_BEYOND_ASCII.search(text):
        return None
    return Keys(text.split("\n"))


def decode_envelopes(payloads: Sequence[bytes], allow: Container[Kind], max_payload: int) -> Envelopes | None:
    """What all of these say, if each is an envelope of sound keys that asks for nothing more.

    None if one of them may be something else, or is to be rejected.
    """
    if "key" not in allow or max(map(len, payloads)) > max_payload:
        return None  # before anything is made of what may be huge
    joined = b",".join(payloads)
    return (decode_uniform(payloads, joined) if len(payloads) >= ENOUGH else None) or _decode_at_once(payloads, joined)


def _decode_at_once(payloads: Sequence[bytes], joined: bytes) -> Envelopes | None:
    """Of whatever shapes they are, parsed in one go.

    Each has one `{`, where it begins, and all of them together are a list of as many objects: so no two of them,
    whatever they hold, were read as one.
    """
    count = len(payloads)
    if joined.count(b"{") != count or not all(payload.startswith(b"{") for payload in payloads):
        return None
    # Each has one list with something in it, and in the end that is its keys: no other can have been lost to a second
    # one of its name, and nothing is deep. A bracket in a text can only make the lists look like more. Where "keys" is
    # also the text of something, `decode` looks at every name, and may find another one twice.
    lists = joined.count(b"[") - joined.count(b"[]")
    if lists != count or joined.count(MARKS["keys"]) != count or b"true" in joined or not is_plain(joined):
        return None
    try:
        envelopes = _outermosts.decode(b"[%b]" % joined)
    except (msgspec.DecodeError, RecursionError):
        return None
    if len(envelopes) != count or not all(map(_asks_for_keys_alone, envelopes)):
        return None
    return Envelopes(envelopes, [key for one in envelopes for key in one.keys])


def _asks_for_keys_alone(envelope: Outermost) -> bool:
    # If there are keys, they are the one list with something in it.
    if envelope.all or envelope.soft or envelope.reply is not None or envelope.journal is not None:
        return False
    if envelope.hops or envelope.specversion:
        return False
    return envelope.v == 1 and bool(envelope.keys) and "" not in envelope.keys

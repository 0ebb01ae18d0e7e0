"""What of a message may become part of a request path, and in which bytes. Pure.

A cache, or the proxy before it, may decode a path once more than we expect, or take `\\` for `/`. A target that would
then name another object than the authorised one is refused here, not repaired: a repaired one names yet another.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

# Each of these ways to write a dot or a slash has been taken for one by some server, the overlong UTF-8 ones included.
_DOT = rb"(?:\.|\xc0\xae)"
_SLASH = rb"(?:[/\\]|\xc0\xaf|\xc1\x9c)"
_DOT_SEGMENT = re.compile(rb"(?:\A|" + _SLASH + rb")" + _DOT + rb"{1,2}(?=\Z|[;?#]|" + _SLASH + rb")")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_DECODINGS = 4

# What most keys are made of. A segment that does not begin with a dot is none, and without `%` nothing can be decoded.
_UNRESERVED = re.compile(r"[0-9A-Za-z_~:/.-]*", re.ASCII)
_SEGMENT = "[0-9A-Za-z_~:-][0-9A-Za-z_~:.-]*"
_HARMLESS = re.compile(f"/?{_SEGMENT}(?:/{_SEGMENT})*/?", re.ASCII)


def encode(text: str) -> str:
    """Percent-encoded UTF-8: all but unreserved characters, `/` and `:`. Raises ValueError where there is no UTF-8."""
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="/:", errors="strict")


def hazard(path: str) -> str:
    """Why this path must not be sent, or "". It is looked at as it is, and as decoding it again and again shows it."""
    if _HARMLESS.fullmatch(path):
        return ""
    try:
        seen = path.encode()
    except UnicodeEncodeError:
        return "is no text"
    for _ in range(_DECODINGS):
        if found := _hazard(seen):
            return found
        decoded = unquote_to_bytes(seen)
        if decoded == seen:
            return ""
        seen = decoded
    return "is percent-encoded too many times over"


def _hazard(path: bytes) -> str:
    if _CONTROL.search(path):
        return "has a control character"
    if _DOT_SEGMENT.search(path):
        return "has a `.` or `..` segment"
    return ""

"""Words and numbers for a narrow terminal: each is short, and its width is known. Pure.

What comes from a publisher, a file or another process goes through `visible` before anything else: it may drive a
terminal, or turn the direction in which a line is read.
"""

from __future__ import annotations

import time
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = 80
NOTHING = "-"
_ELLIPSIS = "…"
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))


def visible(text: str) -> str:
    """The same text with every character that is not simply drawn written out: `\\x1b`, `\\u202e`."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _written(char) for char in text)


def _written(char: str) -> str:
    return char.encode("unicode_escape").decode() if char not in "\ud800\udfff" else f"\\u{ord(char):04x}"


def width(text: str) -> int:
    """How many columns a printable text takes: wide characters take two, combining ones none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """`text` on at most so many columns: what is too much is left out in the middle, where names differ least."""
    text = visible(text)
    if width(text) <= columns:
        return text
    if columns < 1:
        return ""
    tail = (columns - 1) // 2
    return _head(text, columns - 1 - tail) + _ELLIPSIS + _tail(text, tail)


def clip(text: str, columns: int) -> str:
    """The same, but the end is left out: for sentences, whose beginning says most."""
    text = visible(text)
    if width(text) <= columns:
        return text
    return _head(text, columns - 1) + _ELLIPSIS if columns > 0 else ""


def left(text: str, columns: int) -> str:
    """`text` fitted, and filled up with spaces at its right."""
    text = fit(text, columns)
    return text + " " * (columns - width(text))


def right(text: str, columns: int) -> str:
    """`text` fitted, and filled up with spaces at its left: for numbers."""
    text = fit(text, columns)
    return " " * (columns - width(text)) + text


def _head(text: str, columns: int) -> str:
    taken = 0
    for index, char in enumerate(text):
        taken += _columns(char)
        if taken > columns:
            return text[:index]
    return text


def _tail(text: str, columns: int) -> str:
    taken, index = 0, len(text)
    while index and taken + _columns(text[index - 1]) <= columns:
        index -= 1
        taken += _columns(text[index])
    return text[index:]


def duration(seconds: float) -> str:
    """`350 ms`, `12 s`, `5 min`, `3 h`, `12 d`: one unit, at most seven columns."""
    if seconds < 1:
        return f"{min(999, max(0.0, seconds) * 1000):.0f} ms"
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 1:.0f} s"


def ago(at: float, now: float) -> str:
    """How long before `now` this wall second was: `now`, `12 s ago`, or `never` for 0.0."""
    if not at:
        return "never"
    return "now" if now - at < 1 else f"{duration(now - at)} ago"


def moment(at: float, now: float) -> str:
    """The time of day on this host's clock, with the date unless that is today's: `12:03`, `Nov 22 12:03`."""
    then, today = time.localtime(at), time.localtime(now)
    return time.strftime("%H:%M" if then[:3] == today[:3] else "%b %d %H:%M", then)


def count(number: float) -> str:
    """A number of things, at most six columns: `0`, `9,999`, `12.3k`, `1.2M`."""
    if number < 9_999.5:
        return f"{number:,.0f}"
    for size, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if number < size * 999.95:
            return f"{number / size:.1f}{unit}"
    return f"{number / 1e12:.0f}T"


def plural(number: int, noun: str) -> str:
    """`1 worker`, `1,204 workers`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(texts: Sequence[str], most: int = 4) -> str:
    """`a, b, c and 4 more`."""
    rest = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {rest} more" if rest > 0 else "")


def rate(per_second: float) -> str:
    """`0/s`, `0.3/s`, `1,234/s`, `12.3k/s`: at most eight columns."""
    return f"{per_second:.1f}/s" if 0 < per_second < 9.95 else f"{count(per_second)}/s"


def latency(seconds: float | None) -> str:
    """`-` when nothing was measured, `0.4 ms`, `12 ms`, `1.2 s`: at most seven columns."""
    if seconds is None:
        return NOTHING
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{min(seconds, 9999.0):.1f} s"


def by(counts: dict[str, int]) -> str:
    """A sum and what it is made of: `3 (crash 1, reload 2)`, or `0`."""
    total = sum(counts.values())
    parts = ", ".join(f"{name} {count(number)}" for name, number in counts.items() if number)
    return f"{count(total)} ({parts})" if total else "0"

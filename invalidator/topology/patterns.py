"""Channel patterns, by Redis' own glob rules: the name that one suggests, how wide it is, whether two meet. Pure."""

from __future__ import annotations

import re
from typing import Literal

Token = int | Literal["*"]
"""A star, or the set of bytes that may stand in one place, as 256 bits."""

ANY = (1 << 256) - 1
"""Every byte."""
_GLOB = re.compile(r"[*?\[\]\\]")
_MAGIC = "*?[\\"
"""What makes a glob of a pattern. A `]` alone stands for itself."""
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
LONGEST_NAME = 64


def worker_name(pattern: str) -> str:
    """A worker's name made from its pattern: `cache:users:*` gives `cache-users`."""
    literal = [segment for segment in pattern.split(":") if segment and not _GLOB.search(segment)]
    name = _NOT_IN_A_NAME.sub("_", "-".join(literal)).lstrip("_.-")[:LONGEST_NAME]
    return name or "all"


def is_glob(pattern: str) -> bool:
    """Whether it takes PSUBSCRIBE; what is not is one channel's name."""
    return any(char in pattern for char in _MAGIC)


def has_literal_first_segment(pattern: str) -> bool:
    """False for a pattern that reaches into every application's channels."""
    first = pattern.split(":", 1)[0]
    return bool(first) and not _GLOB.search(first)


def overlap(one: str, other: str) -> bool:
    """Whether any channel matches both."""
    a, b = tokens(one), tokens(other)
    # Where each may stand after the same bytes: pairs of positions, followed until both are at their ends.
    todo, seen = [(0, 0)], {(0, 0)}
    while todo:
        i, j = todo.pop()
        if i == len(a) and j == len(b):
            return True
        for step in _steps(a, b, i, j):
            if step not in seen:
                seen.add(step)
                todo.append(step)
    return False


def _steps(a: list[Token], b: list[Token], i: int, j: int) -> list[tuple[int, int]]:
    left = a[i] if i < len(a) else None
    right = b[j] if j < len(b) else None
    steps = []
    if left == "*":
        steps.append((i + 1, j))
        if right is not None:
            steps.append((i, j + 1))
    if right == "*":
        steps.append((i, j + 1))
        if left is not None:
            steps.append((i + 1, j))
    if isinstance(left, int) and isinstance(right, int) and left & right:
        steps.append((i + 1, j + 1))
    return steps


def tokens(pattern: str) -> list[Token]:
    """What a pattern asks of a name, place by place. Stars that follow each other are one."""
    raw = pattern.encode("utf-8", "surrogatepass")
    found: list[Token] = []
    at = 0
    while at < len(raw):
        byte = raw[at : at + 1]
        if byte == b"*":
            if not found or found[-1] != "*":
                found.append("*")
        elif byte == b"?":
            found.append(ANY)
        elif byte == b"[":
            at, members = _set(raw, at + 1)
            found.append(members)
            continue
        else:
            at += byte == b"\\" and at + 1 < len(raw)
            found.append(1 << raw[at])
        at += 1
    return found


def _set(raw: bytes, at: int) -> tuple[int, int]:
    """`[a-z]` from behind its bracket: the position after it, and its bytes. Unclosed, it reaches to the end."""
    negated = raw[at : at + 1] == b"^"
    at += negated
    members = 0
    while at < len(raw) and raw[at] != ord("]"):
        if raw[at] == ord("\\") and at + 1 < len(raw):
            at += 1
            members |= 1 << raw[at]
        elif raw[at + 1 : at + 2] == b"-" and at + 2 < len(raw):
            low, high = sorted((_signed(raw[at]), _signed(raw[at + 2])))
            members |= sum(1 << (value & 0xFF) for value in range(low, high + 1))
            at += 2
        else:
            members |= 1 << raw[at]
        at += 1
    return at + 1, ANY & ~members if negated else members


def _signed(byte: int) -> int:
    # Redis compares characters of C, which on most processors go from -128 to 127.
    return byte - 256 if byte > 127 else byte

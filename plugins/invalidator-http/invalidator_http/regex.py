"""Regular expressions for bans, in which what a message brings stands for itself. Pure.

A ban expression is a line of words, and a word may be a regular expression. So what comes out of here has no space, no
quote and no backslash (whose meaning depends on the quotes around it), and no character of it has a meaning of its own.
"""

from __future__ import annotations

from invalidator.http import encode

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-~/:%@=,")
_NEVER = frozenset(" \"'\\")
_ANY_BYTE = "([^%]|%[0-9A-Fa-f][0-9A-Fa-f])"


def literal(text: str) -> str:
    """A regular expression for this text. Raises ValueError for what a ban expression cannot hold."""
    if not text.isascii() or not text.isprintable() or not _NEVER.isdisjoint(text):
        raise ValueError("a ban expression cannot hold it")
    # There is no class of just `^`, and no backslash: any character in its place is the least that can be said.
    return "".join(char if char in _PLAIN else "." if char == "^" else f"[{char}]" for char in text)


def exact(template: str, key: str) -> str:
    """The path of one key."""
    return _anchored(template, literal(encode(key)), "")


def starting(template: str, prefix: str) -> str:
    """The paths of all keys with this prefix."""
    return _anchored(template, literal(encode(prefix)), ".*")


def matching(template: str, pattern: str) -> str:
    """The paths of all keys that fit a pattern, by the rules of Redis: `*`, `?`, `[a-c]`, `[^a]`, backslash."""
    return _anchored(template, "".join(_parts(pattern.encode())), "")


def word(tag: str) -> str:
    """A header of tags, separated by spaces or commas, that has this one."""
    if not tag or "," in tag:
        raise ValueError("is no tag")
    return f"(^|[[:space:],]){literal(tag)}([[:space:],]|$)"


def _anchored(template: str, key: str, after: str) -> str:
    before, _, rest = template.partition("{key}")
    if after and not rest:
        return f"^{literal(before)}{key}"
    return f"^{literal(before)}{key}{after}{literal(rest)}$"


def _parts(pattern: bytes) -> list[str]:
    parts: list[str] = []
    place = 0
    while place < len(pattern):
        byte = pattern[place : place + 1]
        place += 1
        if byte == b"*":
            parts.append(".*")
        elif byte == b"?":
            parts.append(_ANY_BYTE)
        elif byte == b"[":
            members, place = _members(pattern, place)
            parts.append(_one_of(members))
        else:
            if byte == b"\\" and place < len(pattern):
                byte = pattern[place : place + 1]
                place += 1
            parts.append(_byte(byte[0]))
    return parts


def _members(pattern: bytes, place: int) -> tuple[set[int], int]:
    """The bytes of the class that begins here, and where it ends."""
    negated = pattern[place : place + 1] == b"^"
    place += negated
    members: set[int] = set()
    while place < len(pattern) and pattern[place : place + 1] != b"]":
        if pattern[place : place + 1] == b"\\" and place + 1 < len(pattern):
            place += 1
            members.add(pattern[place])
        elif pattern[place + 1 : place + 2] == b"-" and place + 2 < len(pattern):
            first, last = sorted((pattern[place], pattern[place + 2]))
            members.update(range(first, last + 1))
            place += 2
        else:
            members.add(pattern[place])
        place += 1
    return (set(range(256)) - members if negated else members), place + 1


def _one_of(members: set[int]) -> str:
    # An empty class matches nothing; `(?!)` says so.
    return f"({'|'.join(map(_byte, sorted(members)))})" if members else "(?!)"


def _byte(byte: int) -> str:
    char = chr(byte)
    return literal(encode(char)) if byte < 128 else f"%{byte:02X}"

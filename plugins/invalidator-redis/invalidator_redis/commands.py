"""Names and commands: what a target is called in Redis, and the bytes that ask for it. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import hiredis

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Command = tuple[str | bytes | int, ...]

KEYS_PER_COMMAND = 1000

_GLOB = re.compile(r"([*?\[\]\\])")
_HALF = re.compile("[\ud800-\udfff]")


class KeyTemplate:
    """What the application calls a key, and the patterns for many of them."""

    def __init__(self, template: str) -> None:
        self._before, self._after = template.split("{key}")
        self._literal_before, self._literal_after = escape_glob(self._before), escape_glob(self._after)

    def names(self, keys: Sequence[str]) -> Sequence[str]:
        before, after = self._before, self._after
        return [f"{before}{key}{after}" for key in keys] if before or after else keys

    def prefix(self, prefix: str) -> str:
        """The pattern of all keys that begin with `prefix`, which is taken literally."""
        return self.pattern(f"{escape_glob(prefix)}*")

    def pattern(self, pattern: str) -> str:
        """The same pattern, for the names instead of the keys."""
        return f"{self._literal_before}{pattern}{self._literal_after}"


def escape_glob(text: str) -> str:
    """A pattern that only `text` itself fits."""
    return _GLOB.sub(r"\\\1", text)


def encodable(values: Sequence[str]) -> tuple[Sequence[str], list[str]]:
    """Those that can be written in UTF-8, and those that cannot: JSON can spell half of a character."""
    text = "".join(values)
    if text.isascii() or not _HALF.search(text):
        return values, []
    return [value for value in values if not _HALF.search(value)], [value for value in values if _HALF.search(value)]


def outermost(prefixes: Iterable[str]) -> dict[str, list[str]]:
    """The prefixes that no other one covers, each with all those that it covers, itself included."""
    groups: dict[str, list[str]] = {}
    last: str | None = None
    for prefix in sorted(prefixes):  # what begins with a prefix is sorted right behind it
        if last is None or not prefix.startswith(last):
            last = prefix
            groups[last] = []
        groups[last].append(prefix)
    return groups


def unlink(names: Sequence[str | bytes]) -> Command:
    return ("UNLINK", *names)


def packed(commands: Iterable[Command]) -> bytes:
    pack: Any = hiredis.pack_command  # by its own types a command is one word
    return b"".join(map(pack, commands))

"""memcached's meta protocol, as far as forgetting goes: bytes to send, and what the bytes that come back mean. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from invalidator.errors import BackendError
from invalidator_memcached.options import LONGEST_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS_PER_CHUNK = 1000
"""Keys before each no-op. An error names no key: what it may cost is one chunk, asked again key by key."""

END = b"MN"
PING = b"mn\r\n"
FLUSH = b"flush_all\r\n"
STORED = b"STORED"
HELD = b"HD"
MISSING = b"EN"
_LONGEST_LINE = 2048
_GONE = (b"HD", b"NF")
_TOO_OLD = "it does not know the meta commands: memcached 1.6 or newer is needed"


class KeyTemplate:
    """What the application calls a key in memcached, and which keys memcached can hold under that name."""

    def __init__(self, template: str) -> None:
        self.before, self.after = template.split("{key}")
        self._longest = LONGEST_KEY - len(self.before) - len(self.after)
        shortest = 0 if self.before or self.after else 1
        self._holdable = re.compile(f"[!-~]{{{shortest},{self._longest}}}").fullmatch

    def holdable(self, keys: Sequence[str]) -> Sequence[str]:
        """Those that memcached can hold: 1 to 250 bytes without spaces or control characters.

        The others cannot be there, so they need no purge; and put on the wire they would be commands.
        """
        return keys if all(map(self._holdable, keys)) else list(filter(self._holdable, keys))


def deletes(template: KeyTemplate, keys: Sequence[str], flags: str) -> bytes:
    """The deletes of one chunk of holdable keys, with `flags` behind each key, and the no-op that ends it."""
    between = f"{template.after}{flags}\r\nmd {template.before}"
    return f"md {template.before}{between.join(keys)}{template.after}{flags}\r\nmn\r\n".encode("ascii")


def stores(template: KeyTemplate, key: str, seconds: float) -> bytes:
    """Something under one key, for so long. Raises BackendError for a key that memcached cannot hold."""
    return f"set {_name(template, key)} 0 {max(1, round(seconds))} 1\r\n1\r\n".encode("ascii")


def looks(template: KeyTemplate, key: str) -> bytes:
    """Whether there is something under one key; its value is left there. Raises BackendError as `stores` does."""
    return f"mg {_name(template, key)}\r\n".encode("ascii")


def _name(template: KeyTemplate, key: str) -> str:
    if not template.holdable([key]):
        raise BackendError("rejected", "memcached cannot hold a key of this name", retry=False)
    return f"{template.before}{key}{template.after}"


def soft_flags(ttl: float) -> str:
    """Mark stale, for that many more seconds, instead of deleting."""
    return f" I T{ttl:.0f}"


class Lines:
    """Cuts what arrives into lines. Raises BackendError for a line that no memcached would send."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self.rest = (self.rest + data).split(b"\r\n")
        if len(self.rest) > _LONGEST_LINE:
            raise BackendError("protocol", "an answer without an end")
        return lines


def is_gone(line: bytes) -> bool:
    """Whether the line says that a key is not there any more: deleted, marked, or never stored."""
    return line in _GONE


def is_error(line: bytes) -> bool:
    """Whether the line is the answer to one delete that failed, and the connection is still in step.

    Raises BackendError for anything else: no answer at all, or one after which nothing more can be understood.
    """
    if line == b"ERROR":
        raise BackendError("unsupported", _TOO_OLD, retry=False)
    if b"unauthenticated" in line:
        raise BackendError("auth", "it wants a user and a password", retry_after=5.0)
    if line.startswith((b"SERVER_ERROR ", b"CLIENT_ERROR ")):
        return True
    if line.startswith(b"ERROR "):  # the line before it hangs up: too many connections
        raise BackendError("server_error", shown(line))
    raise BackendError("protocol", f"not an answer to a delete: {shown(line)}")


def shown(line: bytes) -> str:
    """A line for a log: short, and nothing in it that a terminal would act on."""
    return ascii(line[:80].decode("latin-1"))


class Replies:
    """The answers to `expected` chunks, as they arrive: `chunks` has one list of lines for each that has ended.

    In quiet mode a chunk has a line for each error alone; aloud it has one for each delete, and `lines_each` says how
    many those are. Nothing may follow the last chunk: what did would be taken for the answer to the next question.
    """

    def __init__(self, expected: int, lines_each: int | None = None) -> None:
        self.chunks: list[list[bytes]] = []
        self._expected = expected
        self._lines_each = lines_each
        self._lines = Lines()
        self._current: list[bytes] = []

    def feed(self, data: bytes) -> bool:
        """Take what arrived; True when all chunks have ended. Raises BackendError when it cannot be understood."""
        for line in self._lines.feed(data):
            if len(self.chunks) == self._expected or len(self._current) > KEYS_PER_CHUNK:
                raise BackendError("protocol", f"more answers than questions: {shown(line)}")
            if line == END:
                self._end_chunk()
            elif is_gone(line) or is_error(line):
                self._current.append(line)
        if len(self.chunks) < self._expected:
            return False
        if self._lines.rest:
            raise BackendError("protocol", f"more answers than questions: {shown(self._lines.rest)}")
        return True

    def _end_chunk(self) -> None:
        if self._lines_each not in (None, len(self._current)):
            raise BackendError("protocol", f"{len(self._current)} answers to {self._lines_each} deletes")
        self.chunks.append(self._current)
        self._current = []


class OneLine:
    """The single answer to a command that has one: `line` once it has arrived."""

    def __init__(self) -> None:
        self.line = b""
        self._lines = Lines()

    def feed(self, data: bytes) -> bool:
        lines = self._lines.feed(data)
        if len(lines) > 1 or (lines and self._lines.rest):
            raise BackendError("protocol", f"more answers than questions: {shown(lines[0])}")
        if lines:
            self.line = lines[0]
        return bool(lines)

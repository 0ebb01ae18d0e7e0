"""Logs: events with fields, one line each, on stderr.

Readable on a terminal, one JSON object a line elsewhere. A line is one write of at most PIPE_BUF bytes, so that the
lines of several processes on one pipe never tear (above that size they do). A reader that has stopped reading costs
lines, which are counted, and never a worker: nothing here waits for room.
"""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "text", "json"]
Value: TypeAlias = "str | int | float | bool | list[str] | tuple[str, ...] | None"

LEVELS: dict[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_JOURNAL_PRIORITY: dict[Level, str] = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>"}
_COLOUR: dict[Level, str] = {"debug": "\033[2m", "info": "", "warning": "\033[33m", "error": "\033[31m"}
_RESET = "\033[0m"
_STDERR = 2
_LINE_LIMIT = 4096
_VALUE_LIMIT = 600


class Outlet:
    """Writes lines to a file descriptor. Raises nothing, and asks for room first: a write without room would wait."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._socket: socket.socket | None = None
        self._owned = False

    @classmethod
    def unwaiting(cls, fd: int) -> Outlet:
        """An outlet to where `fd` leads that never waits for whoever reads there.

        To ask first is not enough: another process may be quicker to take the last page. And O_NONBLOCK belongs to what
        is open, not to its number: what is open as 2 is shared with whoever started us, who would get EAGAIN as well.
        So a pipe is opened once more, for us alone, and a socket is told with each line. What is left is a terminal, a
        file, and a pipe that is not ours to open.
        """
        outlet = cls(fd)
        with suppress(OSError):  # no /proc, a pipe of another user's or without a reader, or nothing open at all
            mode = os.fstat(fd).st_mode
            if stat.S_ISFIFO(mode):
                outlet._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                outlet._owned = True
            elif stat.S_ISSOCK(mode):
                outlet._socket = socket.socket(fileno=os.dup(fd))
        return outlet

    def write(self, line: str) -> bool:
        """Write one line whole, or not at all. False: the other end is full or gone."""
        data = line.encode("utf-8", "backslashreplace")[: _LINE_LIMIT - 1] + b"\n"
        try:
            if self._socket:
                return self._socket.send(data, socket.MSG_DONTWAIT) == len(data)
            if not self._owned and not _has_room(self._fd):
                return False
            return os.write(self._fd, data) == len(data)
        except OSError:
            return False

    def close(self) -> None:
        """Give back what was opened; `fd` stays open."""
        if self._socket:
            self._socket.close()
        if self._owned:
            os.close(self._fd)


def _has_room(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    return bool(poller.poll(0))


@dataclass(slots=True)
class Sink:
    """Where lines go, and how they look. One for each process; `lost` counts the lines that nobody took."""

    outlet: Outlet = field(default_factory=lambda: Outlet(_STDERR))
    level: Level = "info"
    json: bool = False
    colour: bool = False
    journal: bool = False
    lost: int = 0

    def write(self, level: Level, event: str, fields: dict[str, Value]) -> None:
        """One event as one line; dropped and counted when the other end does not take it now."""
        if LEVELS[level] < LEVELS[self.level]:
            return
        if self.lost:
            fields = fields | {"log_lines_lost": self.lost}
        line = json_line(time.time(), level, event, fields) if self.json else self._text(level, event, fields)
        if self.journal:
            line = _JOURNAL_PRIORITY[level] + line
        if self.outlet.write(line):
            self.lost = 0
        else:
            self.lost += 1

    def _text(self, level: Level, event: str, fields: dict[str, Value]) -> str:
        line = text_line(time.time(), level, event, fields)
        return f"{_COLOUR[level]}{line}{_RESET}" if self.colour and _COLOUR[level] else line


def json_line(now: float, level: Level, event: str, fields: dict[str, Value]) -> str:
    """One JSON object. Fields that would make it longer than a line may be are left out, and `clipped` says so."""
    head: dict[str, Value] = {"time": _timestamp(now), "level": level, "event": event}
    room = _LINE_LIMIT - 64 - len(json.dumps(head))
    for name, value in fields.items():
        shown = _clip(value)
        room -= len(json.dumps({name: shown}))
        if room < 0:
            head["clipped"] = True
            break
        head[name] = shown
    return json.dumps(head)


def text_line(now: float, level: Level, event: str, fields: dict[str, Value]) -> str:
    """`2026-11-22T12:00:00.000Z WARNING worker.restarted worker=users reason=crash`"""
    words = [f"{name}={_word(_clip(value))}" for name, value in fields.items() if value not in ("", None)]
    return " ".join([_timestamp(now), level.upper().ljust(7), event, *words])


def _timestamp(now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"


def _clip(value: Value) -> Value:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, list | tuple):
        return [str(_clip(item)) for item in value[:20]]
    if isinstance(value, str) and len(value) > _VALUE_LIMIT:
        return value[:_VALUE_LIMIT] + "…"
    return value


def _word(value: Value) -> str:
    # What a publisher sent may end up in a log: quoted, it can forge neither a line nor a field, nor drive a terminal.
    if isinstance(value, str) and (not value.isprintable() or any(char in value for char in ' "=\\')):
        return json.dumps(value)
    return json.dumps(value) if isinstance(value, list) else str(value)


_sink = Sink()


def configure(level: Level = "info", format: Format = "auto") -> None:  # noqa: A002
    """Decide once, at the start of a process, where logs go and how they look. Forked workers inherit it."""
    terminal = os.isatty(_STDERR)
    _sink.outlet.close()
    _sink.outlet = Outlet.unwaiting(_STDERR)
    _sink.level = level
    _sink.json = format == "json" or (format == "auto" and not terminal)
    _sink.colour = terminal and not _sink.json and not os.environ.get("NO_COLOR")
    _sink.journal = _is_journal(os.environ.get("JOURNAL_STREAM", ""), _STDERR)


def _is_journal(stream: str, fd: int) -> bool:
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


@dataclass(frozen=True, slots=True)
class Logger:
    """Writes events under fields that are the same each time, such as the worker's name."""

    fields: dict[str, Value] = field(default_factory=dict)

    def bind(self, **fields: Value) -> Logger:
        """The same logger with more fields."""
        return Logger(self.fields | fields)

    def debug(self, event: str, **fields: Value) -> None:
        """For whoever looks for a fault."""
        _sink.write("debug", event, self.fields | fields)

    def info(self, event: str, **fields: Value) -> None:
        """Something happened as it should."""
        _sink.write("info", event, self.fields | fields)

    def warning(self, event: str, **fields: Value) -> None:
        """Something went wrong, and is being dealt with."""
        _sink.write("warning", event, self.fields | fields)

    def error(self, event: str, **fields: Value) -> None:
        """Something is wrong, and a person should look."""
        _sink.write("error", event, self.fields | fields)


def get_logger(name: str = "") -> Logger:
    """A logger; `name` says which part of the program speaks, where the event does not."""
    return Logger({"logger": name} if name else {})


def as_error(text: str) -> str:
    """What a person who ran a command is told on stderr. Where that is the journal, each line says what it is.

    Otherwise `journalctl -p err` would show that a service has failed, and not why.
    """
    if not _is_journal(os.environ.get("JOURNAL_STREAM", ""), _STDERR):
        return text
    return "\n".join(_JOURNAL_PRIORITY["error"] + line for line in text.splitlines())


@dataclass(slots=True)
class Occasionally:
    """Lets one event of a kind through each `interval` seconds, and counts what it held back."""

    interval: float
    _last: dict[str, float] = field(default_factory=dict)
    _held: dict[str, int] = field(default_factory=dict)

    def due(self, kind: str, now: float) -> int | None:
        """None: hold it back. Otherwise the number of events of this kind that were held back since the last."""
        if now - self._last.get(kind, float("-inf")) < self.interval:
            self._held[kind] = self._held.get(kind, 0) + 1
            return None
        self._last[kind] = now
        return self._held.pop(kind, 0)

"""A command on a terminal of its own: what it shows, the keys it gets, and how it leaves the terminal behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

# Set, these would hide the size that a terminal has: by readline, in whatever the process that runs the tests starts.
_SURROUNDINGS = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r"\x1b\[H(?!\x1b\[2J)((?:(?!\x1b\[[HJ]).)*\x1b\[J[^\x1b]*)", re.DOTALL)
_ERASE = re.compile(r"\x1b\[[JK]")


class Terminal:
    """`invalidator ARGUMENTS` on a pseudo-terminal of so many columns and rows."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 24, environ: Mapping[str, str] | None = None):
        self._ours, self._theirs = pty.openpty()
        self.resize(columns, rows)
        self.before = self.settings()
        self.output = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "invalidator", *arguments],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env={**_SURROUNDINGS, "TERM": "xterm-256color", **(environ or {})},
            process_group=0,  # of this session: the kernel stops nobody for Ctrl-Z whom no shell could continue
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def settings(self) -> list[Any]:
        """How the terminal is set."""
        return termios.tcgetattr(self._theirs)

    def resize(self, columns: int, rows: int) -> None:
        """Its user drags the corner. The process hears of it by a signal, to be sent as well: we are not its shell."""
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._ours, keys.encode())

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def read(self) -> str:
        """All that it has written so far."""
        while select.select([self._ours], [], [], 0)[0]:
            self.output += os.read(self._ours, 1 << 16).decode(errors="replace")
        return self.output

    def shows(self) -> list[str]:
        """The lines of the last whole picture, without their styles; none before the first."""
        frames = _FRAME.findall(self.read())
        if not frames:
            return []
        lines = [_STYLE.sub("", text).rstrip("\r") for text in frames[-1].split("\n")]
        # Anywhere else, erasing takes the last character of a line that is as wide as the terminal.
        assert all(_ERASE.match(text) and len(_ERASE.findall(text)) == 1 for text in lines), lines
        return [_ERASE.sub("", text) for text in lines]

    def is_stopped(self) -> bool:
        """Whether a signal has stopped it."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def wait(self, deadline: float = 10.0) -> int:
        """Its exit code; what it writes meanwhile is read, or it would wait for us."""
        end = time.monotonic() + deadline
        while True:
            self.read()
            try:
                code = self._process.wait(0.02)
            except subprocess.TimeoutExpired:
                assert time.monotonic() < end, f"it does not end; it wrote {self.output[-500:]!r}"
            else:
                self.read()
                return code

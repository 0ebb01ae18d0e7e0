"""A terminal taken over for a while, and given back as it was: at the end, after an error, and while we are stopped."""

from __future__ import annotations

import os
import shutil
import sys
import termios
import tty
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STDIN = 0
# The other screen, without a cursor and without wrapping: a line that a terminal takes for wider would move the rest.
_ENTER = "\033[?1049h\033[?25l\033[?7l\033[H\033[2J"
_LEAVE = "\033[?7h\033[?25h\033[?1049l"
_PLAINER = str.maketrans("▁▂▃▄▅▆▇█…→·–", "_.-:=+*#~>.-")


class Fullscreen:
    """Standard output, which must be a terminal. Its keys come one by one, if standard input is a terminal too."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._ascii = not speaks_utf8(environ)
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        """Take it over."""
        self.enter()
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self.leave()

    def enter(self) -> None:
        """Take the terminal over."""
        try:
            if os.isatty(_STDIN):
                self._before = termios.tcgetattr(_STDIN)
                tty.setcbreak(_STDIN)
            _write(_ENTER)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Give it back as it was. One that has gone needs nothing."""
        before, self._before = self._before, None
        with suppress(OSError):
            _write(_LEAVE)
        if before is not None:
            with suppress(termios.error):
                termios.tcsetattr(_STDIN, termios.TCSANOW, before)

    def keys(self) -> int | None:
        """The file descriptor that keys come from; None when there are none to come."""
        return _STDIN if self._before is not None else None

    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        size = shutil.get_terminal_size((80, 24))
        return max(20, size.columns), max(2, size.lines)

    def draw(self, lines: Sequence[str]) -> None:
        """Show these, from the top; what was there goes. In one write: nobody sees a half of it."""
        # Erased before it is written: after a line that is full, the cursor stands on its last character.
        *upper, last = lines or [""]
        text = "".join(f"\033[K{line}\r\n" for line in upper) + f"\033[J{last}"
        _write(f"\033[H{plainer(text) if self._ascii else text}")


def speaks_utf8(environ: Mapping[str, str]) -> bool:
    """Whether the locale's characters are UTF-8; without a locale they are, as Python has it."""
    locale = next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "utf-8")
    return "utf8" in locale.lower().replace("-", "")


def plainer(text: str) -> str:
    """The same in ASCII, as wide."""
    return text.translate(_PLAINER).encode("ascii", "replace").decode()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()

"""What is printed for a person: as wide as the terminal, in its colours if it is one, and nothing that drives it."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from invalidator.screen.paint import painted
from invalidator.screen.text import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.screen.paint import Line

_NARROWEST, _WIDEST = 40, 160
_UNBOUNDED = 1 << 20


def columns() -> int:
    """How wide lines may be; 80 where there is no terminal."""
    if not sys.stdout.isatty():
        return COLUMNS
    return min(_WIDEST, max(_NARROWEST, shutil.get_terminal_size((COLUMNS, 24)).columns))


def echo(lines: Iterable[Line], width: int | None = None) -> None:
    """Print lines, none wider than the terminal is, or than `width`; 0: as wide as they are."""
    room = columns() if width is None else width or _UNBOUNDED
    ctx = click.get_current_context()
    colour = sys.stdout.isatty() and ctx.color is not False
    for text in painted(lines, room, colour=colour):
        click.echo(text, color=colour)

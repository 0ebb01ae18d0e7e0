"""Lines made of pieces, each in a tone: what is bad is red on a terminal, and says so in words everywhere. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from invalidator.screen.text import clip, visible, width

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Tone = Literal["", "bold", "dim", "good", "warning", "bad"]
_CODES: dict[Tone, str] = {"bold": "1", "dim": "2", "good": "32", "warning": "33", "bad": "31"}


class Piece(NamedTuple):
    """A part of a line, and how it is meant."""

    text: str
    tone: Tone = ""


Line = tuple[Piece, ...]


def line(*parts: str | Piece) -> Line:
    """A line of texts and pieces."""
    return tuple(part if isinstance(part, Piece) else Piece(part) for part in parts)


def plain(pieces: Line) -> str:
    """What it says."""
    return "".join(visible(piece.text) for piece in pieces)


def painted(lines: Iterable[Line], columns: int, *, colour: bool) -> list[str]:
    """As they are printed: none is wider than so many columns, and none holds anything that drives a terminal."""
    return [_painted(one, columns, colour=colour) for one in lines]


def _painted(pieces: Sequence[Piece], columns: int, *, colour: bool) -> str:
    parts = []
    for piece in pieces:
        text = clip(piece.text, columns)
        columns -= width(text)
        parts.append(f"\033[{_CODES[piece.tone]}m{text}\033[0m" if colour and text and piece.tone else text)
    return "".join(parts).rstrip()

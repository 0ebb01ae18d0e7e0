"""Dead letters on the disk: how the files of a lane are called, and what stands in a line of one. Pure.

A lane appends to its box, NAME.jsonl. While its letters are tried again they stand in NAME.jsonl.retry, which goes when
all of them have come to an end: purged, or letters once more. Lines that are none are kept in NAME.garbage.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from invalidator.messages import Kind  # noqa: TC001  msgspec reads the annotations

if TYPE_CHECKING:
    from pathlib import Path

    from invalidator.messages import Target

FOLDER = "dead-letters"
"""Below the state_dir."""
Part = Literal["", "retry", "garbage"]
"""What a file has of a box: what came last, what is being tried again, or what is no letter."""
_SUFFIXES: dict[str, Part] = {".jsonl": "", ".jsonl.retry": "retry", ".garbage": "garbage"}


class Box(NamedTuple):
    """Whose letters: a worker's, of a backend; of one with several servers, of one server."""

    worker: str
    backend: str
    node: str = ""

    def file(self, directory: Path, part: Part = "") -> Path:
        """The file below this state_dir."""
        suffix = next(suffix for suffix, of in _SUFFIXES.items() if of == part)
        return directory / FOLDER / (".".join(_quoted(name) for name in self if name) + suffix)


def named(file: str) -> tuple[Box, Part] | None:
    """Which box a file of this name belongs to; None if to none."""
    for suffix, part in _SUFFIXES.items():
        names = file.removesuffix(suffix).split(".")
        if file.endswith(suffix) and len(names) in (2, 3):
            return Box(*map(unquote, names)), part
    return None


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A target that nobody will purge, why not, and since when (wall seconds)."""

    worker: str = ""
    backend: str = ""
    node: str = ""
    at: float
    kind: Kind
    target: str
    reason: str


_DECODER = msgspec.json.Decoder(Letter)


def decode(line: bytes | str) -> Letter | None:
    """What stands in a line; None if it is no letter."""
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def encode(box: Box, target: Target, reason: str, at: float) -> bytes:
    """A line, its end included."""
    whose = {"worker": box.worker, "backend": box.backend} | ({"node": box.node} if box.node else {})
    letter = {**whose, "at": round(at, 3), "kind": target.kind, "target": target.value, "reason": reason}
    return json.dumps(letter).encode() + b"\n"


def has_reason(line: bytes, reason: str) -> bool:
    """Whether a line that `encode` has made has this reason, without decoding it: it stands last."""
    return line.endswith(f'"reason": "{reason}"}}\n'.encode())  # what a publisher names has no bare quote in it


def _quoted(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E")  # a point stands between the names

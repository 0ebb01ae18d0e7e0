"""A box of dead letters as an earlier process has left it on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invalidator import Target
from invalidator.letters import Box, encode

if TYPE_CHECKING:
    from pathlib import Path

BOX = Box("users", "objects")


def write(folder: Path, *keys: str, box: Box = BOX, part: Any = "", more: bytes = b"") -> Path:
    """A box with letters about these keys, and something else behind them."""
    file = box.file(folder, part)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(encode(box, Target("key", key), "overflow", 1.0) for key in keys) + more)
    return file

"""The blocks of code in a Markdown file, so that a test can run what a document shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(document: Path, language: str, after: str = "") -> list[str]:
    """The blocks of this language, in their order; with `after`, those below the heading that says so."""
    text = document.read_text()
    if after:
        assert f"\n## {after}\n" in text, f"{document} has no heading {after!r}"
        text = text.partition(f"\n## {after}\n")[2]
    return [code for name, code in _FENCED.findall(text) if name == language]


def commands(document: Path, program: str) -> list[str]:
    """The lines of its shell blocks that run this program, without the `&` at their end."""
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    return [line.removesuffix(" &") for line in lines if line.split()[:1] == program.split()[:1] and program in line]

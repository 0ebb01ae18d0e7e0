"""A plugin of flake8: code that can hang on Redis Pub/Sub, or lose its messages without a word.

Nothing that it reads is run or imported. What it cannot see, it does not report: a client that comes from elsewhere may
have its timeout.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from invalidator_flake8.resolver import Resolver
from invalidator_flake8.rules import findings
from invalidator_flake8.source import Source

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator, Sequence

__all__ = ["Checker"]

_IN_QUESTION = re.compile(r"redis|valkey|pub_?sub|ignore_subscribe_messages", re.IGNORECASE)
"""Every finding has one of these words in its file; most files have none, and cost a search."""


class Checker:
    """What flake8 makes for each file, by the names of these two arguments, and runs once."""

    def __init__(self, tree: ast.Module, lines: Sequence[str]) -> None:
        self._tree = tree
        self._lines = lines

    def run(self) -> Iterator[tuple[int, int, str, type[Checker]]]:
        """Line, column, the message with its code first, and this class: flake8's protocol."""
        if any(map(_IN_QUESTION.search, self._lines)):
            for finding in findings(Resolver(Source(self._tree))):
                yield finding.line, finding.column, f"{finding.code} {finding.text}", type(self)

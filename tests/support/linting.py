"""What the rules of plugins/invalidator-flake8 say of a text."""

from __future__ import annotations

import ast
from textwrap import dedent

from invalidator_flake8 import Checker


def found(code: str) -> list[tuple[str, int]]:
    """The codes, each with its line."""
    code = dedent(code)
    results = Checker(ast.parse(code), code.splitlines(keepends=True)).run()
    return [(message.partition(" ")[0], line) for line, _, message, _ in results]


def codes(code: str) -> set[str]:
    return {name for name, _ in found(code)}

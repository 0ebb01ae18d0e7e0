"""What a plain scalar says: YAML 1.2's reading, and an error wherever YAML 1.1 would have read something else."""

from __future__ import annotations

import re

Value = str | int | float | bool | None

_WORDS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_OLD_BOOLEANS = {
    word: truth
    for low, truth in (("yes", True), ("on", True), ("no", False), ("off", False))
    for word in (low, low.capitalize(), low.upper())
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]{1,17}")

_LONGEST_NUMBER = 64
"""No trap is longer; a megabyte of digits would only keep the patterns below busy."""

_TRAPS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[-+]?0[0-9_]+"), "is octal to some readers: drop the leading zero, or put it in quotes"),
    (
        re.compile(r"[-+]?0(?:o[0-7]+|x[0-9a-fA-F_]+|b[01_]+)"),
        "is not a decimal number: write one, or put it in quotes",
    ),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"),
        "is a number in base 60 to some readers: put it in quotes",
    ),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?"), "is a date to some readers: put it in quotes"),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"), "is not a number that a setting can have"),
    (
        re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?"),
        "is not a number to all readers: write it in plain digits, or put it in quotes",
    ),
    (re.compile(r"="), "has a meaning of its own to some readers: put it in quotes"),
)


class Ambiguous(ValueError):  # noqa: N818  it is the value that is ambiguous
    """A scalar that two readers of YAML would take for different things. `guess` is what was most likely meant."""

    def __init__(self, text: str, guess: Value) -> None:
        super().__init__(text)
        self.guess = guess


def resolve(text: str) -> Value:
    """What an unquoted scalar stands for; raises Ambiguous where readers disagree."""
    if text in _WORDS:
        return _WORDS[text]
    if text in _OLD_BOOLEANS:
        truth = _OLD_BOOLEANS[text]
        raise Ambiguous(
            f'{text} is a boolean to some readers: write {str(truth).lower()}, or "{text}" in quotes', truth
        )
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    if len(text) <= _LONGEST_NUMBER:
        for trap, why in _TRAPS:
            if trap.fullmatch(text):
                raise Ambiguous(f"{text} {why}", text)
    return text

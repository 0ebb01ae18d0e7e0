"""The README's table of promises, written from chaos/results by `python -m chaos table`. A test compares the two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos import results
from chaos.promises import PROMISES
from tests.support.environments import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from chaos.promises import Promise
    from chaos.results import Result

BEGIN = "<!-- chaos: written by `python -m chaos table` from chaos/results; do not edit -->"
END = "<!-- /chaos -->"
_HEAD = ("promise", "number", "measured", "samples", "again")


def rendered(found: Sequence[Result]) -> str:
    """The table in Markdown, between its two marks."""
    rows = [_row(promise, found) for promise in PROMISES]
    lines = [_line(_HEAD), _line("---" for _ in _HEAD), *map(_line, rows)]
    return "\n".join([BEGIN, *lines, "", _footnote(found), END])


def in_text(text: str, table: str, first: str = BEGIN, last: str = END) -> str:
    """`text` with this table in the place of the one that is there. Raises ValueError when it has no place for it."""
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"there is no place for the table: put {first} and {last} where it belongs")
    return f"{before}{table}{after}"


def write(readme: Path = REPOSITORY / "README.md") -> None:
    """Write it into the README."""
    text = readme.read_text(encoding="utf-8")
    readme.write_text(in_text(text, rendered(results.Result.read(results.COMMITTED))), encoding="utf-8")


def said(result: Result) -> str:
    """One result in a line, for whoever watches."""
    numbers = (promise.measure([result]).number for promise in _promises_of(result))
    return f"{result.samples} tried: {next(numbers, 'done')}"


def broken(result: Result) -> str:
    """Which promise this result shows to be broken, and how; empty if it keeps them all."""
    if result.problem:
        return ""
    outcomes = ((promise, promise.measure([result])) for promise in _promises_of(result))
    return "; ".join(f"{promise.what}: {outcome.number}" for promise, outcome in outcomes if not outcome.kept)


def _promises_of(result: Result) -> Iterator[Promise]:
    for promise in PROMISES:
        exact = promise.measure.__name__ == "_unapplied"
        if selects(promise, result.run) and not (exact and result.mode != "journal"):
            yield promise


def selects(promise: Promise, run: str) -> bool:
    """Whether this run is one of those that a row is made from."""
    return any(run == name or (name.endswith(".") and run.startswith(name)) for name in promise.runs.split())


def _row(promise: Promise, found: Sequence[Result]) -> tuple[str, ...]:
    mine = [result for result in found if selects(promise, result.run) and not result.short and not result.problem]
    only = " ".join(f"--only {name.rstrip('.')}" for name in promise.runs.split())
    again = f'`make chaos ARGS="{only}"`'
    if not mine:
        return promise.what, promise.number, "not measured yet", "", again
    outcome = promise.measure(mine)
    return (
        promise.what,
        promise.number,
        outcome.number if outcome.kept else f"**{outcome.number}**",
        outcome.samples,
        again,
    )


def _footnote(found: Sequence[Result]) -> str:
    places = sorted({_place(result) for result in found})
    return (
        f"Measured on {' and '.join(places)}; the raw results are in [chaos/results](chaos/results)." if places else ""
    )


def _place(result: Result) -> str:
    has = result.environment
    return f"{has['cores']} cores, Linux {has['kernel']}, Python {has['python']}, {has['redis']}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"

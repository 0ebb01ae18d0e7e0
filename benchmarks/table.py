"""The README's table and picture, written from benchmarks/results by `python -m benchmarks table`. A test compares."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks import chart, growth, results
from benchmarks.aims import NAMES, shown
from benchmarks.quantities import number, seconds, spread
from benchmarks.rows import ROWS
from chaos.table import in_text
from tests.support.environments import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.results import Result
    from benchmarks.rows import Row

BEGIN = "<!-- benchmarks: written by `python -m benchmarks table` from benchmarks/results; do not edit -->"
END = "<!-- /benchmarks -->"
PICTURE = REPOSITORY / "docs" / "benchmarks.svg"
GROWTH = REPOSITORY / "benchmarks" / "README.md"
_PICTURE = "![messages a second, keys a second and latencies, beside others](docs/benchmarks.svg)"
_HEAD = ("measured", "aim", "found", "here", "again")


def rendered(found: Sequence[Result]) -> str:
    """The picture and the table in Markdown, between its two marks: what is measured, and nothing of the rest."""
    measured = [row for row in ROWS if _result_of(row, found)]
    if not measured:
        return "\n".join([BEGIN, 'Nothing is measured yet: `make bench ARGS="--keep" && make docs`.', END])
    lines = [_line(_HEAD), _line("---" for _ in _HEAD), *(_line(_row(row, found)) for row in measured)]
    return "\n".join([BEGIN, _PICTURE, "", *lines, "", _footnote(found), END])


def derived(found: Sequence[Result], folder: Path = REPOSITORY) -> dict[Path, str]:
    """Every file that is made from results, whole, as it should be."""
    readme, own = folder / "README.md", folder / GROWTH.relative_to(REPOSITORY)
    return {
        readme: in_text(readme.read_text(encoding="utf-8"), rendered(found), BEGIN, END),
        own: in_text(own.read_text(encoding="utf-8"), "\n".join([BEGIN, *growth.rendered(found), END]), BEGIN, END),
        folder / PICTURE.relative_to(REPOSITORY): chart.drawn(found),
    }


def write() -> None:
    """Write them."""
    for file, text in derived(results.Result.read(results.COMMITTED)).items():
        file.write_text(text, encoding="utf-8")


def said(result: Result) -> str:
    """One result in a line, for whoever watches: every contender's median."""
    samples = result.values.get("samples", {})
    write = seconds if result.values.get("unit") == "s" else number
    return ", ".join(f"{NAMES.get(name, name)} {write(spread(values).median)}" for name, values in samples.items())


def missed(result: Result) -> str:
    """What this result does not reach, and how far it came; empty if it reaches all, or failed."""
    if result.problem:
        return ""
    judged = [
        (aim.words, aim.judge(result.values["samples"])) for row in ROWS if row.run == result.run for aim in row.aims
    ]
    return "; ".join(f"{words}: {each.text}" for words, each in judged if each.reached is False)


def _result_of(row: Row, found: Sequence[Result]) -> Result | None:
    return next((each for each in found if each.run == row.run and not each.short and not each.problem), None)


def _row(row: Row, found: Sequence[Result]) -> tuple[str, ...]:
    aims = "; ".join(aim.words for aim in row.aims)
    again = f'`make bench ARGS="--only {row.run}"`'
    result = _result_of(row, found)
    if result is None:
        return row.what, aims, "not measured yet", "", again
    samples = result.values["samples"]
    judged = [aim.judge(samples) for aim in row.aims]
    texts = (f"**{each.text}**" if each.reached is False else each.text for each in judged)
    return row.what, aims, "; ".join(texts), shown(samples, row.figure, row.unit), again


def _footnote(found: Sequence[Result]) -> str:
    places = sorted({_place(result) for result in found})
    rounds = sorted({result.rounds for result in found})
    if not places:
        return ""
    return (
        f"Measured on {' and '.join(places)}. A ratio is of two that were measured in the same round; the median of"
        f" {' to '.join(str(each) for each in dict.fromkeys((rounds[0], rounds[-1])))} rounds, the least and the most"
        " in brackets; **bold** where it falls short. Absolute figures (`here`) are those of this machine, on that day:"
        f" its load average was {_load(found):.0f} when a run began (the median)."
    )


def _load(found: Sequence[Result]) -> float:
    # Of some it is their predecessor's own: a thousand processes are among the runs.
    return median(float(result.environment["load"]) for result in found)


def _place(result: Result) -> str:
    has = result.environment
    return f"{has['cores']} cores, Linux {has['kernel']}, Python {has['python']}, {has['redis']}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"

"""The findings as a person reads them, at 80 columns, and as a program does. Pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invalidator.doctor.finding import LEVELS, Level
from invalidator.screen.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.doctor.finding import Finding

WIDTH = 80
_MARKS: dict[Level, tuple[str, str]] = {
    "wrong": ("WRONG", "red"),
    "warning": ("warning", "yellow"),
    "note": ("note", "cyan"),
    "ok": ("ok", "green"),
}
_INDENT = " " * 11


def text(findings: Sequence[Finding], file: str) -> Iterator[str]:
    """The lines of the report: by subject, the worst first, and at last the verdict. Coloured: echo strips it."""
    for subject in dict.fromkeys(finding.subject for finding in findings):
        about = [finding for finding in findings if finding.subject == subject]
        yield click.style(subject, bold=True)
        for group in _grouped(about):
            yield from _told(group)
        yield ""
    yield verdict(findings, file)


def verdict(findings: Sequence[Finding], file: str) -> str:
    """The last line."""
    counts = Counter(finding.level for finding in findings)
    said = ", ".join(_counted(counts[level], level) for level in LEVELS if counts[level])
    word = "something is wrong" if is_wrong(findings) else "nothing is wrong"
    line = f"{file}: {word}: {said}"
    return line if len(line) <= WIDTH else f"{Path(file).name}: {word}: {said}"


def _counted(number: int, level: Level) -> str:
    return plural(number, level) if level in ("warning", "note") else f"{number:,} {level}"


def is_wrong(findings: Sequence[Finding]) -> bool:
    """Whether the verdict is no."""
    return any(finding.level == "wrong" for finding in findings)


def as_dict(findings: Sequence[Finding], file: str) -> dict[str, Any]:
    """What `--json` prints."""
    counts = Counter(finding.level for finding in findings)
    return {
        "ok": not is_wrong(findings),
        "file": file,
        "counts": {level: counts[level] for level in LEVELS},
        "findings": [
            {
                "id": finding.kind.id,
                "level": finding.level,
                "subject": finding.subject,
                "title": finding.kind.title,
                "evidence": finding.evidence,
                "meaning": finding.kind.meaning,
                "fix": finding.fix,
            }
            for finding in findings
        ],
    }


def _grouped(findings: Sequence[Finding]) -> list[list[Finding]]:
    """The worst first; what has the same meaning and fix is told once, with all of its evidence."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: LEVELS.index(finding.level)):
        groups.setdefault((finding.kind.id, finding.fix), []).append(finding)
    return list(groups.values())


def _told(group: Sequence[Finding]) -> Iterator[str]:
    kind = group[0].kind
    mark, colour = _MARKS[kind.level]
    fits = len(_INDENT) + len(kind.title) + len(kind.id) + 3 <= WIDTH
    yield f"  {click.style(f'{mark:<8}', fg=colour, bold=kind.level == 'wrong')} {kind.title}{f' [{kind.id}]' * fits}"
    if not fits:
        yield f"{_INDENT}[{kind.id}]"
    for finding in group:
        yield from _wrapped("- " if len(group) > 1 else "", finding.evidence)
    if kind.level != "ok":
        yield from _wrapped("means: ", kind.meaning)
        yield from _wrapped("fix:   ", group[0].fix)


def _wrapped(label: str, words: str) -> list[str]:
    # A command or a path is never cut in two: a person copies it.
    lines = textwrap.wrap(
        words,
        WIDTH - len(_INDENT) - len(label),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [f"{_INDENT}{label if not number else ' ' * len(label)}{line}" for number, line in enumerate(lines)]

"""The outcomes, for a person and for a program. Pure."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from invalidator.drill.promises import shown
from invalidator.screen.paint import Piece, line
from invalidator.screen.text import clip, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from invalidator.drill.fault import Fault
    from invalidator.drill.promises import Outcome
    from invalidator.screen.paint import Line

_NAME, _TIME, _STALE, _GAP = 15, 9, 6, 19
_WIDE = 66
"""From so many columns on, there is room for the gaps."""
_WIDEST = 118
"""And from so many on, for what each fault is: names like `full` and `rights` do not say it."""
_VERDICT = 10


def heading(columns: int) -> Line:
    """The table's first line."""
    gap = f"  {'gap':<{_GAP}}" if columns >= _WIDE else ""
    text = f"{'fault':<{_NAME}}{'mended':>{_TIME}}{gap}{'stale':>{_STALE}}  {'promises':<{_VERDICT}}"
    return line(Piece(f"{text}  what it was".rstrip() if columns >= _WIDEST else text.rstrip(), "dim"))


def row(outcome: Outcome, columns: int) -> Iterator[Line]:
    """One fault's line, and a line for each promise that it broke."""
    took = shown(outcome.recovered) if outcome.recovered is not None else "never"
    causes = ", ".join(outcome.gaps) or "-"
    gap = f"  {causes:<{_GAP}}" if columns >= _WIDE else ""
    stale = sum(outcome.stale.values())
    held = sum(check.kept for check in outcome.checks)
    verdict = Piece(f"{held} kept", "good") if outcome.kept else Piece(f"{len(outcome.broken)} broken", "bad")
    about = f"{'':{max(0, _VERDICT - len(verdict.text))}}  {outcome.about}" if columns >= _WIDEST else ""
    yield line(f"{outcome.fault:<{_NAME}}{took:>{_TIME}}{gap}{stale:>{_STALE},}  ", verdict, Piece(about, "dim"))
    for check in outcome.broken:
        for text in wrap(f"broken: {check.promise}; seen: {check.evidence}", max(20, columns - 4)):
            yield line("    ", Piece(text, "bad"))


def under_way(fault: Fault, columns: int) -> str:
    """What stands there until the outcome does."""
    return clip(f"{fault.name:<{_NAME}}  {fault.about} …", columns - 1)


def verdict(outcomes: Sequence[Outcome], seed: int) -> Iterator[Line]:
    """The last lines."""
    promises = sum(len(outcome.checks) for outcome in outcomes)
    broken = sum(len(outcome.broken) for outcome in outcomes)
    published = sum(outcome.published for outcome in outcomes)
    yield line(f"seed {seed}")
    yield line(f"{plural(len(outcomes), 'fault')}, {published:,} changes published")
    if broken:
        yield line(Piece(f"{broken} of {plural(promises, 'promise')} broken", "bad"))
    else:
        yield line(Piece(f"{plural(promises, 'promise')}, all kept", "good"))
    yield line(f"stale entries: {sum(sum(outcome.stale.values()) for outcome in outcomes)}")


def listing(faults: Iterable[Fault]) -> Iterator[Line]:
    """The faults that there are."""
    for fault in faults:
        only = f" (delivery {fault.delivery})" if fault.delivery else ""
        yield line(f"{fault.name:<{_NAME}}  {fault.about}{only}")


def as_dict(outcomes: Sequence[Outcome], seed: int) -> dict[str, Any]:
    """All of it, for `--json`."""
    return {
        "ok": bool(outcomes) and all(outcome.kept for outcome in outcomes),
        "seed": seed,
        "stale": sum(sum(outcome.stale.values()) for outcome in outcomes),
        "outcomes": [
            {
                "fault": outcome.fault,
                "about": outcome.about,
                "delivery": outcome.delivery,
                "ok": outcome.kept,
                "seconds": outcome.recovered,
                "gaps": dict(outcome.gaps),
                "stale": dict(outcome.stale),
                "entries": outcome.entries,
                "published": outcome.published,
                "promises": [
                    {"promise": check.promise, "kept": check.kept, "evidence": check.evidence}
                    for check in outcome.checks
                ],
            }
            for outcome in outcomes
        ],
    }

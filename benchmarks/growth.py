"""The tables in benchmarks/README.md: cost as the work grows, and where a message's time goes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.quantities import spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.results import Result

_GROWTH = (
    ("growth.payload", "bytes in a payload"),
    ("growth.keys", "distinct keys"),
    ("growth.backends", "LRU backends"),
    ("growth.processes", "application processes"),
    ("growth.workers", "workers"),
)


def rendered(found: Sequence[Result]) -> list[str]:
    """Lines of Markdown."""
    known = {result.run: result for result in found if not result.short and not result.problem}
    sizes = [line for run, title in _GROWTH if run in known for line in _sizes(title, known[run])]
    lines = (
        ["", "| messages/s, while Redis publishes | | | | | | | |", "| --- |" + " --- |" * 7, *sizes] if sizes else []
    )
    if "profile" in known:
        lines += ["", *_profile(known["profile"])]
    if "hand-off" in known:
        lines += ["", *_hand_off(known["hand-off"])]
    return [*lines, ""]


def _sizes(title: str, result: Result) -> Iterator[str]:
    samples = result.values["samples"]
    sizes = sorted(samples, key=int)
    rest = [""] * (7 - len(sizes))
    yield f"| **{title}** | {' | '.join([*(f'**{int(size):,}**' for size in sizes), *rest])} |"
    cells = [spread(samples[size]).said() for size in sizes]
    yield f"| handled | {' | '.join([*cells, *rest])} |"


def _profile(result: Result) -> Iterator[str]:
    samples = result.values["samples"]
    kinds = result.values["kinds"]
    yield f"| where a message's time goes, ns | {' | '.join(kinds)} |"
    yield "| --- |" + " --- |" * len(kinds)
    for stage in result.values["stages"]:
        cells = [samples.get(f"{kind}/{stage}") for kind in kinds]
        yield f"| {stage} | {' | '.join(f'{spread(each).median * 1e9:,.0f}' if each else '' for each in cells)} |"
    sums = [sum(spread(each).median for name, each in samples.items() if name.startswith(f"{kind}/")) for kind in kinds]
    yield f"| all | {' | '.join(f'{each * 1e9:,.0f}' for each in sums)} |"


def _hand_off(result: Result) -> Iterator[str]:
    samples = result.values["samples"]
    yield "| from `offer` until the backend is called | on the loop | by a lane's thread |"
    yield "| --- | --- | --- |"
    for share in ("p50", "p99"):
        cells = (f"{spread(samples[f'{way} {share}']).median * 1e6:.0f} µs" for way in ("inline", "thread"))
        yield f"| {share} | {' | '.join(cells)} |"

"""Which of a worker's backends come after which: names that it must use, and no circles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.plugins import suggestion

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from invalidator.topology.findings import Findings
    from invalidator.topology.models import LaneSpec


def check(worker: int, lanes: Sequence[tuple[int, LaneSpec]], names: Collection[str], findings: Findings) -> None:
    """Report every `after:` that leads nowhere. `lanes` have their places in the file, `names` are all backends."""
    after = {lane.backend: lane.after for _, lane in lanes}
    told: set[str] = set()
    for position, lane in lanes:
        if lane.after is None:
            continue
        path = ("workers", worker, "backends", position, "after")
        if lane.after not in names:
            findings.error(path, f"there is no backend '{lane.after[:80]}'{suggestion(lane.after, names)}")
        elif lane.after not in after:
            findings.error(path, f"this worker does not use '{lane.after}'{suggestion(lane.after, after)}")
        elif lane.backend not in told and (circle := list(_circle(lane.backend, after))):
            told.update(circle)
            findings.error(path, "comes after itself: " + " after ".join([*circle, lane.backend]))


def _circle(backend: str, after: Mapping[str, str | None]) -> Iterator[str]:
    """The backends on the way from this one back to itself; none if it does not lead there."""
    way = [backend]
    while (step := after.get(way[-1])) is not None and step not in way:
        way.append(step)
    if step == backend:
        yield from way

"""What the contract names and a later version brings. It is refused by its name, not as an unknown setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.topology.findings import Findings
    from invalidator.topology.nodes import Path

LANE_SETTINGS = ("scope",)

_REFUSED = "not yet: comes with a later version"


def refuse(raw: dict[str, Any], findings: Findings) -> None:
    """Report what is not yet there, and take it out of `raw`: the models do not know it."""
    for index, worker in _mappings(raw.get("workers")):
        for position, lane in _mappings(worker.get("backends")):
            _refuse_lane(lane, ("workers", index, "backends", position), findings)


def _refuse_lane(lane: dict[str, Any], path: Path, findings: Findings) -> None:
    for name in LANE_SETTINGS:
        if name not in lane:
            continue
        if lane.pop(name) not in (None, False):  # switched off, it asks for nothing
            findings.error((*path, name), _REFUSED, "key")


def _mappings(items: object) -> Iterator[tuple[int, dict[str, Any]]]:
    if isinstance(items, list):
        yield from ((index, item) for index, item in enumerate(items) if isinstance(item, dict))

"""What one part of the topology says of another: names that must exist, and flushes that must be possible."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from invalidator.plugins import suggestion
from invalidator.topology import order
from invalidator.topology.gaps import flush_of, on_gap
from invalidator.topology.nodes import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from invalidator.messages import Kind
    from invalidator.topology.findings import Findings
    from invalidator.topology.models import BackendSpec, LaneSpec, WorkerSpec
    from invalidator.topology.nodes import Path


_WAYS: dict[Kind, str] = {"prefix": "{prefix: …}", "tag": "{tags: […]}", "all": "{all: true}"}
"""How to say each flush that there is."""


@dataclass(frozen=True, slots=True)
class Draft:
    """As much of a worker as could be read; the positions are those of the file. `spec` holds no lanes of its own."""

    index: int
    spec: WorkerSpec
    named: bool
    lanes: list[tuple[int, LaneSpec]] = field(default_factory=list)


def check(
    drafts: Sequence[Draft],
    names: Collection[str],
    backends: Mapping[str, BackendSpec],
    findings: Findings,
    *,
    redis: bool,
) -> None:
    """Report every reference that leads nowhere.

    `names` are the backends that the file has, `backends` those of them that are right; `redis` says whether the file
    has a `redis:` for all.
    """
    _check_names(drafts, findings)
    for draft in drafts:
        if not redis and draft.spec.redis is None:
            findings.error(("workers", draft.index), "has no redis: give it one, or one for all at the top")
        seen: set[str] = set()
        for position, lane in draft.lanes:
            path = ("workers", draft.index, "backends", position)
            named_at = findings.existing((*path, "backend"))  # a lane can be a bare name
            if lane.backend not in names:
                findings.error(named_at, f"there is no backend '{lane.backend[:80]}'{suggestion(lane.backend, names)}")
            elif lane.backend in seen:
                findings.error(named_at, f"'{lane.backend}' is here for the second time")
            elif lane.backend in backends:
                _check_flush(draft, position, lane, backends[lane.backend], findings)
            seen.add(lane.backend)
        order.check(draft.index, draft.lanes, names, findings)


def _check_names(drafts: Sequence[Draft], findings: Findings) -> None:
    first: dict[str, Draft] = {}
    for draft in drafts:
        known = first.setdefault(draft.spec.name, draft)
        if known is draft:
            continue
        path = ("workers", draft.index)
        if draft.named:
            findings.error((*path, "name"), f"workers[{known.index}] has the name '{draft.spec.name}' already")
        else:
            text = f"makes the name '{draft.spec.name}', which workers[{known.index}] has already: give it a name"
            findings.error((*path, "pattern"), text)


def _check_flush(draft: Draft, position: int, lane: LaneSpec, backend: BackendSpec, findings: Findings) -> None:
    worker: Path = ("workers", draft.index)
    path: Path = (*worker, "backends", position)
    if _is_lost(findings, worker, draft.spec) or _is_lost(findings, path, lane):
        return  # it says what a flush means, and says it wrongly: that has been reported
    flush = flush_of(draft.spec, lane, backend.options)
    kinds = backend.options.kinds()
    where = f"for the backend '{lane.backend}' ({backend.type})"
    flushes = on_gap(draft.spec, lane) == "flush"
    instead = _instead(lane, kinds, flushes=flushes)
    if flush is None:
        if flushes:
            findings.error(path, f"on_gap is flush {where}: say what flush means, or on_gap: ignore: {instead}")
        elif lane.unsupported == "flush":
            findings.error((*path, "unsupported"), f"widens to a flush {where}: say what flush means: {instead}")
    elif flush.kind not in kinds and (flushes or lane.unsupported == "flush" or lane.flush):
        can = ", ".join(sorted(kinds)) or "nothing"
        text = f"flush asks for {_article(flush.kind)} {where}, which can purge {can}: choose {instead}"
        findings.error((*path, "flush") if lane.flush else path, text)


def _instead(lane: LaneSpec, kinds: Collection[Kind], *, flushes: bool) -> str:
    """What to write here, in place of `flush` and `on_gap`, so that the backend can do it."""
    ways = [f"flush: {way}" for kind, way in _WAYS.items() if kind in kinds]
    if flushes:
        ways.append("on_gap: ignore")
    elif lane.unsupported == "flush":
        ways.append("unsupported: skip")
    return " or ".join(f"{{backend: {lane.backend}, {way}}}" for way in ways) or "no flush here"


def _is_lost(findings: Findings, path: Path, spec: WorkerSpec | LaneSpec) -> bool:
    """Whether the file says something about gaps here that could not be read."""
    flush, gap = (plain(findings.at((*path, name))) for name in ("flush", "on_gap"))
    return (flush is not None and spec.flush is None) or (gap is not None and spec.on_gap != gap)


def _article(kind: str) -> str:
    return kind if kind == "all" else f"a {kind}"

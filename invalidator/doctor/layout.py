"""What is doubtful in the topology itself: patterns that meet, and what `check` remarks. Pure."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from invalidator.doctor.finding import Finding, Kind
from invalidator.doctor.servers import servers
from invalidator.doctor.wording import shown
from invalidator.screen.text import plural
from invalidator.topology.lint import MOST_PATTERNS
from invalidator.topology.patterns import overlap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.errors import Problem
    from invalidator.topology.models import Topology

SUBJECT = "topology"
SOUND = Kind("topology.sound", "ok", "Nothing is doubtful in the topology")
OVERLAP = Kind(
    "topology.overlap",
    "warning",
    "Two patterns meet",
    "A message on a channel that matches both is sent to both workers, and purged by both. Harmless, and twice the"
    " work; with other backends or flushes it may be what you want.",
    "Make one pattern narrower, or put both workers' backends into one worker.",
)
REMARK = Kind(
    "topology.remark",
    "warning",
    "The topology is valid, and perhaps not what you want",
    "These are the warnings of invalidator check.",
    "Change it there, or leave it if it is meant.",
)
KINDS = (SOUND, OVERLAP, REMARK)
_TOLD_BY_US = "overlaps with the pattern of "


def findings(topology: Topology, remarks: Sequence[Problem]) -> Iterator[Finding]:
    """`remarks`: the warnings of `check`."""
    found = [*_overlaps(topology)]
    found += [REMARK.found(SUBJECT, shown(str(each), 400)) for each in remarks if not each.text.startswith(_TOLD_BY_US)]
    yield from found
    if not found:
        yield SOUND.found(SUBJECT, f"{plural(len(topology.workers), 'pattern')} apart from each other, no warning")


def _overlaps(topology: Topology) -> Iterator[Finding]:
    for server in servers(topology):
        for one, other in combinations(server.workers[:MOST_PATTERNS], 2):
            if overlap(one.pattern, other.pattern):
                shared = sorted({lane.backend for lane in one.backends} & {lane.backend for lane in other.backends})
                both = f"; both purge {', '.join(shared)}" if shared else ""
                evidence = f"{one.name}: {one.pattern} and {other.name}: {other.pattern}, on {server.name}{both}"
                yield OVERLAP.found(SUBJECT, evidence)

"""The verdict: what the run shows, as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.demo.display import milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from invalidator.stage.oracle import Finding
    from invalidator.stage.readings import Readings

_COLUMNS = ("cache", "purged", "coalesced", "flushed", "flushes", "p50", "p99", "entries", "stale")


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that was counted. `quiet`: the daemon came to rest, so that what is stale now would have stayed so."""

    published: int
    unheard: int
    seconds: float
    products: int
    faults: tuple[str, ...]
    readings: Readings
    findings: Mapping[str, Finding]
    quiet: bool
    stop: int

    @property
    def stale(self) -> int:
        """How many entries of all caches are older than what was last published."""
        return sum(finding.stale for finding in self.findings.values())

    @property
    def good(self) -> bool:
        """Whether nothing is stale, and there was enough to see for that to mean something."""
        seen = all(finding.held for finding in self.findings.values())
        return not self.stale and self.quiet and seen and self.published > 0 and self.stop == 0

    def lines(self) -> Iterator[str]:
        """The text. Its last line ends with `stale entries: N`."""
        received = self.readings.sum("messages_received_total")
        lost = max(0, self.published - self.unheard - received)
        rate = self.published / self.seconds
        yield f"published  {self.published:,} changes of {self.products:,} products, {rate:,.0f} a second"
        yield f"received   {received:,}; {self.unheard:,} found nobody subscribed, {lost:,} were lost on their way"
        yield f"gaps       {_listed(self.readings.by('gaps_total', 'cause')) or 'none'}"
        yield from (f"fault      {fault}" for fault in self.faults)
        yield ""
        yield from _table([_COLUMNS, *(self._row(kind, finding) for kind, finding in self.findings.items())])
        yield ""
        if not self.quiet:
            yield "the daemon did not come to rest: something was still pending"
        yield from (f"nothing was left in {kind} to look at" for kind, found in self.findings.items() if not found.held)
        if self.stop:
            yield f"the daemon ended with exit code {self.stop}"
        yield f"stale entries: {self.stale}"

    def _row(self, kind: str, finding: Finding) -> tuple[str, ...]:
        ends = (self.readings.sum("targets_total", backend=kind, end=end) for end in ("purged", "coalesced", "flushed"))
        flushes = self.readings.sum("flushes_total", backend=kind)
        times = (self.readings.quantile("propagation_seconds", share, backend=kind) for share in (0.5, 0.99))
        numbers = (f"{count:,}" for count in (*ends, flushes))
        return (kind, *numbers, *map(milliseconds, times), f"{finding.held:,}", f"{finding.stale:,}")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *cells))

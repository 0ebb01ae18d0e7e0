"""What one sees while the demo runs: a live table on a terminal, a line each second elsewhere."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import click

from invalidator.stage.readings import Readings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.live import Live

COLUMNS = ("cache", "received", "purged", "coalesced", "flushed", "pending", "p50", "p99")


@dataclass
class Progress:
    """The state of a run at one moment: seconds since its start and in all, and what was counted and noticed so far."""

    seconds: float
    elapsed: float = 0.0
    published: int = 0
    kinds: Sequence[str] = ()
    readings: Readings = field(default_factory=Readings)
    events: list[str] = field(default_factory=list)

    def note(self, event: str) -> None:
        """Something happened."""
        self.events.append(f"{self.elapsed:4.1f} s  {event}")


class View(Protocol):
    """Shows a run."""

    def update(self, progress: Progress) -> None:
        """Show this. Called some times a second."""


class Lines:
    """A line each second, and one for each event. No control characters: this goes into logs."""

    def __init__(self) -> None:
        self._next = 1.0
        self._events = 0

    def update(self, progress: Progress) -> None:
        """See View."""
        for event in progress.events[self._events :]:
            click.echo(event)
        self._events = len(progress.events)
        if progress.elapsed >= self._next:
            self._next = float(int(progress.elapsed) + 1)
            click.echo(f"{progress.elapsed:4.1f} s  {summary(progress)}")


def summary(progress: Progress) -> str:
    """The counts of all caches together."""
    readings = progress.readings
    counts = {
        "published": progress.published,
        "received": readings.sum("messages_received_total"),
        "purged": readings.sum("targets_total", end="purged"),
        "pending": readings.sum("pending"),
        "gaps": readings.sum("gaps_total"),
    }
    return "  ".join(f"{name} {count:,}" for name, count in counts.items())


def row(kind: str, readings: Readings) -> tuple[str, ...]:
    """The cells of one cache, one for each of COLUMNS."""
    counts = [readings.sum("targets_received_total", backend=kind)]
    counts += [readings.sum("targets_total", backend=kind, end=end) for end in ("purged", "coalesced", "flushed")]
    counts += [readings.sum("pending", backend=kind)]
    times = (readings.quantile("propagation_seconds", share, backend=kind) for share in (0.5, 0.99))
    return (kind, *(f"{count:,}" for count in counts), *(milliseconds(seconds) for seconds in times))


def milliseconds(seconds: float | None) -> str:
    """`0.4 ms`, `12 ms`, or a dash for what was never measured."""
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:,.0f} ms"


@contextmanager
def opened() -> Iterator[View]:
    """The view that fits where standard output goes, until the end of the block."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb" or find_spec("rich") is None:
        yield Lines()
        return
    from rich.live import Live  # noqa: PLC0415 -- an extra: only a terminal has a use for it

    with Live(transient=True, refresh_per_second=8) as live:
        yield _Table(live)


class _Table:
    def __init__(self, live: Live) -> None:
        self._live = live

    def update(self, progress: Progress) -> None:
        from rich.console import Group  # noqa: PLC0415 -- see above
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in COLUMNS:
            table.add_column(name, justify="left" if name == "cache" else "right")
        for kind in progress.kinds:
            table.add_row(*row(kind, progress.readings))
        done = min(progress.elapsed, progress.seconds)
        head = Text.assemble((f"{done:4.1f} s", "bold"), f"  {summary(progress)}")
        events = [Text(event, style="yellow") for event in progress.events]
        self._live.update(Group(head, Text(), table, Text(), *events))

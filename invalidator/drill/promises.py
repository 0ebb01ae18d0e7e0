"""What is promised, as checks: each says what must hold, whether it did, and by what one can tell. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Check:
    """One promise after one fault. `evidence` is what was seen, for a person."""

    promise: str
    kept: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one fault, which `about` describes.

    `recovered`: seconds until all was as before, None if it never was.
    `gaps` are those that the worker has declared meanwhile, by cause; `stale` entries by cache, among `entries` in all.
    """

    fault: str
    delivery: str
    recovered: float | None
    gaps: Mapping[str, int]
    stale: Mapping[str, int]
    entries: int
    published: int
    checks: tuple[Check, ...]
    about: str = ""

    @property
    def kept(self) -> bool:
        """Whether every promise held."""
        return all(check.kept for check in self.checks)

    @property
    def broken(self) -> tuple[Check, ...]:
        """The promises that did not."""
        return tuple(check for check in self.checks if not check.kept)


def within(promise: str, seconds: float | None, bound: float) -> Check:
    """`promise` names what was to happen within `bound` seconds, and took `seconds` (None: it never did)."""
    kept = seconds is not None and seconds <= bound
    return Check(f"{promise} within {shown(bound)}", kept, "never" if seconds is None else shown(seconds))


def late(promise: str, seconds: float | None, least: float) -> Check:
    """A fault that slows something down took place: it was to take `least` seconds, and took `seconds` (None: ever)."""
    kept = seconds is not None and seconds >= least
    return Check(f"{promise}: {shown(least)} and more", kept, "never" if seconds is None else shown(seconds))


def declared(before: Mapping[str, int], after: Mapping[str, int], *causes: str) -> Check:
    """A gap of one of these causes was declared."""
    new = gained(before, after)
    words = ", ".join(f"{count} {cause}" for cause, count in new.items()) or "no gap"
    return Check(f"a gap is declared ({' or '.join(causes)})", any(cause in new for cause in causes), words)


def gained(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What was counted in between."""
    return {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}


def nothing_stale(stale: Mapping[str, int], entries: int) -> Check:
    """No cache holds what is older than what was last published for it, and there was something to look at."""
    total = sum(stale.values())
    where = ", ".join(f"{count} in {kind}" for kind, count in stale.items() if count)
    evidence = f"{total:,} of {entries:,} entries{': ' + where if where else ''}"
    return Check("nothing is stale", not total and entries > 0, evidence)


def replayed(flushes: int) -> Check:
    """What was missed has been read again from the journal."""
    return Check("nothing is flushed: the journal has it all", flushes == 0, f"{flushes} flushes")


def accounted(missing: Mapping[tuple[str, str], int], tolerance: int) -> Check:
    """Every target has an end. After a SIGKILL, `tolerance` of each lane may have been counted by nobody."""
    worst = max((abs(count) for count in missing.values()), default=0)
    promise = "every target is accounted for" + (" but a batch of each lane" if tolerance else "")
    return Check(promise, worst <= tolerance, f"{worst:,} without an end" if worst else "all of them")


def shown(seconds: float) -> str:
    """`58 ms`, `1.20 s`."""
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:.2f} s"

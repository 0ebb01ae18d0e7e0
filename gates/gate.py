"""What a gate is, and how its verdict comes about. Pure, but for the gate's own work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tests.support.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Word = Literal["passed", "failed", "busy"]
TOO_BUSY = "machine too busy to judge"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`said` has the figures, in a line. `busy`: the machine was not well itself, so that nobody can say."""

    word: Word
    said: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gate(Experiment[Path, Verdict]):
    """One of them. `do` gets a folder of its own; `attempts`: how often it is tried while nobody can say."""

    attempts: int = 1


def settled(verdicts: Sequence[Verdict]) -> Verdict:
    """Of all attempts: the last one's. A gate that nobody could judge has not been passed, and says so."""
    last = verdicts[-1]
    if last.word != "busy":
        return last
    times = f", {len(verdicts)} times" if len(verdicts) > 1 else ""
    return Verdict("failed", f"{TOO_BUSY}{times}: {last.said}", last.figures)


def again(verdicts: Sequence[Verdict], attempts: int) -> bool:
    """Whether to try once more: only what could not be judged, and not for ever. A failure is never tried away."""
    return not verdicts or (verdicts[-1].word == "busy" and len(verdicts) < attempts)

"""What a tap shows, an event a line: who heard what, and what became of it where. Pure.

Everything in it may come from a publisher: `painted` writes out what would drive a terminal.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator.channel import Dropped, Heard, Outcome
from invalidator.screen.paint import Line, Piece, line
from invalidator.screen.text import count, fit, latency, left

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.screen.paint import Tone

_TONES: dict[str, Tone] = {"purged": "good", "flushed": "good", "failed": "bad", "dead": "bad", "deferred": "warning"}
_WORKER = 12
_PLACE = 22


def event_line(event: Heard | Outcome | Dropped) -> Line:
    """One event: `12:03:04.125 users  edge 127.0.0.1:6081  purged 1.2 ms  key users:42 +3`"""
    match event:
        case Heard():
            source = f"  from {event.source}" if event.source else ""
            soft = "soft " if event.soft else ""
            what = f"  {soft}{_targets(event.targets, event.more)}{source}".rstrip()
            said = ", ".join(event.rejected)
            if said and not said.startswith("ignored: "):  # of one that goes round in a circle nothing is rejected
                said = f"rejected: {said}"
            why = Piece(f"  {said}" if said else "", "bad")
            return line(_begin(event.at, event.worker), fit(event.channel, _PLACE + 16), why, what)
        case Outcome():
            return _outcome(event)
        case Dropped():
            text = f"{count(event.count)} lines of {event.worker} were too fast for this tap, and are not shown"
            return line(Piece(f"… {text}", "warning"))


def _outcome(event: Outcome) -> Line:
    where = fit(" ".join(filter(None, (event.backend, event.node))), _PLACE)
    why = " ".join(filter(None, (event.reason, event.cause)))
    end = Piece(" ".join(filter(None, (event.end, fit(why, 20)))), _TONES.get(event.end, ""))
    took = f" {latency(event.seconds)}" if event.seconds else ""
    return line(_begin(event.at, event.worker), "→ ", where, "  ", end, took, "  ", _targets(event.targets, event.more))


def _begin(at: float, worker: str) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(at))}.{int(at % 1 * 1000):03d} {left(worker, _WORKER)} "


def _targets(targets: Sequence[tuple[str, str]], more: int) -> str:
    """`key users:42, tag a +3`: a kind is named once for those that follow each other."""
    parts, before = [], ""
    for kind, value in targets:
        parts.append(value if kind == before else f"{kind} {value}".rstrip())
        before = kind
    return ", ".join(parts) + (f" +{more}" if more else "")

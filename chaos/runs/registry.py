"""All runs, in the order in which they are done."""

from __future__ import annotations

from chaos.runs import controls, dying, gaps, hang, heal, isolation, kills, memory, orphans, ready, stale, stop

RUNS = (
    *stale.RUNS,
    *kills.RUNS,
    *gaps.RUNS,
    *hang.RUNS,
    *heal.RUNS,
    *memory.RUNS,
    *orphans.RUNS,
    *ready.RUNS,
    *isolation.RUNS,
    *stop.RUNS,
    *dying.RUNS,
    *controls.RUNS,
)

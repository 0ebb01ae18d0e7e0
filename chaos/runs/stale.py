"""Each fault, again and again under load; then the oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.faults.registry import FAULTS
from chaos.runs.run import Found, Run
from chaos.trial import merged, trial

if TYPE_CHECKING:
    from chaos.faults.fault import Fault
    from chaos.runs.run import Task


def _run(fault: type[Fault]) -> Run:
    def do(task: Task) -> Found:
        times = 1 if task.short else fault.times
        base = task.setting()
        setting = merged([fault], mode=base.mode, seed=base.seed, rate=base.rate, seconds=max(60.0, 6.0 * times))
        verdict = trial(task.folder, [fault], times, setting)
        assert fault.is_kept(verdict), f"what {fault.name} promises was not kept: {verdict}"
        return Found(times, verdict.record())

    return Run(f"stale.{fault.name}", fault.title, do, fault.missing, fault.modes)


RUNS = tuple(_run(fault) for fault in FAULTS.values())

"""Each guard switched off, and the promise that it keeps measured again: it has to be broken now."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from chaos.faults.broker import KilledRedis, StoppedRedis
from chaos.faults.caches import AwayDuringCrash
from chaos.faults.fault import UnseenError
from chaos.faults.way import SwitchedProxy
from chaos.promises import is_conserved
from chaos.runs import dying, kills, orphans, ready
from chaos.runs.run import Found, Run
from chaos.scene import LANES, built
from chaos.trial import merged, trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chaos.delivery import Mode
    from chaos.faults.fault import Fault
    from chaos.oracle import Verdict
    from chaos.runs.run import Task
    from chaos.scene import Setting

RATE = 600


def _struck(folder: Path, setting: Setting, fault: type[Fault]) -> Verdict:
    own = {"mode": setting.mode, "seed": setting.seed, "guard": setting.guard, "rate": RATE, "seconds": 120.0}
    return trial(folder, [fault], 1, merged([fault], **own))


def stale_after(fault: type[Fault]) -> Callable[[Path, Setting], bool]:
    """Whether this fault leaves anything stale, in any cache."""
    return lambda folder, setting: _struck(folder, setting, fault).all_stale > 0


def unapplied_after(fault: type[Fault]) -> Callable[[Path, Setting], bool]:
    """Whether this fault leaves an entry of the journal unapplied."""
    return lambda folder, setting: sum(_struck(folder, setting, fault).unapplied.values()) > 0


def unnoticed(fault: type[Fault]) -> Callable[[Path, Setting], bool]:
    """Whether nobody has declared a Gap because of this fault, which has no other trace."""

    def look(folder: Path, setting: Setting) -> bool:
        try:
            return set(_struck(folder, setting, fault).gaps) <= {"start"}
        except UnseenError:
            return True

    return look


def uncounted_after(fault: type[Fault]) -> Callable[[Path, Setting], bool]:
    """Whether this fault leaves the counters of a lane off by more than may be."""
    return lambda folder, setting: not is_conserved(asdict(_struck(folder, setting, fault).account))


def _left_behind(folder: Path, setting: Setting) -> bool:
    return orphans.orphans(folder / "orphans", setting) > 0


def _slow(folder: Path, setting: Setting) -> bool:
    with built(folder, setting) as scene, scene.load():
        scene.under_load(0.5)
        seconds, _ = kills.kill(scene, next(iter(LANES)))
        return seconds > 0.3


def _frantic(folder: Path, setting: Setting) -> bool:
    return bool(dying.watched(folder, setting, 3.0)["restarts"] > 10)


CONTROLS: dict[str, tuple[Mode, str, Callable[[Path, Setting], bool]]] = {
    "flush-on-gap": ("pubsub", "stale entries after SIGKILL of Redis", stale_after(KilledRedis)),
    "replay": ("journal", "unapplied entries after SIGKILL of Redis", unapplied_after(KilledRedis)),
    "cursor": ("journal", "stale entries after a worker died while its backend was away", stale_after(AwayDuringCrash)),
    "deadline": ("pubsub", "a silent Redis that nobody notices", unnoticed(StoppedRedis)),
    "echo": ("pubsub", "a subscription to the wrong Redis that nobody notices", unnoticed(SwitchedProxy)),
    "ready": ("pubsub", "READY without a subscription", ready.said_too_early),
    "pdeathsig": ("pubsub", "workers that outlive their supervisor", _left_behind),
    "restart": ("pubsub", "a replacement after 300 ms and more", _slow),
    "fold": ("pubsub", "counters off by more than a batch after SIGKILL", uncounted_after(AwayDuringCrash)),
    "backoff": ("pubsub", "more than 10 restarts within 3 s", _frantic),
}
"""By the guard: in which mode, what is to be seen without it, and how."""


def is_broken(guard: str, folder: Path, setting: Setting) -> bool:
    """Whether the promise is broken, as it must be with the guard off, and must not be with it on."""
    _, _, look = CONTROLS[guard]
    return look(folder, setting)


def _run(guard: str) -> Run:
    mode, seen, _ = CONTROLS[guard]

    def do(task: Task) -> Found:
        broken = is_broken(guard, task.folder, task.setting(guard=guard, rate=RATE, seconds=120.0))
        return Found(1, {"broken": broken, "seen": seen})

    return Run(f"control.{guard}", f"without the guard: {seen}", do, lambda: _missing(guard), (mode,))


def _missing(guard: str) -> str:
    with suppress(KeyError):
        return {"echo": SwitchedProxy.missing()}[guard]
    return ""


RUNS = tuple(_run(guard) for guard in CONTROLS)

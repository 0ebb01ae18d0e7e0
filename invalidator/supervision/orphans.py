"""The duty of process 1: to reap whoever is left without a parent. In a container the supervisor often is process 1.

A worker's plugin may start programs. When the worker dies they are given to process 1, and stay behind as zombies until
somebody asks for their exit codes; enough of them, and there is no process to be had.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

EVERY = 1.0
"""Seconds. Nothing wakes us when a stranger ends; a zombie may wait so long."""
MOST_AT_ONCE = 1000


class Orphans:
    """Reaps strangers, if that is our duty, and never a worker: its exit code is for whoever forked it."""

    def __init__(self, *, duty: bool) -> None:
        self._duty = duty
        self._next = 0.0

    def next_due(self, now: float) -> float:
        """Seconds until the next look."""
        return max(0.0, self._next - now) if self._duty else float("inf")

    def reap(self, now: float, ours: Collection[int | None]) -> int:
        """Reap those that have ended and are not `ours`. How many they were."""
        if not self._duty:
            return 0
        self._next = now + EVERY
        for count in range(MOST_AT_ONCE):
            stranger = _first_ended()
            # Behind a worker of ours we cannot look: it is reaped on the next turn, and they after it.
            if stranger is None or stranger in ours:
                return count
            with suppress(ChildProcessError):
                os.waitpid(stranger, os.WNOHANG)
        return MOST_AT_ONCE


def _first_ended() -> int | None:
    """A child that has ended, left as it is; None if there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None

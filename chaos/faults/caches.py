"""A cache is away, or hangs. What was purged meanwhile has to be purged when it is back."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, ClassVar

from chaos.conservation import slower, total
from chaos.faults.fault import Fault
from chaos.scene import LANES, server_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.metrics import Metrics


class CacheFault(Fault):
    """The application leaves the cache alone first: half of a refill would be stale by the application's own fault."""

    kind: ClassVar[str]
    hold = 1.0

    def trace(self) -> int:
        """Purges of it that failed, or took longer than any does that is answered."""
        return _troubled(self.scene.run.metrics(), self.kind)

    def inject(self) -> None:
        """Leave it, and begin."""
        self.scene.application.ask(f"leave {self.kind}")
        self.begin()

    def heal(self) -> None:
        """End, and join it again."""
        self.end()
        self.scene.application.ask(f"join {self.kind}")

    def begin(self) -> None:
        """What happens to it."""
        server_of(self.scene, self.kind).stop()

    def end(self) -> None:
        """And no more."""
        server_of(self.scene, self.kind).cont()


class HangingMemcached(CacheFault):
    """SIGSTOP of memcached."""

    name = "memcached-hangs"
    title = "backend hanging (memcached)"
    kind = "memcached"


class HangingReplica(CacheFault):
    """SIGSTOP of the secondary Redis."""

    name = "replica-hangs"
    title = "backend hanging (secondary Redis)"
    kind = "redis"


class AwayDuringCrash(HangingMemcached):
    """The same, and its worker dies meanwhile: what it had not purged is its successor's to do."""

    name = "memcached-hangs-crash"
    title = "backend hanging while its worker is killed"
    hold = 1.0

    def trace(self) -> int:
        """The deaths of its worker, each while much was waiting for the cache: `begin` has seen to that."""
        return total(self.scene.run.metrics(), "worker_restarts_total", worker="stores", reason="signal")

    def begin(self) -> None:
        """Stop the cache; then, when something waits for it, kill the worker."""
        super().begin()
        run = self.scene.run
        wait_until(lambda: run.metrics().value("invalidator_pending", backend=self.kind) > 50, 10, run.logs)
        self.scene.under_load(2.0)  # long enough that a cursor which moved too early is on the disk
        victim = run.pids_by_name()["stores"]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in run.pids() and len(run.pids()) == len(LANES), 20, run.logs)


class Mood(Fault):
    """The HTTP cache answers with something else than success."""

    mood: ClassVar[str]
    hold = 1.5
    setting: ClassVar = {"moody": True}

    def trace(self) -> int:
        """Purges of it that failed, or were answered late."""
        return _troubled(self.scene.run.metrics(), "http")

    def inject(self) -> None:
        """From now on."""
        self.scene.mood.ask(self.mood)

    def heal(self) -> None:
        """As ever."""
        self.scene.mood.ask("fine")


class TooMany(Mood):
    """429, with a Retry-After."""

    name, title, mood = "http-429", "backend: 429", "429"


class Failing(Mood):
    """503."""

    name, title, mood = "http-503", "backend: 5xx", "503"


class HalfDone(Mood):
    """Half of what is asked at once is done and answered, then the line is cut."""

    name, title, mood = "http-half", "backend: half a batch", "half"


class Silent(Mood):
    """It takes requests, and never answers."""

    name, title, mood = "http-hangs", "backend hanging (HTTP)", "silent"
    hold = 3.0


class UnreachableMemcached(CacheFault):
    """memcached ends, and another one begins in its place, empty."""

    name = "memcached-down"
    title = "backend down (memcached)"
    kind = "memcached"

    def begin(self) -> None:
        """It is gone."""
        server_of(self.scene, self.kind).kill()

    def end(self) -> None:
        """It is back."""
        server_of(self.scene, self.kind).start()


def _troubled(metrics: Metrics, backend: str) -> int:
    failed = total(metrics, "purge_attempts_failed_total", backend=backend)
    return failed + slower(metrics, "purge_seconds", 0.5, backend=backend)

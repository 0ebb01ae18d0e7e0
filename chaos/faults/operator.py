"""What is done to a host, or to a daemon, on purpose: its clock is set, its topology is changed."""

from __future__ import annotations

import shutil
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from chaos.faults.fault import Fault
from chaos.scene import topology
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from chaos.oracle import Verdict

DAY = 86_400


class SetClock(Fault):
    """The wall clock jumps by a day, forward and back again."""

    name = "clock"
    title = "clock jump of a day"
    hold = 1.0
    setting: ClassVar = {"clock": True}

    @classmethod
    def missing(cls) -> str:
        """Its library has to be compiled."""
        return "" if any(map(shutil.which, ("gcc", "cc", "clang"))) else "a C compiler is not on this machine"

    def inject(self) -> None:
        """Forward, or back, by chance."""
        said = len(self.scene.run.logs().splitlines())
        days = self.chance.choice((-1, 1))
        self.scene.clock.set(days * DAY)
        self.scene.run.signal(signal.SIGHUP)  # which is logged, with the time
        wait_until(lambda: self._says(days, since=said), 10, self.scene.run.logs)
        self.done += 1

    def trace(self) -> int:
        """The dates in the daemon's log that were another day's."""
        return self.done

    def heal(self) -> None:
        """As it was."""
        self.scene.clock.set(0)

    def _says(self, days: int, since: int) -> bool:
        """Whether a line of the log after the first `since` has the date that the daemon should now believe."""
        date = (datetime.now(UTC) + timedelta(days)).date().isoformat()
        return any(f'"time": "{date}' in line for line in self.scene.run.logs().splitlines()[since:])


class Reload(Fault):
    """Another topology, for which every worker is replaced; and each third time one that is wrong."""

    name = "reload"
    title = "reload under load, every third file invalid"
    times = 100
    hold = 0.0
    setting: ClassVar = {"seconds": 300.0}

    @classmethod
    def is_kept(cls, verdict: Verdict) -> bool:
        """Nothing is lost, in either mode: each new worker is subscribed before the old one goes."""
        return not any(verdict.unapplied.values())

    def prepare(self) -> None:
        """Count them."""
        self._count = 0

    def inject(self) -> None:
        """One of them."""
        self._count += 1
        run, wrong = self.scene.run, self._count % 3 == 0
        before = run.pids()
        changed = topology(self.scene)
        for worker in changed["workers"]:
            worker["window"] = f"{self._count % 5}ms"
        run.write({**changed, "workers": 5} if wrong else changed)
        run.signal(signal.SIGHUP)
        wait_until(lambda: run.metrics().value("invalidator_config_last_reload_successful") != wrong, 20, run.logs)
        if not wrong:
            wait_until(lambda: len(run.pids()) == len(before) and not set(run.pids()) & set(before), 30, run.logs)
        assert not wrong or run.pids() == before, "a file that is wrong has changed something"
        self.done += 1

    def trace(self) -> int:
        """Those that have had the outcome that they should."""
        return self.done

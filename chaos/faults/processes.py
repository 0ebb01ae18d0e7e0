"""The daemon's own processes die."""

from __future__ import annotations

import os
import signal

from chaos.conservation import slower
from chaos.faults.fault import Fault
from tests.support.waiting import wait_until


class KilledWorker(Fault):
    """SIGKILL of one worker, in turn by chance."""

    name = "worker-kill"
    title = "SIGKILL of a worker"
    times = 10
    hold = 0.0

    def inject(self) -> None:
        """Kill one of them, and wait until it has a successor."""
        run = self.scene.run
        before = run.pids()
        victim = self.chance.choice(before)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(run.pids()) == len(before) and victim not in run.pids(), 20, run.logs)


class KilledSupervisor(Fault):
    """SIGKILL of the supervisor. Whoever keeps it alive, as systemd does, starts it again."""

    name = "supervisor-kill"
    title = "SIGKILL of the supervisor"
    hold = 0.0

    def inject(self) -> None:
        """Kill it."""
        run = self.scene.run
        run.signal(signal.SIGKILL)
        wait_until(lambda: run.returncode is not None, 10, "the supervisor does not die")
        self.done += run.returncode == -signal.SIGKILL

    def trace(self) -> int:
        """Its deaths: its successor counts gaps from the beginning."""
        return self.done

    def heal(self) -> None:
        """Start it again; nothing of the last one may be left by then."""
        self.scene.run.start_again()


class StoppedWorker(Fault):
    """SIGSTOP of a worker: Redis goes on to fill its socket."""

    name = "worker-stop"
    title = "SIGSTOP of a worker"
    least = 20
    hold = 1.0

    def inject(self) -> None:
        """Stop one of them."""
        self._victim = self.chance.choice(self.scene.run.pids())
        os.kill(self._victim, signal.SIGSTOP)

    def trace(self) -> int:
        """What was late because of it: it is shorter than a deadline, so that no gap is declared."""
        return slower(self.scene.run.metrics(), "propagation_seconds", 0.5)

    def heal(self) -> None:
        """Let it go on."""
        os.kill(self._victim, signal.SIGCONT)

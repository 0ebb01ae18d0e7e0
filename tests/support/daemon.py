"""`invalidator run` as a child process, seen only from outside: its topology, its ports, its signals, its log."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from tests.support.metrics import Metrics, parse
from tests.support.origin import Response, fetch
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARK = "INVALIDATOR_TEST_RUN"  # in the environment of the daemon and so of all that it forks, orphans included


class Daemon:
    """One run of the daemon. `topology` is what its file says; metrics and state have a place even if it says none.

    `program` is what is run: for a negative control, something that takes a guard from the daemon before it begins.
    """

    program: tuple[str, ...] = (sys.executable, "-m", "invalidator")

    def __init__(self, folder: Path, topology: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.file = folder / "topology.yaml"
        self._mark = uuid.uuid4().hex
        self._environment = {**os.environ, **(environment or {}), _MARK: self._mark}
        self._process: subprocess.Popen[bytes] | None = None
        self.write(topology)

    def write(self, topology: Mapping[str, Any]) -> None:
        """Writes the topology's file: before the start, or before a SIGHUP."""
        own = {
            "metrics": self.address,
            "state_dir": str(self.folder / "state"),
            "control_socket": str(self.folder / "control.sock"),
        }
        supervisor = {**own, **topology.get("supervisor", {})}
        if supervisor["control_socket"] is None:  # which no topology can say: the test wants the default
            del supervisor["control_socket"]
        complete = {**topology, "supervisor": supervisor}
        self.file.write_text(yaml.safe_dump(complete, sort_keys=False))

    def start(self, *, ready: bool = True, closed: str = "") -> Self:
        """Starts it, and returns once it is ready: every subscription confirmed. Or at once.

        `closed` is what a shell is told to close before, as in `2>&-`.
        """
        command = [*self.program, "run", "-c", str(self.file)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *command] if closed else command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if ready:
            self.wait_ready()
        return self

    @property
    def control(self) -> Path:
        """The control socket, unless the topology says another one."""
        return self.folder / "control.sock"

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None, "the daemon was not started"
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; minus the signal's number when one ended it."""
        assert self._process is not None, "the daemon was not started"
        return self._process.poll()

    def wait_ready(self, deadline: float = 20) -> None:
        def ready_or_gone() -> bool:
            return self.returncode is not None or self.status("/readyz") == 200

        wait_until(ready_or_gone, deadline, lambda: f"the daemon is not ready; it said:\n{self.logs()}")
        assert self.returncode is None, f"the daemon ended with {self.returncode}; it said:\n{self.logs()}"

    def get(self, path: str) -> Response:
        """Asks the metrics endpoint. OSError when it does not answer."""
        return fetch(f"http://{self.address}{path}")

    def status(self, path: str) -> int:
        """The status of the metrics endpoint's answer; 0 when there is none."""
        try:
            return self.get(path).status
        except (OSError, http.client.HTTPException):
            return 0

    def metrics(self) -> Metrics:
        answer = self.get("/metrics")
        assert answer.status == 200, answer
        return parse(answer.body)

    def wait_metric(self, name: str, at_least: float, deadline: float = 10, **labels: str) -> float:
        """Waits until the sum of these series has reached `at_least`; the sum."""

        def value() -> float:
            metrics = self.metrics()
            return metrics.value(name, **labels) if metrics.has(name, **labels) else -1.0

        def why() -> str:
            return f"{name}{labels} is {value()}, not {at_least}; the daemon said:\n{self.logs()}"

        wait_until(lambda: value() >= at_least, deadline, why)
        return value()

    def pids(self) -> list[int]:
        """The workers: the direct children of the supervisor that have not ended, oldest first."""
        return sorted((pid for pid in _processes() if _parent(pid) == self.pid), key=lambda pid: (_began(pid), pid))

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def logs(self) -> str:
        """All that it and its workers have said so far."""
        return self._log.read_text(errors="replace")

    def stop(self, deadline: float = 15) -> int:
        """SIGTERM; the exit code. The test fails when the daemon takes longer than `deadline`."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline)

    def wait(self, deadline: float = 15) -> int:
        """The exit code, once it has ended; no child of its may be left by then."""
        assert self._process is not None
        try:
            code = self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon has not ended after {deadline:g} s; it said:\n{self.logs()}") from None
        wait_until(
            lambda: not self.survivors(), 2, lambda: f"left behind by the daemon: {self.survivors()}\n{self.logs()}"
        )
        return code

    def survivors(self) -> list[int]:
        """Every process of this run that is still there, whoever its parent is now."""
        return sorted(pid for pid in _processes() if f"{_MARK}={self._mark}".encode() in _environment(pid))

    def close(self) -> None:
        """Ends the run. The test fails when anything of it is left, and nothing is left in any case."""
        if self._process is None:
            return
        try:
            if self.returncode is None:
                self.stop()
            else:
                self.wait(0)
        finally:
            for pid in self.survivors():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(10)

    @property
    def _log(self) -> Path:
        return self.folder / "daemon.log"


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _began(pid: int) -> int:
    # In ticks after the boot: process ids begin again from the lowest once in a while. One that has gone is the last.
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return sys.maxsize


def _parent(pid: int) -> int:
    """Its parent's process id; 0 for a process that has ended, reaped or not."""
    try:
        # After the name, which may hold anything, brackets included: the state and the parent.
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return 0
    return 0 if state in "ZX" else int(parent)


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""

"""The daemon as process 1 of a container: reaps strangers, loses no worker's exit code, and ends by TERM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from invalidator.embedded import tied
from invalidator.supervision.orphans import EVERY, Orphans
from tests.support.daemon import Daemon
from tests.support.systemd import children_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from tests.conftest import MakeRedis
    from tests.support.stores import RedisServer

UNSHARE = ["unshare", *(["--user", "--map-root-user"] if os.geteuid() else []), "--pid", "--fork", "--kill-child"]
UNSHARE += ["--mount-proc"]
EXAMPLE = Path(__file__).parents[1] / "examples" / "docker"


# Each worker starts a program that outlives it, and that ends when it is told.
LEAVING_PROGRAMS_BEHIND = """
    import subprocess
    from invalidator import hookimpl

    @hookimpl
    def worker_started(worker):
        subprocess.Popen(["sleep", "3600"], start_new_session=True)
"""


class Container:
    """`invalidator run` as process 1 of a namespace."""

    def __init__(self, folder: Path, topology: dict[str, Any]) -> None:
        self.daemon = Daemon(folder, topology)  # for its file and its endpoint
        self._outside: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True) -> int:
        """The supervisor's process id on this side."""
        command = [sys.executable, "-m", "invalidator", "run", "-c", str(self.daemon.file)]
        with self.daemon._log.open("ab") as log:
            self._outside = subprocess.Popen(
                tied([_path("unshare"), *UNSHARE[1:], *command]), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        outside = self._outside.pid
        (pid,) = wait_until(lambda: children_of(outside), 10, self.daemon.logs)
        if ready:
            wait_until(lambda: self.daemon.status("/readyz") == 200, 20, self.daemon.logs)
        return pid

    def exit_code(self) -> int:
        assert self._outside is not None
        return self._outside.wait(15)

    def close(self) -> None:
        if self._outside is not None:
            self._outside.kill()
            self._outside.wait(10)


def _path(program: str) -> str:
    return next(str(path) for folder in os.environ["PATH"].split(":") if (path := Path(folder, program)).exists())


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@pytest.fixture
def container(cleanup: ExitStack, folder: Callable[[str], Path]) -> Callable[[dict[str, Any]], Container]:
    probe = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False, timeout=10)
    if probe.returncode != 0:
        pytest.skip(f"no namespaces can be made here: {probe.stderr.strip()}")

    def make(topology: dict[str, Any]) -> Container:
        made = Container(folder("container"), topology)
        cleanup.callback(made.close)
        return made

    return make


def topology(server: RedisServer, *names: str) -> dict[str, Any]:
    return {
        "redis": {"url": server.url, "backoff": {"first": "10ms", "longest": "200ms"}},
        "backends": {"said": {"type": "log"}},
        "workers": [
            {"name": name, "pattern": f"cache:{name}:*", "backends": ["said"], "on_gap": "ignore"} for name in names
        ],
    }


def test_as_process_one_it_ends_by_term_and_tells_each_worker_once(
    container: Callable[..., Container], redis_server: MakeRedis
) -> None:
    run = container(topology(redis_server(), "a", "b"))
    pid = run.start()
    assert re.search(r"NSpid:.*\t1\n", Path(f"/proc/{pid}/status").read_text()), "it must be process 1 there"
    os.kill(pid, signal.SIGTERM)

    assert run.exit_code() == 0, run.daemon.logs()
    said = run.daemon.logs()
    assert said.count('"supervisor.stopping"') == 1
    assert said.count('"worker.stopped"') == 2
    assert "stopping_at_once" not in said


def test_a_term_during_the_start_is_not_dropped(container: Callable[..., Container], redis_server: MakeRedis) -> None:
    slow = "import os, pathlib, time\nfrom invalidator import hookimpl\n"
    mark = 'pathlib.Path(__file__).with_suffix(".here").touch()\n'
    held = 'while not pathlib.Path(__file__).with_suffix(".go").exists(): os.sched_yield()\n'
    run = container(topology(redis_server(), "a"))
    plugin = run.daemon.folder / "slow.py"
    plugin.write_text(slow + mark + held + "\n@hookimpl\ndef worker_started(worker):\n    pass\n")
    run.daemon.write({**topology(redis_server(), "a"), "plugins": [str(plugin), "log"]})
    pid = run.start(ready=False)
    wait_until(plugin.with_suffix(".here").exists, 10, run.daemon.logs)
    os.kill(pid, signal.SIGTERM)
    plugin.with_suffix(".go").touch()

    assert run.exit_code() == 0, run.daemon.logs()


def test_what_a_dead_workers_plugin_leaves_behind_is_reaped_and_the_workers_exit_is_not_lost(
    container: Callable[..., Container], redis_server: MakeRedis
) -> None:
    run = container(topology(redis_server(), "a"))
    plugin = run.daemon.folder / "leaving.py"
    plugin.write_text(textwrap.dedent(LEAVING_PROGRAMS_BEHIND))
    run.daemon.write({**topology(redis_server(), "a"), "plugins": [str(plugin), "log"]})
    pid = run.start()
    (worker,) = children_of(pid)
    (program,) = wait_until(lambda: children_of(worker), 5, run.daemon.logs)
    os.kill(worker, signal.SIGKILL)
    run.daemon.wait_metric("invalidator_worker_restarts_total", 1, worker="a", reason="signal")
    wait_until(lambda: program in children_of(pid), 5, "the program must have been given to process 1")
    os.kill(program, signal.SIGKILL)

    wait_until(lambda: _state(program) == "", 5 * EVERY, lambda: f"{program} is left as {_state(program)}")
    assert [_name(child) for child in children_of(pid) if _state(child) == "Z"] == []


PROCESS = """
import os, sys, time
sys.path.insert(0, {repository!r})
from invalidator.supervision.orphans import Orphans
duty = sys.argv[1] == "duty"
ours = os.fork()
if ours == 0:
    os._exit(7)
os.waitid(os.P_PID, ours, os.WEXITED | os.WNOWAIT)
if os.fork() == 0:
    if os.fork() == 0:
        os._exit(9)
    os._exit(0)
orphans = Orphans(duty=duty)
first = orphans.reap(0.0, {{ours}})
code = os.waitstatus_to_exitcode(os.waitpid(ours, 0)[1])
reaped = 0
deadline = time.monotonic() + 5
while reaped < 2 and duty and time.monotonic() < deadline:
    reaped += orphans.reap(0.0, set())
print(code, first + reaped)
"""


@pytest.mark.parametrize(("duty", "said"), [("duty", "7 2"), ("none", "7 0")])
def test_strangers_are_reaped_by_whose_duty_it_is_and_our_own_child_by_us(duty: str, said: str) -> None:
    probe = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False, timeout=10)
    if probe.returncode != 0:
        pytest.skip(f"no namespaces can be made here: {probe.stderr.strip()}")
    script = PROCESS.format(repository=str(Path(__file__).parents[1]))
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-c", script, duty], capture_output=True, text=True, check=False, timeout=30
    )

    assert done.stdout.strip() == said, done.stderr


def test_whose_duty_it_is_not_is_never_woken_for_it() -> None:
    assert Orphans(duty=False).next_due(0.0) == float("inf")
    orphans = Orphans(duty=True)
    assert orphans.next_due(5.0) == 0.0
    orphans.reap(5.0, ())
    assert orphans.next_due(5.0) == EVERY


def test_the_image_runs_the_daemon_as_process_one_and_as_nobody_special() -> None:
    text = (EXAMPLE / "Dockerfile").read_text()

    assert 'ENTRYPOINT ["invalidator"]' in text, "a list: with a shell in between, TERM ends the shell"
    assert re.search(r"^USER [1-9]\d+$", text, re.MULTILINE), "a number: some orchestrators refuse a name"
    assert "COPY . " in text
    assert (EXAMPLE.parents[1] / ".dockerignore").exists(), "or a checkout's .venv and .git are sent along"

"""`status` against real daemons, as an operator uses it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from invalidator.screen.text import width
from tests.support.operating import status_of, topology
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.operating import Tell


def test_status_says_how_each_worker_does(redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell) -> None:
    run = daemon(topology(redis_server(), "users", "orders"))
    code, out, err = tell(run, "status")

    assert (code, err) == (0, "")
    assert out.startswith("running  up ")
    assert f"pid {run.pid}" in out
    for name, pid in zip(("users", "orders"), run.pids(), strict=True):
        assert f"\n{name}  RUNNING  pid {pid}  up " in out
    assert max(width(line) for line in out.splitlines()) <= 80
    assert "\033" not in out
    assert [worker.name for worker in status_of(run, tell).workers] == ["users", "orders"]


@pytest.mark.parametrize(
    ("columns", "environment", "colours"), [(80, {}, True), (66, {}, True), (40, {"NO_COLOR": "1"}, False)]
)
def test_on_a_terminal_a_status_is_as_wide_as_that_and_has_colours_unless_they_are_not_wanted(
    redis_server: MakeRedis, daemon: MakeDaemon, columns: int, environment: dict[str, str], colours: bool
) -> None:
    run = daemon(topology(redis_server(), "a-worker-with-quite-a-long-name-that-nobody-would-want-to-read-twice"[:64]))
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-m", "invalidator", "status", "-c", str(run.file)]
    with subprocess.Popen(command, stdout=theirs, env=kept | environment) as asking:
        assert asking.wait(10) == 0
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)

    assert ("\033[32mRUNNING\033[0m" in shown) == colours
    lines = re.sub(r"\033\[\d+m", "", shown).splitlines()
    assert max(map(width, lines)) <= columns
    (named,) = [text for text in lines if text.startswith("a-w")]
    assert re.match(r"a-w\S+…\S+  RUNNING" + ("$" if columns == 40 else "  pid "), named)


def test_status_of_a_degraded_daemon_says_first_what_is_wrong_and_ends_with_1(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
) -> None:
    server = redis_server()
    run = daemon(topology(server, "users"))
    server.kill()
    wait_until(lambda: run.status("/readyz") == 503)
    code, out, _ = tell(run, "status")

    assert code == 1
    head, trouble, *_ = out.splitlines()
    assert head.startswith("degraded  up ")
    assert trouble.startswith("! users is not subscribed")


def test_a_status_imports_nothing_of_what_a_daemon_needs() -> None:
    code = "import sys; from invalidator.cli import main; main(['status', '--socket', '/none']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("redis", "pydantic", "pluggy", "multiprocess", "yaml.parser", "invalidator.supervision"):
        assert heavy not in done.stdout.split()

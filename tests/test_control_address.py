"""Where the control socket is: it moves, is taken by others, comes back, or can never work."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from invalidator.cli import main
from tests.support.operating import topology
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.operating import Tell


def test_the_control_socket_moves_with_the_topology_and_who_asked_is_answered(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = redis_server()
    run = daemon(topology(server, "a"))
    elsewhere = run.folder / "new" / "control.sock"
    run.write(topology(server, "a", control_socket=str(elsewhere)))

    assert main(["reload", "--wait", "--socket", str(run.control)]) == 0
    assert elsewhere.is_socket()
    assert not run.control.exists()
    assert main(["status", "--socket", str(elsewhere)]) == 0
    assert main(["status", "--socket", str(run.control)]) == 69
    assert "no daemon has a socket at" in capsys.readouterr().err


def test_a_control_socket_whose_file_was_taken_away_is_back_after_a_reload(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
) -> None:
    run = daemon(topology(redis_server(), "a"))
    run.control.unlink()
    assert tell(run, "status")[0] == 69
    run.signal(signal.SIGHUP)
    wait_until(lambda: tell(run, "status")[0] == 0, 5, run.logs)


def test_a_socket_that_a_living_daemon_has_is_left_to_it(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
) -> None:
    server = redis_server()
    first = daemon(topology(server, "a"))
    second = daemon(topology(server, "b", control_socket=str(first.control)), ready=False)

    assert second.wait(10) == 69
    said = f"supervisor.control_socket: cannot listen on {first.control}: Address already in use; choose another path"
    assert said in second.logs()
    assert tell(first, "status")[0] == 0


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "/nowhere/at/all/c.sock",
            "cannot listen on /nowhere/at/all/c.sock: No such file or directory; choose another",
        ),
        ("/" + "x" * 120, "the path of a socket may have 107 bytes, and this one has 121"),
    ],
)
def test_a_control_socket_that_can_never_work_is_a_wrong_configuration(
    redis_server: MakeRedis, daemon: MakeDaemon, path: str, said: str
) -> None:
    run = daemon(topology(redis_server(), "a", control_socket=path), ready=False)

    assert run.wait(10) == 78
    assert f"supervisor.control_socket: {said}" in run.logs()


def test_without_the_default_socket_the_daemon_runs_and_says_that_it_cannot_be_asked(
    redis_server: MakeRedis, daemon: MakeDaemon, folder: Callable[[str], Path]
) -> None:
    runtime = folder("runtime")
    environment = {"RUNTIME_DIRECTORY": str(runtime)}
    server = redis_server()
    first = daemon(topology(server, "a", control_socket=None), environment=environment)
    second = daemon(topology(server, "b", control_socket=None), environment=environment)

    assert "control.unavailable" not in first.logs()
    (said,) = [line for line in second.logs().splitlines() if "control.unavailable" in line]
    assert "Address already in use" in said
    assert main(["status", "--socket", str(runtime / "control.sock")]) == 0
    assert second.stop() == 0
    assert (runtime / "control.sock").is_socket(), "it is the first one's"

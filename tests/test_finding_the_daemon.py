"""Which daemon a command speaks to, and what is said where there is none."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from invalidator.cli import main
from invalidator.topology import places
from tests.support.operating import status_of, topology

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.operating import Tell


def test_a_daemon_that_was_killed_is_said_to_be(redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell) -> None:
    run = daemon(topology(redis_server(), "a"))
    run.signal(signal.SIGKILL)
    run.wait()
    code, _, err = tell(run, "status")

    assert code == 69
    assert "does not run any more" in err
    run.start()
    assert tell(run, "status")[0] == 0, "its successor takes the socket over"


def test_no_daemon_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    assert main(["status"]) == 69
    assert capsys.readouterr().err == (
        f"no daemon has a socket at {tmp_path}/control.sock: if one runs elsewhere, say which with -c FILE or "
        "--socket PATH\n"
    )
    assert main(["status", "-c", str(tmp_path / "none.yaml")]) == 78
    assert main(["status", "-c", "x", "--socket", "y"]) == 2


def test_the_daemon_of_another_topology_does_not_obey(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = daemon(topology(redis_server(), "a"))
    other = tmp_path / "other.yaml"
    other.write_text(run.file.read_text())
    before = run.pids()

    assert main(["reload", "-c", str(other)]) == 69
    assert f"runs {run.file}, not {other}: give each its own" in capsys.readouterr().err
    assert main(["restart", "a", "-c", str(other)]) == 69
    assert run.pids() == before
    link = tmp_path / "link.yaml"
    link.symlink_to(run.file)
    assert main(["reload", "-c", str(link)]) == 0, "the same file by another name is the same file"


@pytest.fixture
def rooms(folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two runtime directories, in which the daemon of a file that names no socket is looked for."""
    there = [folder("usual"), folder("instance")]
    monkeypatch.setattr(places, "control_sockets", lambda *_, **__: tuple(room / "control.sock" for room in there))
    return there


def test_an_instance_is_found_beside_a_daemon_of_another_topology(
    redis_server: MakeRedis, daemon: MakeDaemon, rooms: list[Path], tell: Tell
) -> None:
    server = redis_server()
    for name, room in zip(("other", "shop"), rooms, strict=True):
        run = daemon(topology(server, name, control_socket=None), environment={"RUNTIME_DIRECTORY": str(room)})
        assert [worker.name for worker in status_of(run, tell).workers] == [name]
    pid = run.pids()
    assert tell(run, "restart", "shop")[0] == 0
    assert run.pids() != pid
    assert run.stop() == 0
    code, _, err = tell(run, "status")

    assert code == 69
    assert err.startswith(f"no daemon of {run.file} has a socket at {rooms[1]}/control.sock; {rooms[0]}/control.sock: ")
    assert f", not {run.file}: give each its own" in err


def test_a_socket_that_the_file_names_and_a_reload_has_yet_to_make_hides_no_daemon(
    redis_server: MakeRedis, daemon: MakeDaemon, rooms: list[Path], tell: Tell
) -> None:
    server = redis_server()
    run = daemon(topology(server, "a", control_socket=None), environment={"RUNTIME_DIRECTORY": str(rooms[0])})
    run.write(topology(server, "a"))

    assert tell(run, "reload", "--wait")[0] == 0
    assert run.control.is_socket()
    assert tell(run, "status")[0] == 0


@pytest.mark.parametrize("text", ["workers: [", "workers: []\n", "supervisor: {control_socket: none.sock}"])
def test_every_place_where_the_daemon_of_a_file_was_looked_for_is_named(
    rooms: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(text)
    own = [tmp_path / "none.sock"] if "none.sock" in text else []
    places_of_it = " or ".join(map(str, [*own, *(room / "control.sock" for room in rooms)]))

    assert main(["status", "-c", str(file)]) == 69
    assert capsys.readouterr().err == (
        f"no daemon of {file} has a socket at {places_of_it}; if it runs elsewhere, --socket PATH finds it\n"
    )

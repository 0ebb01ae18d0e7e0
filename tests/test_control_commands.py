"""`status`, `reload`, `restart`, `pause`, `resume` and `tap` against real daemons, as an operator uses them."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import statistics
import subprocess
import sys
import termios
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import msgspec
import pytest
import redis

from invalidator.cli import main
from invalidator.control import client
from invalidator.control.client import Client
from invalidator.control.protocol import Ping, Reload
from invalidator.errors import UnreachableError
from invalidator.screen.text import width
from invalidator.status import Status
from invalidator.topology import places
from tests.support.topologies import logging
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer

Run = tuple[int, str, str]


def topology(server: RedisServer, *names: str, **supervisor: object) -> dict[str, Any]:
    return logging(server, *names, longest="100ms", **supervisor)


def publish(server: RedisServer, channel: str, payload: str) -> None:
    with redis.Redis.from_url(server.url) as connection:
        assert connection.publish(channel, payload)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Runs a command, found by the daemon's file: its exit code, stdout and stderr."""

    def run(daemon: Daemon, *arguments: str) -> Run:
        code = main([*arguments, "-c", str(daemon.file)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def status_of(run: Daemon, tell: Callable[..., Run]) -> Status:
    return msgspec.json.decode(tell(run, "status", "--json")[1], type=Status)


def test_status_says_how_each_worker_does(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
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
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
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


def test_a_reload_keeps_unchanged_workers_and_waits_for_the_others(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    server = redis_server()
    run = daemon(topology(server, "kept", "changed", "removed"))
    kept, changed, removed = run.pids()
    wanted = topology(server, "kept", "changed", "added")
    wanted["workers"][1]["window"] = "5ms"
    run.write(wanted)

    assert tell(run, "reload", "--wait") == (0, "reloaded: 1 kept, 1 replaced, 1 started, 1 stopped\n", "")
    assert run.status("/readyz") == 200, "everything is subscribed by then"
    assert len(run.pids()) == 3
    assert kept in run.pids()
    assert not {changed, removed} & set(run.pids())


def test_a_reload_without_waiting_says_that_the_file_is_right(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    run = daemon(topology(redis_server(), "a"))

    assert tell(run, "reload") == (0, "the file is right: 1 kept\n", "")


def test_a_file_that_is_wrong_changes_nothing_and_every_problem_is_told_as_check_does(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    server = redis_server()
    run = daemon(topology(server, "a", "b"))
    before = run.pids()
    wanted = topology(server, "a", "b", metrix=1)
    wanted["workers"][0]["patern"] = "x"
    run.write(wanted)
    checked = tell(run, "check")[2]
    code, out, err = tell(run, "reload", "--wait")

    assert (code, out) == (78, "")
    assert len(checked.splitlines()) == 2
    assert err == f"{checked}nothing has changed: the file is wrong\n"
    assert run.pids() == before
    code, out, _ = tell(run, "status")
    assert code == 0, "what runs is well"
    assert "! not reloaded at " in out
    assert "(and 1 more)" in out


def test_a_file_that_is_no_yaml_any_more_still_leads_to_its_daemon(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    run = daemon(topology(redis_server(), "a"))
    run.file.write_text(run.file.read_text() + "\nworkers: [")

    assert tell(run, "status")[0] == 0
    assert tell(run, "reload")[0] == 78


def test_an_address_that_cannot_be_had_ends_a_reload_with_69(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    server = redis_server()
    run = daemon(topology(server, "a"))
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        run.write(topology(server, "a", metrics=f"127.0.0.1:{taken.getsockname()[1]}"))
        code, _, err = tell(run, "reload", "--wait")

    assert code == 69
    assert "nothing has changed: " in err
    assert "supervisor.metrics: cannot listen on" in err
    assert run.status("/readyz") == 200


def test_a_reload_that_waits_in_vain_names_the_worker_and_says_why(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    server = redis_server()
    run = daemon(topology(server, "good", "bad"))
    wanted = topology(server, "good", "bad")
    wanted["workers"][1]["redis"] = {"url": f"redis://127.0.0.1:{free_port()}/0"}
    run.write(wanted)
    code, out, err = tell(run, "reload", "--wait", "--timeout", "2")

    assert (code, out) == (1, "")
    assert err.startswith("waited 2 s in vain: bad: its successor has not become ready")
    assert "refused" in err.lower()
    assert "good" not in err

    code, _, err = tell(run, "reload", "--wait", "--timeout", "0.3")
    assert (code, err[:25]) == (1, "waited 0.3 s in vain: bad"), "it has not taken effect by now either"
    run.write(topology(server, "good", "bad"))
    assert tell(run, "reload", "--wait")[0] == 0
    assert tell(run, "reload", "--wait") == (0, "reloaded: 2 kept\n", "")


def test_a_worker_that_is_removed_and_does_not_end_is_waited_for_too(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    server = redis_server()
    run = daemon(topology(server, "a", "b", stop_timeout="30s"))
    pid = run.pids()[1]
    os.kill(pid, signal.SIGSTOP)
    run.write(topology(server, "a", stop_timeout="30s"))
    code, _, err = tell(run, "reload", "--wait", "--timeout", "0.3")
    os.kill(pid, signal.SIGCONT)

    assert code == 1
    assert f"b (pid {pid}), which the file names no more, has not ended" in err
    wait_until(lambda: len(run.pids()) == 1)


def waiting(run: Daemon, request: Reload) -> tuple[Client, threading.Thread, list[Any]]:
    """A client that waits for its answer in a thread, once the daemon has its request."""
    asking = Client(run.control)
    answered: list[Any] = []

    def ask() -> None:
        try:
            answered.append(asking.ask(request, 30))
        finally:
            asking.close()

    before = run.logs().count("reload.done")
    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: run.logs().count("reload.done") > before, why=run.logs)
    return asking, thread, answered


def unreachable(server: RedisServer, *names: str) -> dict[str, Any]:
    wanted = topology(server, *names)
    wanted["workers"][-1]["redis"] = {"url": f"redis://127.0.0.1:{free_port()}/0"}
    return wanted


def test_who_waits_is_told_when_the_daemon_stops(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server, "a"))
    run.write(unreachable(server, "a"))
    _, thread, answered = waiting(run, Reload(wait=True))

    assert run.stop() == 0
    thread.join()
    assert (answered[0].exit, answered[0].error) == (1, "the daemon is stopping")
    assert not run.control.exists()


def test_who_waits_is_told_of_a_reload_that_came_in_between(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server, "a"))
    run.write(unreachable(server, "a"))
    _, thread, answered = waiting(run, Reload(wait=True))
    run.write(topology(server, "a"))
    run.signal(signal.SIGHUP)
    thread.join(10)

    assert answered[0].ok
    assert answered[0].text == "reloaded: 1 replaced; a later reload came meanwhile, and its file runs now"


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


def test_a_restart_replaces_the_process_and_waits_for_the_new_one(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    run = daemon(topology(redis_server(), "a", "b"))
    first, second = run.pids()

    assert tell(run, "restart", "a") == (0, "restarted: a\n", "")
    assert run.status("/readyz") == 200
    assert first not in run.pids()
    assert second in run.pids()
    assert status_of(run, tell).workers[0].restarts == {"requested": 1}
    assert run.metrics().value("invalidator_worker_restarts_total", worker="a", reason="requested") == 1
    assert tell(run, "restart", "a", "--no-wait") == (0, "restarting: a\n", "")


def test_a_restart_that_does_not_come_up_ends_with_1_and_says_why(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    server = redis_server()
    run = daemon(topology(server, "a"))
    server.kill()
    code, _, err = tell(run, "restart", "a", "--timeout", "0.5")

    assert code == 1
    assert err.startswith("waited 0.5 s in vain: a is ")


def test_a_pause_stops_purging_and_not_reading_and_outlives_restart_and_reload(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    server = redis_server()
    run = daemon(topology(server, "a"))
    assert tell(run, "pause", "a") == (0, "paused: a\n", "")
    wait_until(lambda: status_of(run, tell).workers[0].paused)
    assert tell(run, "restart", "a")[0] == 0
    wanted = topology(server, "a")
    wanted["workers"][0]["window"] = "1ms"
    run.write(wanted)
    assert tell(run, "reload", "--wait")[0] == 0
    publish(server, "cache:a:x", "users:1")
    run.wait_metric("invalidator_pending", 1, worker="a")
    assert run.metrics().value("invalidator_targets_total", worker="a", end="purged") == 0
    assert tell(run, "resume", "--all") == (0, "resumed: a\n", "")
    run.wait_metric("invalidator_targets_total", 1, worker="a", end="purged")


def test_a_lane_that_owes_a_flush_says_so(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    wanted = topology(redis_server(), "a")
    wanted["workers"][0] |= {"on_gap": "flush", "flush": {"all": True}}
    run = daemon(wanted)

    def owed() -> bool:
        return status_of(run, tell).workers[0].lanes[0].flush_owed

    assert not owed()
    assert tell(run, "pause", "a")[0] == 0
    os.kill(run.pids()[0], signal.SIGKILL)
    wait_until(owed)
    assert tell(run, "resume", "a")[0] == 0
    wait_until(lambda: not owed())


@pytest.mark.parametrize("command", ["restart", "pause", "resume", "tap"])
def test_a_worker_that_is_not_there_is_said_with_who_is(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run], command: str
) -> None:
    run = daemon(topology(redis_server(), "users", "orders"))

    assert tell(run, command, "user") == (
        2,
        "",
        "there is no worker 'user' — did you mean 'users'?; there are users, orders\n",
    )


@pytest.mark.parametrize("arguments", [["pause"], ["resume", "a", "--all"], ["restart"]])
def test_who_says_no_worker_or_says_it_twice_is_asked(arguments: list[str]) -> None:
    assert main(arguments) == 2


class Tapping:
    """`invalidator tap` as a process. `said` is every line of it so far."""

    def __init__(self, run: Daemon, *arguments: str) -> None:
        command = [sys.executable, "-m", "invalidator", "tap", *arguments, "-c", str(run.file)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self._reader.join()
        self.process.communicate()

    def _read(self) -> None:
        assert self.process.stdout
        self.said.extend(iter(self.process.stdout.readline, ""))

    def wait_for(self, *words: str) -> str:
        """The first line with all of these words in it."""
        lines = wait_until(lambda: [one for one in self.said if all(word in one for word in words)], why=str(words))
        return lines[0]


def begin(tapping: Tapping, server: RedisServer, channel: str) -> None:
    """Publishes until the tap shows something: it is then known to the worker."""

    def shown() -> bool:
        publish(server, channel, "first")
        return bool(tapping.said)

    wait_until(shown, why="the tap shows nothing")


def test_tap_shows_what_is_heard_and_what_becomes_of_it_and_nothing_that_drives_a_terminal(
    redis_server: MakeRedis, daemon: MakeDaemon
) -> None:
    server = redis_server()
    run = daemon(topology(server, "users", "orders"))
    with Tapping(run, "users") as tap:
        begin(tap, server, "cache:users:x")
        publish(server, "cache:orders:x", "orders:1")
        publish(server, "cache:users:\033[31mred", json.dumps({"keys": ["users:\u202e42"], "source": "\033]0;x\007"}))
        heard = tap.wait_for("users:\\u202e42", "cache:users")
        tap.wait_for("users:\\u202e42", "→ said  purged")
        tap.process.send_signal(signal.SIGINT)
        assert tap.process.wait(5) == 130
    assert "cache:users:\\x1b[31mred  key users:" in heard
    assert "from \\x1b]0;x\\x07" in heard
    assert "orders" not in "".join(tap.said)
    assert "".join(tap.said).replace("\n", "").isprintable()


def test_tap_ends_with_69_when_the_daemon_goes(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server, "users"))
    with Tapping(run, "--json") as tap:
        begin(tap, server, "cache:users:x")
        heard = tap.wait_for('"message"')
        assert json.loads(heard)["targets"] == [["key", "first"]]
        assert json.loads(tap.wait_for('"outcome"'))["end"] == "purged"
        assert run.stop() == 0
        assert tap.process.wait(5) == 69
        assert tap.process.stderr
        assert "has gone" in tap.process.stderr.read()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.3)


@pytest.mark.usefixtures("impatient")
def test_a_daemon_that_hangs_is_not_waited_for_for_ever(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    run = daemon(topology(redis_server(), "a"))
    run.signal(signal.SIGSTOP)
    said = [tell(run, *command) for command in (["status"], ["reload", "--wait"], ["tap"])]
    run.signal(signal.SIGCONT)

    assert [code for code, _, _ in said] == [69] * 3
    hangs = f"the daemon at {run.control} does not answer: is it stopped, or does it hang?\n"
    assert [err for _, _, err in said] == [hangs] * 3


def test_a_daemon_that_was_killed_is_said_to_be(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    run = daemon(topology(redis_server(), "a"))
    run.signal(signal.SIGKILL)
    run.wait()
    code, _, err = tell(run, "status")

    assert code == 69
    assert "does not run any more" in err
    run.start()
    assert tell(run, "status")[0] == 0, "its successor takes the socket over"


def test_a_status_imports_nothing_of_what_a_daemon_needs() -> None:
    code = "import sys; from invalidator.cli import main; main(['status', '--socket', '/none']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("redis", "pydantic", "pluggy", "multiprocess", "yaml.parser", "invalidator.supervision"):
        assert heavy not in done.stdout.split()


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


@pytest.mark.parametrize("garbage", [b"", b"HTTP/1.1 400 Bad Request\n", b"\xff\n", b"[" * 10_000 + b"\n", b"{}\n"])
def test_what_answers_but_is_no_daemon_is_said_to_be_none(folder: Callable[[str], Path], garbage: bytes) -> None:
    path = folder("other") / "x.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with Client(path) as asking:
            accepted, _ = other.accept()
            accepted.sendall(garbage)
            accepted.close()
            with pytest.raises(UnreachableError, match=r"no daemon of this version|hung up"):
                asking.ask(Ping())


@pytest.mark.parametrize(
    ("command", "said", "code", "err"),
    [
        ("reload", b'{"ok":false,"exit":1,"error":"\\u001b[2J"}\n', 1, "\\x1b[2J\n"),
        ("tap", b'{"ok":true}\n{"what":"news"}\n', 69, "what answers is no daemon of this version: "),
    ],
)
def test_what_is_said_by_whoever_answers_drives_no_terminal_and_is_no_bug_of_ours(
    folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str], command: str, said: bytes, code: int, err: str
) -> None:
    path = folder("other") / "x.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        def answer() -> None:
            accepted, _ = other.accept()
            with accepted:
                while accepted.recv(1 << 16):
                    accepted.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        ended = main([command, "--socket", str(path)])
        thread.join(5)

    assert ended == code
    assert capsys.readouterr().err.startswith(err)


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
    redis_server: MakeRedis, daemon: MakeDaemon, rooms: list[Path], tell: Callable[..., Run]
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
    redis_server: MakeRedis, daemon: MakeDaemon, rooms: list[Path], tell: Callable[..., Run]
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


def test_a_control_socket_whose_file_was_taken_away_is_back_after_a_reload(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    run = daemon(topology(redis_server(), "a"))
    run.control.unlink()
    assert tell(run, "status")[0] == 69
    run.signal(signal.SIGHUP)
    wait_until(lambda: tell(run, "status")[0] == 0, 5, run.logs)


def test_a_socket_that_a_living_daemon_has_is_left_to_it(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
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


def test_no_worker_holds_a_clients_connection_open(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Callable[..., Run]
) -> None:
    run = daemon(topology(redis_server(), "a"))
    with client.dial(run.control, 5) as looking_on:
        looking_on.sendall(b'{"op":"ping"}\n')
        assert looking_on.recv(100)
        assert tell(run, "restart", "a")[0] == 0  # it is forked while we are connected
        looking_on.shutdown(socket.SHUT_WR)
        assert looking_on.recv(100) == b"", "the daemon has hung up, and so has everybody else"


FLOOD = """
    import socket, sys, threading, time

    PING = b'{"op":"ping"}\\n' * 5000
    ATTACKS = [PING, b'{"op":"status"}\\n' * 5000, b"[" * 60_000 + b"\\n", b"x" * 1_000_000, b'{"op":"reload"}\\n' * 20]

    def attack(data):
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(sys.argv[1])
                    client.settimeout(0.2)
                    client.sendall(data)
            except OSError:
                pass

    for data in ATTACKS * 3:
        threading.Thread(target=attack, args=(data,), daemon=True).start()
    print("flooding", flush=True)
    sys.stdin.read()
"""


def test_a_flooded_control_socket_costs_the_daemon_nothing(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server, "a", "b"))
    pids = run.pids()
    command = [sys.executable, "-c", textwrap.dedent(FLOOD), str(run.control)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as flood:
        try:
            assert flood.stdout
            assert flood.stdout.readline() == b"flooding\n"
            took = [_seconds(lambda: run.get("/healthz")) for _ in range(100)]
            wait_until(lambda: _answers(run), why="there was no coming through")
        finally:
            flood.kill()

    assert statistics.median(took) < 0.05
    assert max(took) < 1.0, "the machine has others to serve too"
    assert run.pids() == pids
    assert run.metrics().value("invalidator_worker_restarts_total") == 0


def _answers(run: Daemon) -> bool:
    try:
        with Client(run.control) as asking:
            return asking.ask(Ping()).ok
    except UnreachableError:  # another one was let in instead
        return False


def _seconds(do: Callable[[], object]) -> float:
    begun = time.monotonic()
    do()
    return time.monotonic() - begun

"""`reload` against real daemons: what it says of the file, and whom it waits for."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

from invalidator.control.client import Client
from invalidator.control.protocol import Reload
from tests.support.operating import topology
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.operating import Tell
    from tests.support.stores import RedisServer


def test_a_reload_keeps_unchanged_workers_and_waits_for_the_others(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
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
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
) -> None:
    run = daemon(topology(redis_server(), "a"))

    assert tell(run, "reload") == (0, "the file is right: 1 kept\n", "")


def test_a_file_that_is_wrong_changes_nothing_and_every_problem_is_told_as_check_does(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
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
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
) -> None:
    run = daemon(topology(redis_server(), "a"))
    run.file.write_text(run.file.read_text() + "\nworkers: [")

    assert tell(run, "status")[0] == 0
    assert tell(run, "reload")[0] == 78


def test_an_address_that_cannot_be_had_ends_a_reload_with_69(
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
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
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
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
    redis_server: MakeRedis, daemon: MakeDaemon, tell: Tell
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

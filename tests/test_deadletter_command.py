"""`invalidator deadletter` against real daemons: listed, tried again, and kept through every kill."""

from __future__ import annotations

import io
import json
import os
import signal
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import redis

from invalidator.cli import main
from invalidator.control.protocol import decode_request
from invalidator.letters import decode
from invalidator.supervision.deadletters import boxes
from tests.support.letterbox import BOX, write
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.letters import Letter
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer


def test_requests_are_what_the_protocol_says() -> None:
    decode_request(b'{"op":"deadletters","worker":"users"}')
    decode_request(b'{"op":"deadletter-retry","worker":"users","backend":"edge","wait":true,"timeout":5}')


def topology(source: RedisServer, replica: RedisServer, **worker: Any) -> dict[str, Any]:
    return {
        "redis": {"url": source.url},
        "backends": {"objects": {"type": "redis", "url": replica.url}, "other": {"type": "log"}},
        "workers": [
            {
                "name": "users",
                "pattern": "cache:users:*",
                "backends": ["objects", "other"],
                "on_gap": "ignore",
                **worker,
            }
        ],
    }


class Said(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def cli(run: Daemon, *args: str, command: str = "deadletter") -> Said:
    """In this process: to start another one takes longer than all the rest."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([command, *args, "-c", str(run.file)])
    return Said(code, out.getvalue(), err.getvalue())


def listed(run: Daemon, *args: str) -> list[dict[str, Any]]:
    said = cli(run, "list", "--json", *args)
    assert said.returncode == 0, said.stderr
    found: list[dict[str, Any]] = json.loads(said.stdout)
    return found


def values(server: RedisServer) -> redis.Redis:
    client = redis.Redis(host="127.0.0.1", port=server.port)
    _open.append(client)
    return client


_open: list[redis.Redis] = []


@pytest.fixture(autouse=True)
def closes() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


@pytest.fixture
def stores(redis_server: MakeRedis) -> tuple[RedisServer, RedisServer]:
    return redis_server(), redis_server()


def test_a_daemon_lists_them_and_tries_them_again(stores: tuple[RedisServer, RedisServer], daemon: MakeDaemon) -> None:
    source, replica = stores
    values(replica).mset({f"users:{number}": "old" for number in range(3)})
    run = daemon(topology(source, replica), ready=True)
    assert cli(run, "list").stdout == "there are no dead letters\n"
    assert "there are no dead letters" in cli(run, "retry").stdout
    write(run.folder / "state", "users:0", "users:1", "users:2", more=b"garbage\n")

    (pile,) = listed(run)
    assert (pile["worker"], pile["backend"], pile["letters"], pile["garbage"]) == ("users", "objects", 3, 1)
    assert pile["reasons"] == {"overflow": 3}
    said = cli(run, "list", "users", "objects").stdout
    assert "users objects  3 dead letters" in said
    assert "overflow  key users:2" in said
    assert listed(run, "users", "other") == []

    done = cli(run, "retry", "users", "objects", "--wait")
    assert (done.returncode, done.stdout.strip()) == (0, "tried again: 3; dead again: 0; no letters, and kept apart: 1")
    assert values(replica).exists("users:0", "users:1", "users:2") == 0
    assert [(pile["letters"], pile["garbage"]) for pile in listed(run)] == [(0, 1)]


def test_what_cannot_be_asked_for_is_said_with_what_can(
    stores: tuple[RedisServer, RedisServer], daemon: MakeDaemon
) -> None:
    run = daemon(topology(*stores))
    write(run.folder / "state", "users:0")
    worker, backend = cli(run, "retry", "user"), cli(run, "retry", "users", "object")
    assert (worker.returncode, backend.returncode) == (2, 2)
    assert "did you mean 'users'" in worker.stderr
    assert "worker users has no backend 'object'; it has objects, other" in backend.stderr
    assert cli(run, "list", "user").returncode == 2, "a name that is wrong must not sound like good news"
    assert "it has objects, other" in cli(run, "list", "users", "object").stderr
    cli(run, "users", command="pause")
    paused = cli(run, "retry")
    assert (paused.returncode, "users is paused" in paused.stderr) == (1, True)


def test_after_kill_9_of_worker_and_daemon_each_letter_is_there_again_or_purged(
    stores: tuple[RedisServer, RedisServer], daemon: MakeDaemon
) -> None:
    source, replica = stores
    keys = [f"users:{number}" for number in range(3_000)]
    values(replica).mset(dict.fromkeys(keys, "old"))
    run = daemon(topology(source, replica))
    write(run.folder / "state", *keys)
    replica.stop()
    try:
        assert cli(run, "retry").returncode == 0
        run.wait_metric("invalidator_pending", 3_000, backend="objects")
        (pid,) = run.pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: run.pids() not in ([], [pid]))
        run.wait_metric("invalidator_pending", 3_000, backend="objects")
        waited = cli(run, "retry", "--wait", "--timeout", "0.2")
        assert (waited.returncode, "users objects has not come to an end" in waited.stderr) == (1, True)
        run.signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    finally:
        replica.cont()
    assert values(replica).exists(*keys) > 0
    (box,) = boxes(run.folder / "state")
    assert box.part == "retry"
    run.start()
    wait_until(lambda: listed(run) == [])
    assert values(replica).exists(*keys) == 0, "what was begun has gone on by itself"


def test_a_worker_goes_on_by_itself_with_what_its_predecessor_was_asked_for(
    stores: tuple[RedisServer, RedisServer], daemon: MakeDaemon
) -> None:
    source, replica = stores
    values(replica).set("users:0", "old")
    run = daemon(topology(source, replica))
    write(run.folder / "state", "users:0")
    replica.stop()
    try:
        cli(run, "retry")
        run.wait_metric("invalidator_pending", 1, backend="objects")
        (pid,) = run.pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: run.pids() not in ([], [pid]))
    finally:
        replica.cont()
    wait_until(lambda: not values(replica).exists("users:0"), 20)
    wait_until(lambda: listed(run) == [])


def test_what_a_stop_had_to_leave_undone_is_done_at_the_next_start(
    stores: tuple[RedisServer, RedisServer], daemon: MakeDaemon
) -> None:
    source, replica = stores
    keys = [f"users:{number}" for number in range(3)]
    values(replica).mset(dict.fromkeys(keys, "old"))
    run = daemon(topology(source, replica) | {"supervisor": {"stop_timeout": "500ms"}}, ready=True)
    replica.stop()
    try:
        for key in keys:
            values(source).publish("cache:users:x", key)
        run.wait_metric("invalidator_pending", 3, backend="objects")
        assert run.stop() == 0
    finally:
        replica.cont()
    assert sorted(letter.target for letter in letters_of(run)) == keys
    assert {letter.reason for letter in letters_of(run)} == {"stopped"}
    values(replica).mset(dict.fromkeys(keys, "old"))
    run.start()
    wait_until(lambda: not values(replica).exists(*keys))
    wait_until(lambda: listed(run) == [])


def letters_of(run: Daemon) -> list[Letter]:
    lines = BOX.file(run.folder / "state").read_bytes().splitlines()
    return [letter for letter in map(decode, lines) if letter]

"""Make before break, and what nobody can prove to have heard: a gap, and without that proof none."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import redis

from invalidator.control.protocol import Reload, Restart
from invalidator.stage.proxy import Proxy
from tests.support.control import ask
from tests.support.gated import Gates
from tests.support.handovers import FLUSHES, GAPS, begin_restart, counted, handover, publish
from tests.support.operating import RESTARTS
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis


def test_a_successor_beside_a_dead_elder_is_the_worker_and_declares_the_gap(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    run = daemon(gates.topology(redis_server(), "a"))
    before = counted(run)
    elder, successor = begin_restart(run, gates)
    os.kill(elder, signal.SIGKILL)
    run.wait_metric(RESTARTS, 1, worker="a", reason="signal")
    gates.open("start")
    run.wait_ready()

    assert run.pids() == [successor]
    wait_until(lambda: counted(run) == {name: count + 1 for name, count in before.items()}, why=run.logs)
    assert run.metrics().value(RESTARTS) == 1


@pytest.mark.parametrize("how", ["killed", "cut off", "stranded", "elsewhere"])
def test_an_elder_that_cannot_prove_what_it_has_heard_makes_it_a_gap(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates, cleanup: ExitStack, how: str
) -> None:
    server, other = redis_server(), redis_server()
    proxy = Proxy(("127.0.0.1", server.port))
    cleanup.callback(proxy.close)
    wanted = gates.topology(server, "a", stop_timeout="1s")
    wanted["redis"]["url"] = f"redis://{proxy.address}/0"
    run = daemon(wanted)
    before = counted(run)
    (elder,) = run.pids()
    match how:
        case "killed":  # at the end of its stop_timeout, as it does not drain
            os.kill(elder, signal.SIGSTOP)
        case "cut off":
            os.kill(elder, signal.SIGSTOP)
            proxy.drop()
        case "stranded":  # its connection looks alive, and is dead
            proxy.strand()
        case "elsewhere":  # it is well, and subscribed at another server than its successor
            proxy._target = ("127.0.0.1", other.port)
    _, successor = begin_restart(run, gates)  # which connects at once: the path is to be as it is to find it
    publish(server, "users:1")
    gates.open("start")
    run.wait_metric(RESTARTS, 1, worker="a")
    if how == "cut off":
        os.kill(elder, signal.SIGCONT)
    wait_until(lambda: run.pids() == [successor], why=run.logs)

    wait_until(lambda: counted(run) == {name: count + 1 for name, count in before.items()}, why=run.logs)
    assert run.metrics().value(GAPS, worker="a", cause="start") == 2


UNPROVEN = """
    from invalidator.supervision.accounts import Account

    Account.heard_out = property(lambda self: True, lambda self, value: None)
    Account.undone = property(lambda self: (), lambda self, value: None)
"""


def test_without_that_proof_what_was_missed_would_go_unnoticed(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    # The control for the test above: the elder's word is taken for given.
    gates = Gates(tmp_path, UNPROVEN)
    run = daemon(gates.topology(redis_server(), "a", stop_timeout="300ms"))
    before = counted(run)
    elder, successor = begin_restart(run, gates)
    os.kill(elder, signal.SIGSTOP)
    gates.open("start")
    wait_until(lambda: run.pids() == [successor], why=run.logs)
    wait_until(lambda: handover(run) is None, why=run.logs)

    assert counted(run) == before


def test_a_worker_that_hears_something_else_begins_with_a_gap(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    wanted = gates.topology(redis_server(), "a")
    run = daemon(wanted)
    wanted["workers"][0]["pattern"] = "cache:*"
    run.write(wanted)
    assert ask(run, Reload(wait=True)).ok

    assert run.metrics().value(FLUSHES, backend="gated", cause="start") == 2
    assert run.metrics().value(GAPS, cause="start") == 2


def test_a_redis_user_who_may_not_know_the_server_has_no_proof(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    # Without its run id, two subscriptions may be with two servers: a proxy, a name that moved, a failover.
    server = redis_server()
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "default", "-info")
    run = daemon(gates.topology(server, "a"))
    assert ask(run, Restart(workers=("a",), wait=True)).ok

    assert run.metrics().value(GAPS, cause="start") == 2

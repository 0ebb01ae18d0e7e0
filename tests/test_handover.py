"""Make before break, seen from outside: the elder works until its successor is ready, whatever happens meanwhile."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from invalidator.control.protocol import Pause, Reload, Restart
from invalidator.stage.proxy import Proxy
from tests.support.control import ask, status
from tests.support.gated import Gates
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from invalidator.status import Handover, Worker
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer

RESTARTS = "invalidator_worker_restarts_total"
GAPS = "invalidator_gaps_total"
FLUSHES = "invalidator_flushes_total"


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    return Gates(tmp_path)


def worker(run: Daemon) -> Worker:
    return status(run).workers[0]


def handover(run: Daemon) -> Handover | None:
    return worker(run).handover


def publish(server: RedisServer, *keys: str, channel: str = "cache:a:x") -> None:
    with redis.Redis.from_url(server.url) as client:
        for key in keys:
            client.publish(channel, key)


def begin_restart(run: Daemon, gates: Gates) -> tuple[int, int]:
    """A restart of `a` that stands still before its successor is ready. The elder's process and its successor's."""
    (elder,) = run.pids()
    gates.close("start")
    assert ask(run, Restart(workers=("a",))).ok
    wait_until(lambda: len(run.pids()) == 2, why=run.logs)
    (successor,) = set(run.pids()) - {elder}
    return elder, successor


def counted(run: Daemon) -> dict[str, float]:
    """What the worker `a` counts of one kind, over all kinds."""
    metrics = run.metrics()
    return {name: metrics.value(f"invalidator_{name}_total", worker="a") for name in ("gaps", "flushes")}


def test_the_elder_works_until_its_successor_is_ready_and_there_is_no_gap(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    run = daemon(gates.topology(server, "a"))
    before = counted(run)
    elder, successor = begin_restart(run, gates)
    publish(server, "users:1")
    wait_until(lambda: gates.purged() == ["users:1"], why=run.logs)
    shown = handover(run)
    assert shown is not None
    assert (shown.state, shown.reason, shown.pid) == ("starting", "requested", successor)
    assert (worker(run).pid, status(run).state) == (elder, "running")
    assert run.status("/readyz") == 200
    gates.open("start")
    wait_until(lambda: run.pids() == [successor], why=run.logs)

    wait_until(lambda: handover(run) is None, why=run.logs)
    assert counted(run) == before
    assert run.metrics().value(RESTARTS, worker="a", reason="requested") == 1
    assert run.metrics().value(RESTARTS) == 1


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


def test_an_elder_whose_backend_hangs_has_it_flushed_by_its_successor_and_no_other(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    wanted = gates.topology(server, "a", stop_timeout="1s")
    wanted["backends"]["said"] = {"type": "log"}
    wanted["workers"][0]["backends"] = ["gated", "said"]
    run = daemon(wanted)
    gates.close("purge")
    publish(server, "users:1")
    run.wait_metric("invalidator_pending", 1, backend="gated")
    (elder,) = run.pids()
    assert ask(run, Restart(workers=("a",))).ok
    run.wait_metric(RESTARTS, 1, worker="a", reason="requested")
    assert run.metrics().value("invalidator_pending", backend="gated") == 1, "the elder's own, which still drains"
    wait_until(lambda: elder not in run.pids(), why=run.logs)
    gates.open("purge")
    run.wait_metric(FLUSHES, 2, backend="gated", cause="start")
    metrics = run.metrics()

    assert metrics.value(FLUSHES, backend="said", cause="start") == 1, "that of the daemon's start"
    assert metrics.value(GAPS, worker="a", cause="start") == 1, "nothing was missed: it was heard, and not purged"
    assert metrics.value("invalidator_targets_total", backend="gated", end="dead") == 1


def test_what_an_elder_could_not_purge_in_time_its_successor_purges_where_a_gap_flushes_nothing(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    wanted = gates.topology(server, "a", stop_timeout="1s")
    wanted["workers"][0] |= {"on_gap": "ignore", "flush": None}
    run = daemon(wanted)
    gates.close("purge")
    publish(server, "users:1", "users:2")
    run.wait_metric("invalidator_pending", 2)
    (elder,) = run.pids()
    assert ask(run, Restart(workers=("a",))).ok
    wait_until(lambda: len(run.pids()) == 1 and elder not in run.pids(), why=run.logs)
    gates.open("purge")

    wait_until(lambda: set(gates.purged()) >= {"users:1", "users:2"}, why=run.logs)
    wait_until(lambda: not list((run.folder / "state").rglob("*.jsonl*")), why=run.logs)


def test_a_successor_that_dies_at_its_start_leaves_the_elder_at_work_and_is_tried_again(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    wanted = gates.topology(server, "a", "b")
    run = daemon(wanted)
    elder, other = run.pids()
    wanted["workers"][0]["backends"] = ["bad"]
    wanted["backends"]["bad"] = {"type": "gated", "number": -1}
    run.write(wanted)
    answer = ask(run, Reload(wait=True, timeout=0.8))

    assert answer.exit == 1
    assert answer.error.startswith("waited 0.8 s in vain: a: its successor has not become ready (early: exit code 70)")
    run.wait_metric(RESTARTS, 2, worker="a", reason="early")
    assert status(run).state == "degraded"
    assert "successor has not become ready" in status(run).troubles[0]
    assert {elder, other} <= set(run.pids())
    publish(server, "users:1")
    wait_until(lambda: gates.purged() == ["users:1"], why=run.logs)
    del wanted["backends"]["bad"]
    wanted["workers"][0]["backends"] = ["gated"]
    run.write(wanted)
    assert ask(run, Reload(wait=True)).ok
    assert status(run).state == "running"
    assert len(run.pids()) == 2


IMPATIENT = """
    from invalidator.supervision import child
    child.READY_WITHIN = 0.4
"""


def test_a_successor_that_reaches_no_redis_makes_room_for_others_and_is_tried_again(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    gates, server = Gates(tmp_path, IMPATIENT), redis_server()
    wanted = gates.topology(server, "a", "b", "c", "d", "e", "f")
    run = daemon(wanted)
    elders = run.pids()
    for one in wanted["workers"]:
        one["window"] = "1ms"
    for one in wanted["workers"][:5]:
        one["redis"] = {"url": f"redis://127.0.0.1:{free_port()}/0"}
    run.write(wanted)
    assert ask(run, Reload()).ok
    run.wait_metric(RESTARTS, 1, worker="f", reason="reload")
    run.wait_metric(RESTARTS, 1, worker="a", reason="early")
    trouble = next(text for text in status(run).troubles if text.startswith("a: "))

    assert "its successor has not become ready (unreachable: " in trouble
    wait_until(lambda: set(elders[:5]) <= set(run.pids()) and elders[5] not in run.pids(), why=run.logs)


def replace_all(run: Daemon, wanted: dict[str, Any], gates: Gates) -> None:
    gates.close("start")
    for one in wanted["workers"]:
        one["window"] = "1ms"
    run.write(wanted)
    assert ask(run, Reload()).ok


def test_only_some_workers_are_replaced_at_the_same_time(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    names = "abcdef"
    wanted = gates.topology(redis_server(), *names)
    run = daemon(wanted)
    elders = set(run.pids())
    replace_all(run, wanted, gates)
    wait_until(lambda: len(run.pids()) == len(names) + 4, why=run.logs)
    states = [one.handover.state if one.handover else "" for one in status(run).workers]
    assert states == ["starting"] * 4 + ["waiting"] * 2
    assert ask(run, Reload(wait=True, timeout=0.1)).error.startswith("waited 0.1 s in vain: a: its successor")
    gates.open("start")
    most = 0

    def replaced() -> bool:
        nonlocal most
        now = run.pids()
        most = max(most, len(now))
        return len(now) == len(names) and not elders & set(now)

    wait_until(replaced, 20, run.logs)
    assert most <= len(names) + 4
    assert run.metrics().value(RESTARTS, reason="reload") == len(names)


UNBOUNDED = """
    from invalidator.supervision import fleet
    fleet.AT_ONCE = 1000
"""


def test_without_that_bound_there_would_be_twice_as_many(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    # The control for the test above.
    gates = Gates(tmp_path, UNBOUNDED)
    wanted = gates.topology(redis_server(), *"abcde", stop_timeout="300ms")
    run = daemon(wanted)
    replace_all(run, wanted, gates)

    wait_until(lambda: len(run.pids()) == 10, why=run.logs)


@pytest.mark.parametrize("what", ["stop", "removed", "killed"])
def test_both_processes_end_with_the_worker(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates, what: str
) -> None:
    server = redis_server()
    run = daemon(gates.topology(server, "a", stop_timeout="1s"))
    elder, successor = begin_restart(run, gates)
    began = time.monotonic()
    if what == "stop":
        assert run.stop(5) == 0
    elif what == "killed":
        run.signal(signal.SIGKILL)
        wait_until(lambda: not run.survivors(), 1.0, "a worker has outlived its supervisor")
    else:
        gates.open("start")
        gates.close("start")
        run.write(gates.topology(server, "other", stop_timeout="1s"))
        assert ask(run, Reload()).ok
        wait_until(lambda: not {elder, successor} & set(run.pids()), 5, run.logs)
        gates.open("start")
        run.wait_ready()
    assert time.monotonic() - began < 3


def test_a_second_restart_is_the_same_one_and_a_further_reload_takes_its_place(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    wanted = gates.topology(server, "a")
    run = daemon(wanted)
    elder, successor = begin_restart(run, gates)
    assert ask(run, Restart(workers=("a",))).ok
    assert set(run.pids()) == {elder, successor}
    wanted["workers"][0]["window"] = "1ms"
    run.write(wanted)
    assert ask(run, Reload()).ok
    wait_until(lambda: len(run.pids()) == 2 and successor not in run.pids(), why=run.logs)
    gates.open("start")
    wait_until(lambda: len(run.pids()) == 1 and elder not in run.pids(), why=run.logs)

    metrics = run.metrics()
    assert metrics.value(RESTARTS, reason="reload") == 1
    assert metrics.value(RESTARTS) == 1


def test_a_backend_that_is_new_is_flushed_and_the_others_are_not(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    wanted = gates.topology(redis_server(), "a")
    run = daemon(wanted)
    wanted["backends"]["said"] = {"type": "log"}
    wanted["workers"][0]["backends"] = ["gated", "said"]
    run.write(wanted)
    assert ask(run, Reload(wait=True)).ok
    metrics = run.metrics()

    assert metrics.value(FLUSHES, backend="gated") == 1, "that of the daemon's start"
    assert metrics.value(FLUSHES, backend="said", cause="start") == 1
    assert metrics.value(GAPS) == 1


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


def test_a_pause_outlives_the_handover(redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates) -> None:
    server = redis_server()
    run = daemon(gates.topology(server, "a"))
    assert ask(run, Pause(workers=("a",))).ok
    assert ask(run, Restart(workers=("a",), wait=True)).ok
    publish(server, "users:1")
    run.wait_metric("invalidator_pending", 1, worker="a")

    assert gates.purged() == []
    assert worker(run).paused


def test_what_waits_its_time_is_not_hurried_by_a_handover(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    wanted = gates.topology(server, "a")
    wanted["workers"][0]["backends"] = [{"backend": "gated", "delay": "400ms"}]
    run = daemon(wanted)
    flushed = run.metrics().value(FLUSHES)
    began = time.monotonic()
    publish(server, "users:1")
    run.wait_metric("invalidator_pending", 1)
    assert ask(run, Restart(workers=("a",), wait=True)).ok
    wait_until(lambda: gates.purged() == ["users:1"], why=run.logs)

    assert time.monotonic() - began >= 0.4
    assert run.metrics().value(FLUSHES) == flushed


def test_what_waits_too_long_is_done_early_and_flushed_once_more(
    redis_server: MakeRedis, daemon: MakeDaemon, gates: Gates
) -> None:
    server = redis_server()
    wanted = gates.topology(server, "a", stop_timeout="500ms")
    wanted["workers"][0]["backends"] = [{"backend": "gated", "rebound": "10m"}]
    run = daemon(wanted)
    publish(server, "users:1")
    run.wait_metric("invalidator_targets_total", 1, end="purged")
    assert ask(run, Restart(workers=("a",), wait=True)).ok
    run.wait_metric(FLUSHES, 2, cause="start")

    assert gates.purged() == ["users:1", "users:1"]


NO_MEMORY = """
    import errno
    from invalidator.supervision.fleet import Fleet

    really = Fleet._started

    def started(self, birth, region):
        if (FOLDER / "fork").exists():
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return really(self, birth, region)

    Fleet._started = started
"""


def test_a_successor_that_cannot_be_forked_is_tried_again(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    gates = Gates(tmp_path, NO_MEMORY)
    run = daemon(gates.topology(redis_server(), "a"))
    (elder,) = run.pids()
    gates.close("fork")
    assert ask(run, Restart(workers=("a",))).ok
    wait_until(lambda: "Resource temporarily unavailable" in "".join(status(run).troubles), why=run.logs)
    assert run.pids() == [elder]
    gates.open("fork")
    wait_until(lambda: len(run.pids()) == 1 and elder not in run.pids(), why=run.logs)

    assert run.metrics().value(GAPS) == 1


HURRIED = """
    from invalidator.supervision import recycling
    recycling.EVERY = 0.1
"""


def test_a_worker_is_recycled_after_so_many_messages_and_its_sibling_is_not(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    gates, server = Gates(tmp_path, HURRIED), redis_server()
    wanted = gates.topology(server, "a", "b")
    wanted["workers"][0]["max_messages"] = 50
    run = daemon(wanted)
    for channel in ("cache:a:x", "cache:b:x"):
        publish(server, *(f"users:{number}" for number in range(100)), channel=channel)
    run.wait_metric(RESTARTS, 1, worker="a", reason="recycled")
    wait_until(lambda: len(run.pids()) == 2)

    assert run.metrics().value(RESTARTS) == 1
    assert run.metrics().value(GAPS) == 2


def test_a_worker_is_recycled_once_it_has_grown(redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path) -> None:
    gates = Gates(tmp_path, HURRIED)
    wanted = gates.topology(redis_server(), "a")
    wanted["workers"][0]["max_rss"] = "1MiB"  # less than any process of ours needs
    run = daemon(wanted)
    run.wait_metric(RESTARTS, 1, reason="recycled")
    run.wait_ready()

    assert "bytes resident, max_rss is 1048576" in run.logs()
    assert run.metrics().value(GAPS) == 1

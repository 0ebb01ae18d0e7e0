"""Make before break with successors that do not come up: tried again, and only some at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invalidator.control.protocol import Reload, Restart
from tests.support.control import ask, status
from tests.support.gated import Gates
from tests.support.handovers import GAPS, publish
from tests.support.operating import RESTARTS
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon


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

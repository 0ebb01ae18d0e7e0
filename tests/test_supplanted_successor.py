"""child.py: a successor that a later reload has killed takes nothing over in the moment before it is gone."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock, create_autospec

import pytest

from invalidator.channel import Orders
from invalidator.logs import get_logger
from invalidator.slots import Region
from invalidator.supervision.accounts import Errors
from invalidator.supervision.child import Child
from invalidator.supervision.incarnation import Incarnation
from invalidator.topology.load import load
from invalidator.topology.models import SupervisorSettings

if TYPE_CHECKING:
    from pathlib import Path

    from invalidator.slots import Snapshot
    from invalidator.topology.models import Topology

NOW = 1_000.0
FILE = """
redis: {{url: "redis://127.0.0.1:1/0"}}
supervisor: {{metrics: null, control_socket: {folder}/c.sock, state_dir: {folder}}}
backends: {{said: {{type: log}}}}
workers: [{{name: a, pattern: "cache:a:*", backends: [said], on_gap: ignore, window: {window}ms}}]
"""


def topology(folder: Path, window: int) -> Topology:
    file = folder / "topology.yaml"
    file.write_text(FILE.format(folder=folder, window=window))
    return load(file).topology


def process(of: Topology, pid: int) -> Any:
    """A process that runs, is ready and subscribed, and has not ended."""
    one = create_autospec(Incarnation, instance=True)
    one.spec, one.topology, one.pid, one.code = of.workers[0], of, pid, None
    one.state, one.exitcode, one.began, one.was_ready = "RUNNING", None, NOW, True
    one.heard, one.contact = frozenset(), Mock(orders=Orders())
    one.is_well.return_value = True
    return one


def reloaded_twice(folder: Path, nothing: Snapshot) -> tuple[Child, Any, Any]:
    """A worker whose successor became ready just when a further reload had killed it; then that one has ended."""
    former, wanted, latest = (topology(folder, window) for window in (1, 2, 3))
    child = Child(former.workers[0], former, get_logger(), Errors(), NOW)
    elder, successor = process(former, 1), process(wanted, 2)
    child.begin(elder)
    child.replace(wanted.workers[0], wanted, NOW)
    child.begin(successor)
    child.replace(latest.workers[0], latest, NOW)
    successor.kill.assert_called_once()
    child.look(NOW, latest.supervisor)
    successor.exitcode = -signal.SIGKILL
    successor.bury.return_value = (-signal.SIGKILL, nothing)
    successor.reason.return_value = "signal"
    child.reap(NOW, lambda _: None)
    return child, elder, latest


@pytest.fixture
def nothing() -> Snapshot:
    return Region(["said"]).snapshot()


def test_the_elder_goes_on_and_the_latest_file_is_what_the_next_successor_is_made_from(
    tmp_path: Path, nothing: Snapshot
) -> None:
    child, elder, wanted = reloaded_twice(tmp_path, nothing)

    elder.ask_to_end.assert_not_called()
    assert child.current is elder
    assert child.wants_successor(NOW)
    assert child.birth(None).spec == wanted.workers[0]
    assert not any(child.deaths.restarts.values())


def test_if_it_took_over_nobody_would_be_left_and_the_latest_file_forgotten(
    tmp_path: Path, nothing: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Child, "_is_wanted", lambda _, successor, now: successor.is_well(now))
    child, elder, wanted = reloaded_twice(tmp_path, nothing)

    elder.ask_to_end.assert_called_once()
    assert child.current is None
    assert child.birth(None).spec != wanted.workers[0]


def test_a_worker_that_is_watched_more_closely_from_now_on_is_told_and_not_taken_for_hung_before_it_knows(
    tmp_path: Path,
) -> None:
    former = topology(tmp_path, 1)
    child = Child(former.workers[0], former, get_logger(), Errors(), NOW)
    one = process(former, 1)
    child.begin(one)

    child.watch_by(former.supervisor, NOW)
    one.contact.order.assert_not_called()
    child.watch_by(SupervisorSettings(heartbeat_timeout=0.4), NOW + 1)

    (wanted,) = one.contact.order.call_args.args
    assert wanted.rest == child.orders.rest == 0.1, "its successors know as well"
    assert one.excuse.call_args.args == (NOW + 1,)

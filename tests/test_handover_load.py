"""Reloads and restarts under load: make before break, with every Gap ignored, so that one lost message stays stale."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import yaml

from invalidator.control.protocol import Reload, Restart
from tests.support.control import ask
from tests.support.metrics import unaccounted
from tests.support.shop import HOT, LANES, Opener, Shop, writing

if TYPE_CHECKING:
    from pathlib import Path

RATE = 2_000
RELOADS = 6
RESTARTS = 2
EVERY_THIRD = 3
BETWEEN = RATE // 10
"""Messages from one of them to the next."""


def reload(scene: Shop, number: int) -> None:
    """Reload a topology that says something else of both workers; every third time, one that is wrong."""
    wanted: dict[str, Any] = yaml.safe_load(scene.run.file.read_text())
    if number % EVERY_THIRD == 2:
        scene.run.file.write_text(yaml.safe_dump(wanted | {"wrokers": []}))
        assert ask(scene.run, Reload(wait=True)).exit == 78
        scene.run.file.write_text(yaml.safe_dump(wanted))
        return
    for worker in wanted["workers"]:
        worker["max_payload"] = 4096 + number
    scene.run.file.write_text(yaml.safe_dump(wanted))
    answer = ask(scene.run, Reload(wait=True))
    assert answer.ok, answer


def replace_under_load(scene: Shop, reloads: int, restarts: int) -> None:
    scene.stage.shop.ask("read")
    with writing(scene, RATE):
        for number in range(reloads):
            scene.under_load(BETWEEN)
            reload(scene, number)
        for number in range(restarts):
            scene.under_load(BETWEEN)
            answer = ask(scene.run, Restart(workers=(list(LANES)[number % len(LANES)],), wait=True))
            assert answer.ok, answer
        scene.under_load(BETWEEN)
    scene.come_to_rest()


def test_reloads_and_restarts_under_load_lose_nothing_and_flush_nothing(open_shop: Opener) -> None:
    scene = open_shop(guards=False)
    replace_under_load(scene, RELOADS, RESTARTS)
    metrics = scene.run.metrics()
    found = scene.findings()

    assert {kind: finding.stale for kind, finding in found.items()} == dict.fromkeys(found, 0), scene.run.logs()[-5000:]
    assert all(finding.held > HOT for finding in found.values()), f"there was too little to look at: {found}"
    right = RELOADS - RELOADS // EVERY_THIRD
    assert metrics.value("invalidator_worker_restarts_total", reason="reload") == right * len(LANES)
    assert metrics.value("invalidator_worker_restarts_total", reason="requested") == RESTARTS
    assert metrics.value("invalidator_worker_restarts_total") == right * len(LANES) + RESTARTS
    assert metrics.value("invalidator_gaps_total") == len(LANES), "those of the daemon's own start"
    assert metrics.value("invalidator_flushes_total") == 0
    for worker, lanes in LANES.items():
        for backend in lanes:
            assert unaccounted(metrics, worker, backend) == 0
            assert metrics.value("invalidator_targets_total", worker=worker, backend=backend, end="lost") == 0
            assert metrics.value("invalidator_targets_total", worker=worker, backend=backend, end="dead") == 0


BREAK_BEFORE_MAKE = """
    from invalidator import hookimpl
    from invalidator.supervision.child import Child

    Child._breaks_first = lambda self, current: True

    @hookimpl
    def worker_started(worker):
        pass
"""


def test_break_before_make_would_lose_some(open_shop: Opener, tmp_path: Path) -> None:
    # The control for the test above: the elder ends before its successor begins.
    plugin = tmp_path / "break_before_make.py"
    plugin.write_text(textwrap.dedent(BREAK_BEFORE_MAKE))
    scene = open_shop(guards=False, plugins=[str(plugin), "lru", "redis", "memcached"])
    replace_under_load(scene, RELOADS // 2, RESTARTS // 2)

    assert any(finding.stale for finding in scene.findings().values())

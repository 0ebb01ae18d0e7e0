"""SIGKILLs of workers under load, and an oracle that looks into every cache for what is stale at the end.

A few of them; `make chaos ARGS="--only kills"` does two hundred.
"""

from __future__ import annotations

import random

from tests.support.metrics import unaccounted
from tests.support.shop import HOT, LANES, RATE, Opener, Shop, writing

KILLS = 15
UNGUARDED = 6
"""Kills in the control."""
BETWEEN = (225, 600)
"""Messages from one kill to the next: 150 to 400 ms of them, once the victim's successor is ready."""


def kill_under_load(shop: Shop, kills: int) -> None:
    workers = dict(zip(LANES, shop.run.pids(), strict=True))
    chance = random.Random(kills)
    shop.stage.shop.ask("read")
    with writing(shop):
        for number in range(kills):
            shop.under_load(chance.randint(*BETWEEN))
            shop.kill(workers, list(LANES)[number % len(LANES)])
        shop.under_load(RATE)
    shop.come_to_rest()


def test_kills_under_load_leave_nothing_stale(open_shop: Opener) -> None:
    scene = open_shop(guards=True)
    kill_under_load(scene, KILLS)
    found = scene.findings()

    assert {kind: finding.stale for kind, finding in found.items()} == dict.fromkeys(found, 0)
    assert all(finding.held > HOT for finding in found.values()), f"there was too little to look at: {found}"
    metrics = scene.run.metrics()
    assert metrics.value("invalidator_worker_restarts_total", reason="signal") == KILLS
    assert metrics.value("invalidator_worker_restarts_total") == KILLS
    for worker, lanes in LANES.items():
        for backend in lanes:
            assert abs(unaccounted(metrics, worker, backend)) <= KILLS
            assert metrics.value("invalidator_targets_total", worker=worker, backend=backend, end="lost") == 0


def test_without_the_flush_after_a_kill_the_oracle_finds_what_is_stale(open_shop: Opener) -> None:
    # The control for the test above: fewer kills, and gaps ignored.
    scene = open_shop(guards=False)
    kill_under_load(scene, UNGUARDED)
    found = scene.findings()

    assert all(finding.stale for finding in found.values()), found

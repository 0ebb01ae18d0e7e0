"""`dry_run: true`: nothing is sent, and what would be is said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from invalidator import PurgeResult, Target
from invalidator.lanes.policy import Policy
from invalidator.lanes.rehearsal import LINES_SHOWN, SAID_A_SECOND
from invalidator.logs import Outlet, Sink
from invalidator.slots import clock
from invalidator.testing import RecordingServer, answering
from tests.support.lanes import Inline, Rig, Scripted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from invalidator import Batch
    from tests.conftest import MakeDaemon, MakeMemcached, MakeRedis

DRY = Policy("users", "objects", on_gap=True, flush=(Target("all"),), dry_run=True)


class Heard(Outlet):
    """Keeps what the log says."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.lines: list[dict[str, Any]] = []

    def write(self, line: str) -> bool:
        self.lines.append(json.loads(line))
        return True


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is said from here on, as objects."""
    heard = Heard()
    monkeypatch.setattr("invalidator.logs._sink", Sink(outlet=heard, json=True))
    return heard.lines


def rehearsed(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in log if line["event"] == "purge.rehearsed"]


def test_nothing_is_asked_and_targets_end_as_skipped(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    rig = Rig(Inline(), tmp_path, DRY)
    rig.offer("a", "b", soft=True)
    rig.lane.turn()
    assert rig.backend.batches == []
    counts = rig.counts()
    assert (counts["skipped"], counts["purged"], counts["pending"], counts["last_purge_ns"]) == (2, 0, 0, 0)
    assert rig.adds_up()
    assert [(line["would"], line["more"]) for line in rehearsed(log)] == [(["soft purge key a", "soft purge key b"], 0)]


def test_the_same_lane_without_it_asks(tmp_path: Path) -> None:
    # The control for the test above.
    rig = Rig(Inline(), tmp_path, replace(DRY, dry_run=False))
    rig.offer("a", "b")
    rig.lane.turn()
    assert [batch.keys for batch in rig.backend.batches] == [("a", "b")]


def test_a_flush_is_said_too_and_counts_as_none(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    rig = Rig(Inline(), tmp_path, DRY)
    rig.offer("a")
    rig.lane.flush("start", clock())
    rig.lane.turn()
    assert [(line["would"], line["cause"]) for line in rehearsed(log)] == [(["purge all"], "start")]
    counts = rig.counts()
    assert (counts["flush:start"], counts["flushed"], counts["skipped"]) == (0, 0, 1)
    assert rig.lane.is_settled()


def test_memory_that_is_not_purged_is_not_vouched_for(tmp_path: Path) -> None:
    rig = Rig(Inline(), tmp_path, DRY)
    rig.lane.vouch(12.5)
    assert rig.backend.vouched == []


@pytest.mark.parametrize("char", ["x", "é", '"'])
def test_a_large_batch_is_said_in_short(tmp_path: Path, log: list[dict[str, Any]], char: str) -> None:
    rig = Rig(Inline(), tmp_path, DRY)
    rig.offer(*(f"{n}:" + char * 5_000 for n in range(500)))
    rig.lane.turn()
    (line,) = rehearsed(log)
    assert 0 < len(line["would"]) <= LINES_SHOWN
    assert len(line["would"]) + line["more"] == 500
    assert "clipped" not in line


def test_a_stream_of_batches_is_said_as_far_as_it_can_be_read_and_the_rest_is_counted(
    tmp_path: Path, log: list[dict[str, Any]]
) -> None:
    rig = Rig(Inline(), tmp_path, DRY)
    for number in range(500):
        rig.offer(f"key:{number}")
        rig.lane.turn()
    assert SAID_A_SECOND <= len(rehearsed(log)) <= 5 * SAID_A_SECOND
    assert rig.ended("skipped") == 500
    assert rig.lane._guarded._held_back > 0  # type: ignore[attr-defined]


def test_a_preview_that_raises_harms_nobody(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    class Rude(Inline):
        def preview(self, batch: Batch) -> Iterable[str]:
            raise SystemExit(3)

    rig = Rig(Rude(), tmp_path, DRY)
    rig.offer("a")
    rig.lane.turn()
    assert rig.ended("skipped") == 1
    assert [line["hook"] for line in log if line["event"] == "plugin.raised"] == ["preview"]


def test_what_a_dry_run_would_ask_is_told_to_no_plugin_either(tmp_path: Path) -> None:
    rig = Rig(Scripted(lambda _: PurgeResult()), tmp_path, DRY).start()
    rig.offer("a")
    rig.wait("skipped", 1)
    assert rig.stop() == 0
    assert rig.backend.batches == []


@pytest.mark.parametrize("place", ["backend", "lane"])
def test_a_daemon_sends_nothing_to_a_backend_that_is_a_dry_run(
    redis_server: MakeRedis, memcached_server: MakeMemcached, daemon: MakeDaemon, place: str
) -> None:
    source, objects = redis_server(), memcached_server()
    objects.set("users:42", "old")
    with RecordingServer(answering(b"\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as edge:
        dry: dict[str, Any] = {"dry_run": True}
        on_backend, on_lane = (dry, {}) if place == "backend" else ({}, dry)
        secret = {"headers": {"X-Token": "s3cr3t"}, "host": "shop.example"}
        backends = {
            "objects": {"type": "memcached", "servers": [objects.address], **on_backend},
            "edge": {"type": "http", "targets": [f"http://{edge.address}"], **secret, **on_backend},
        }
        lanes = [{"backend": name, **on_lane} for name in backends]
        worker = {"name": "users", "pattern": "cache:users:*", "backends": lanes, "on_gap": "ignore"}
        run = daemon({"redis": {"url": source.url}, "backends": backends, "workers": [worker]})
        with redis.Redis.from_url(source.url) as client:
            client.publish("cache:users:x", "users:42")
        for name in backends:
            run.wait_metric("invalidator_targets_total", 1, backend=name, end="skipped")
        assert edge.received == ()
    assert objects.get("users:42") == "old"
    said = run.logs()
    assert f"PURGE http://{edge.address}/users:42, Host: shop.example" in said
    assert f"delete users:42 on {objects.address}" in said
    assert "s3cr3t" not in said

"""What a worker shares of its supervisor's memory: what is known before the fork is not made again after it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from invalidator.pipeline.assembly import foresee
from invalidator.topology.models import RedisSettings
from invalidator.wire import route
from tests.support.topologies import SOUND, loaded

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FORKS = """
import os
import resource
from invalidator.supervision.sharing import forget_lookups, settle

def found(names):
    made = type("Made", (), dict.fromkeys(names))
    return lambda: [getattr(made, name) for name in names]

def pages(look_up):
    reading, writing = os.pipe()
    if os.fork() == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        look_up()
        os.write(writing, b"%d" % (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))
        os._exit(0)
    os.wait()
    return int(os.read(reading, 20))

ours, between = [], []
for number in range(2000):
    ours.append(f"ours_{number}")
    between += [f"between_{number}_{place}" for place in range(40)]  # each of our names is on a page of its own
look_ours_up, look_theirs_up = found(ours), found([f"theirs_{number}" for number in range(2000)])
settle()
look_ours_up()
remembered = pages(look_theirs_up)
look_ours_up()
forget_lookups()
print(remembered, pages(look_theirs_up))
"""


def test_a_worker_copies_no_page_for_what_its_supervisor_has_looked_up() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], check=True, capture_output=True, text=True)
    remembered, forgotten = map(int, done.stdout.split())
    assert forgotten < remembered / 2, (remembered, forgotten)


def test_the_url_is_read_before_the_fork_and_not_by_each_worker_at_each_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def parse(url: str) -> dict[str, int]:
        read.append(url)
        return {"port": 1234}

    monkeypatch.setattr(route, "parse_url", parse)
    topology = loaded(tmp_path, SOUND.replace(":6379", ":6378")).topology
    foresee(topology, topology.workers[0])
    assert len(read) == 1

    there = route.route_to(topology.redis_of(topology.workers[0]))
    assert there.open().port == there.open(client_name="again").port == 1234
    assert len(read) == 1, "a worker finds it read"
    route.route_to(RedisSettings.model_validate({"url": "redis://127.0.0.1:6377/0"})).open()
    assert len(read) == 2, "the control: another URL is read when it is first needed"
    route._read.cache_clear()

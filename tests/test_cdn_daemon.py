"""A daemon whose worker processes purge one account of a CDN: together within its limits, and no word of its token."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.vendors import CONTRACT, at_its_limit
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from invalidator.testing.cloudflare import FakeCloudflare
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.stores import RedisServer

WORKERS = ("users", "orders")
COUNT = 20_000


@pytest.fixture
def fake() -> Iterator[FakeCloudflare]:
    with at_its_limit() as fake:
        yield fake


def topology(source: RedisServer, fake: FakeCloudflare, token_file: Path) -> dict[str, Any]:
    token_file.write_text(f"{fake.token}\n")
    cdn = {
        "type": "cloudflare",
        "api": fake.url,
        "zone": fake.zone,
        "token_file": str(token_file),
        "plan": CONTRACT,
        "url": "https://shop.example/{key}",
    }
    workers = [
        {"name": name, "pattern": f"cache:{name}:*", "backends": ["cdn"], "on_gap": "ignore"} for name in WORKERS
    ]
    return {"redis": {"url": source.url}, "backends": {"cdn": cdn}, "workers": workers}


def test_two_processes_share_the_limit_and_none_of_20_000_is_refused(
    redis_server: MakeRedis, daemon: MakeDaemon, fake: FakeCloudflare, tmp_path: Path
) -> None:
    source = redis_server()
    run = daemon(topology(source, fake, tmp_path / "token"))
    with redis.Redis(host="127.0.0.1", port=source.port) as client:
        for start in range(0, COUNT, 1000):
            pipe = client.pipeline(transaction=False)
            for n in range(start, start + 1000):
                pipe.publish(f"cache:{WORKERS[n % 2]}:x", f"{WORKERS[n % 2]}:{n}")
            pipe.execute()
    run.wait_metric("invalidator_targets_total", COUNT, 60, end="purged")
    assert fake.refused == ()
    assert len(fake.purges) <= 1.1 * COUNT / 100
    assert sum(call.count for call in fake.purges) == COUNT
    assert fake.token not in run.logs()


def test_a_worker_that_stops_sends_what_it_has_gathered(
    redis_server: MakeRedis, daemon: MakeDaemon, fake: FakeCloudflare, tmp_path: Path
) -> None:
    source = redis_server()
    run = daemon(topology(source, fake, tmp_path / "token"))
    with redis.Redis(host="127.0.0.1", port=source.port) as client:
        client.publish("cache:users:x", "users:42")
    run.stop()
    assert [call.json for call in fake.purges] == [{"files": ["https://shop.example/users:42"]}]


def test_check_tries_the_api_and_shows_no_token(
    redis_server: MakeRedis, daemon: MakeDaemon, fake: FakeCloudflare, tmp_path: Path
) -> None:
    source = redis_server()
    run = daemon(topology(source, fake, tmp_path / "token"))
    run.wait_ready()

    def check() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "invalidator", "check", "-c", str(run.file), "--connect", "--print"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    good = check()
    assert good.returncode == 0, good.stderr
    assert "backend cdn: ok" in good.stderr
    (tmp_path / "token").write_text("another-token")
    bad = check()
    assert bad.returncode == 69
    assert "backend cdn: auth: the token is not valid" in bad.stderr
    assert not [text for text in (good.stdout, good.stderr, bad.stderr) if fake.token in text or "another" in text]
    assert fake.purges == ()
    wait_until(lambda: run.status("/readyz") == 200)

"""Dispatch through pluggy, seen from outside: what a plugin does, well or badly, in a real daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeMemcached, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer

ENDED = "invalidator_targets_total"
FAILED = "invalidator_purge_attempts_failed_total"
REJECTED = "invalidator_messages_rejected_total"
RECEIVED = "invalidator_messages_received_total"
RESTARTS = "invalidator_worker_restarts_total"


@pytest.fixture
def publish(source: RedisServer) -> Iterator[Callable[[bytes | str], None]]:
    """Publishes one payload; exactly one worker hears it."""
    with redis.Redis.from_url(source.url) as client:

        def one(payload: bytes | str) -> None:
            assert client.publish("cache:users:x", payload) == 1

        yield one


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[[str], str]:
    """Writes a plugin of one file; what `plugins:` takes."""

    def write(code: str, name: str = "mine.py") -> str:
        path = tmp_path / name
        path.write_text(textwrap.dedent(code))
        return str(path)

    return write


def topology(source: RedisServer, *plugins: str, **backends: dict[str, Any]) -> dict[str, Any]:
    return {
        "redis": {"url": source.url},
        "backends": {"said": {"type": "log"}, **backends},
        "workers": [
            {
                "name": "users",
                "pattern": "cache:users:*",
                "backends": ["said", *backends],
                "on_gap": "ignore",
            }
        ],
        "plugins": list(plugins),
    }


# A backend that does what no backend may.

FAULTY = """
    import sys
    import threading

    from invalidator import Backend, BackendOptions, Failure, PurgeResult, hookimpl

    class Options(BackendOptions):
        fault: str

    class Faulty(Backend):
        def __init__(self, fault):
            self.fault = fault

        def purge(self, batch):
            match self.fault:
                case "raises":
                    raise RuntimeError("no")
                case "exits":
                    sys.exit(3)
                case "gives nothing":
                    return None
                case "gives garbage":
                    return PurgeResult((Failure("users:1", "tired"),))
                case "is slow":
                    threading.Event().wait(1)
                    return PurgeResult()

    class FaultyInline(Faulty):
        inline = True

        def subscribed(self, until):
            raise RuntimeError("I do not want to know")

        def close(self):
            sys.exit(4)

    @hookimpl
    def backend_types():
        return {"faulty": Options, "faulty_inline": Options}

    @hookimpl
    def make_backend(type, options):
        kinds = {"faulty": Faulty, "faulty_inline": FaultyInline}
        return kinds[type](options.fault) if type in kinds else None
"""


@pytest.mark.parametrize("kind", ["faulty", "faulty_inline"])
@pytest.mark.parametrize("fault", ["raises", "exits", "gives nothing", "gives garbage"])
def test_a_backend_that_fails_in_any_way_is_the_only_one_to_suffer(
    source: RedisServer,
    publish: Callable[[str], None],
    plugin: Callable[[str], str],
    daemon: MakeDaemon,
    kind: str,
    fault: str,
) -> None:
    run = daemon(topology(source, plugin(FAULTY), bad={"type": kind, "fault": fault}))
    before = run.pids()
    for number in range(10):
        publish(f"users:{number}")
    run.wait_metric(ENDED, 10, backend="said", end="purged")
    run.wait_metric(FAILED, 2, backend="bad", reason="error")

    metrics = run.metrics()
    assert metrics.value("invalidator_pending", backend="bad") == 10, "each is tried again, and none is forgotten"
    assert metrics.value("invalidator_targets_received_total", backend="bad") == 10
    assert metrics.value(RESTARTS, worker="users") == 0
    assert run.pids() == before
    assert run.stop() == 0


def test_a_slow_backend_costs_the_others_nothing(
    source: RedisServer, publish: Callable[[str], None], plugin: Callable[[str], str], daemon: MakeDaemon
) -> None:
    run = daemon(topology(source, plugin(FAULTY), slow={"type": "faulty", "fault": "is slow"}))
    publish("users:0")
    run.wait_metric("invalidator_pending", 1, backend="slow")
    for number in range(1, 50):
        publish(f"users:{number}")
    run.wait_metric(ENDED, 50, backend="said", end="purged")
    assert run.metrics().value("invalidator_pending", backend="slow") > 0, "the slow one is still at it"
    run.wait_metric(ENDED, 50, backend="slow", end="purged")
    assert run.metrics().value("invalidator_pending", backend="slow") == 0


# A plugin around every purge.

AROUND = """
    import os

    from invalidator import BackendError, PurgeResult, hookimpl

    @hookimpl(wrapper=True)
    def purge(batch):
        if batch.keys == ("users:protected",):
            raise BackendError("unsafe", "not this one", retry=False)
        result = yield
        with open(os.environ["TRACE"], "a") as trace:
            print(batch.worker, batch.backend, *batch.keys, len(result.failures), file=trace)
        return result
"""


@pytest.fixture
def replica(redis_server: MakeRedis) -> Iterator[redis.Redis]:
    """A secondary Redis that holds two users."""
    server = redis_server()
    with redis.Redis.from_url(server.url) as client:
        client.mset({"users:42": "old", "users:protected": "old"})
        yield client


def objects(replica: redis.Redis) -> dict[str, Any]:
    return {"type": "redis", "url": f"redis://127.0.0.1:{replica.connection_pool.connection_kwargs['port']}/0"}


def test_a_wrapper_sees_every_purge_of_every_backend_and_may_stop_one(
    source: RedisServer,
    publish: Callable[[str], None],
    replica: redis.Redis,
    plugin: Callable[[str], str],
    daemon: MakeDaemon,
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace"
    wanted = topology(source, plugin(AROUND), "redis", objects=objects(replica))
    run = daemon(wanted, environment={"TRACE": str(trace)})
    publish("users:42")
    for backend in ("said", "objects"):
        run.wait_metric(ENDED, 1, backend=backend, end="purged")
    publish("users:protected")
    for backend in ("said", "objects"):
        run.wait_metric(ENDED, 1, backend=backend, end="dead")

    assert sorted(trace.read_text().splitlines()) == ["users objects users:42 0", "users said users:42 0"]
    assert replica.keys() == [b"users:protected"]


DRY_RUN = """
    from invalidator import PurgeResult, hookimpl

    @hookimpl(tryfirst=True)
    def purge(batch):
        return PurgeResult() if batch.backend == "objects" else None
"""


def test_a_plugin_may_answer_in_a_backends_place(
    source: RedisServer,
    publish: Callable[[str], None],
    replica: redis.Redis,
    plugin: Callable[[str], str],
    daemon: MakeDaemon,
) -> None:
    run = daemon(topology(source, plugin(DRY_RUN), "redis", objects=objects(replica)))
    publish("users:42")
    for backend in ("said", "objects"):
        run.wait_metric(ENDED, 1, backend=backend, end="purged")
    assert replica.exists("users:42"), "it was purged, dry-run or not"
    assert "users:42" in run.logs(), "the other backend was asked all the same"


# Payloads in another format.

FORMAT = """
    import sys

    from invalidator import Invalidation, Target, hookimpl

    @hookimpl
    def decode(payload, channel):
        word, _, rest = payload.decode("latin-1").partition(" ")
        match word:
            case "FORGET":
                return Invalidation(tuple(Target("key", key) for key in rest.split(",")))
            case "RAISE":
                raise ValueError(rest)
            case "EXIT":
                sys.exit(3)
            case "GARBAGE":
                return [rest]
            case "EVERYTHING":
                return Invalidation((Target("all"),))
"""


def test_a_plugin_may_bring_a_format_of_its_own_and_do_no_harm_with_it(
    source: RedisServer, publish: Callable[[str], None], plugin: Callable[[str], str], daemon: MakeDaemon
) -> None:
    run = daemon(topology(source, plugin(FORMAT)))
    before = run.pids()
    publish("FORGET users:1,users:2")
    run.wait_metric(ENDED, 2, backend="said", end="purged")
    for payload in ("RAISE a bare \xe9", "EXIT now", "GARBAGE users:1"):
        publish(payload)
    run.wait_metric(REJECTED, 3, worker="users", reason="plugin")
    publish("EVERYTHING please")
    run.wait_metric(REJECTED, 1, worker="users", reason="not_allowed")
    publish("users:3")
    run.wait_metric(ENDED, 3, backend="said", end="purged")

    assert run.metrics().value(RECEIVED, worker="users") == 6
    assert run.pids() == before


@pytest.mark.parametrize("ts", ["0", "-1e308", "1e308", "-1e15"])
def test_a_message_from_another_time_harms_nobody(
    source: RedisServer, publish: Callable[[str], None], daemon: MakeDaemon, ts: str
) -> None:
    run = daemon(topology(source))
    before = run.pids()
    for number in range(20):
        publish(f'{{"keys": ["users:{number}"], "ts": {ts}}}')
    run.wait_metric(ENDED, 20, backend="said", end="purged")
    assert run.pids() == before
    assert run.metrics().value(RESTARTS, worker="users") == 0


# Plugins that watch.

RUDE = """
    import sys

    from invalidator import hookimpl

    @hookimpl
    def on_gap(worker, gap):
        sys.exit(f"a gap: {gap.cause}")

    @hookimpl
    def worker_started(worker):
        raise RuntimeError(f"{worker} has started")

    @hookimpl
    def worker_stopped(worker):
        sys.exit(f"{worker} has stopped")
"""


def test_a_plugin_that_fails_while_it_watches_ends_neither_worker_nor_supervisor(
    source: RedisServer, publish: Callable[[str], None], plugin: Callable[[str], str], daemon: MakeDaemon
) -> None:
    run = daemon(topology(source, plugin(RUDE)))
    (worker,) = run.pids()
    assert run.metrics().value(RESTARTS, worker="users") == 0
    os.kill(worker, signal.SIGKILL)
    run.wait_metric(RESTARTS, 1, worker="users", reason="signal")
    run.wait_ready()
    publish("users:1")
    run.wait_metric(ENDED, 1, backend="said", end="purged")
    for said in ("a gap: start", "users has started", "users has stopped"):
        assert said in run.logs()


# Plugins that cannot be loaded.

MISSPELT = """
    from invalidator import hookimpl

    @hookimpl
    def purg(batch):
        pass
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (MISSPELT, "the plugin has an unknown hook 'purg' — did you mean 'purge'?"),
        ("raise RuntimeError('no licence')", "the plugin is broken: RuntimeError: no licence"),
        ("import sys; sys.exit(0)", "the plugin is broken: SystemExit: 0"),
        (
            """
            import sys
            from invalidator import hookimpl

            @hookimpl
            def backend_types():
                sys.exit("not today")
            """,
            "the plugin is broken: SystemExit: not today",
        ),
    ],
)
def test_a_broken_plugin_that_the_topology_names_ends_the_start_with_its_name(
    source: RedisServer, plugin: Callable[[str], str], daemon: MakeDaemon, code: str, said: str
) -> None:
    path = plugin(code)
    run = daemon(topology(source, path), ready=False)
    assert run.wait() == 78
    assert f"{path}: {said}" in run.logs().replace(f"'{path}'", path)


@pytest.fixture
def installed_broken(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine on which a plugin `broken` is installed; it leaves a mark when it is imported."""
    site = tmp_path / "site"
    info = site / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "broken.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\nraise RuntimeError('no licence')\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[invalidator]\nbroken = broken\n")
    return {"PYTHONPATH": str(site)}


def test_a_broken_plugin_that_is_installed_and_not_named_is_not_even_imported(
    source: RedisServer, daemon: MakeDaemon, installed_broken: dict[str, str], tmp_path: Path
) -> None:
    run = daemon(topology(source), environment=installed_broken)
    assert not (tmp_path / "imported").exists()
    assert run.stop() == 0
    listed = subprocess.run(
        [sys.executable, "-m", "invalidator", "plugins"],
        env={**os.environ, **installed_broken},
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0
    assert "no licence" in listed.stdout + listed.stderr, "whoever asks is told"


def test_a_broken_plugin_that_a_type_names_ends_the_start_with_its_name(
    source: RedisServer, daemon: MakeDaemon, installed_broken: dict[str, str]
) -> None:
    run = daemon(topology(source, bad={"type": "broken"}), ready=False, environment=installed_broken)
    assert run.wait() == 78
    assert "the plugin is broken: RuntimeError: no licence" in run.logs()
    assert "broken" in run.logs().split("the plugin is broken")[0]


# Kinds that a backend lacks.


def test_a_kind_that_a_backend_lacks_is_skipped_or_widened_as_its_operator_says(
    source: RedisServer, publish: Callable[[str], None], memcached_server: MakeMemcached, daemon: MakeDaemon
) -> None:
    skipping, widening = memcached_server(), memcached_server()
    for node in (skipping, widening):
        node.set("users:42", "old")
    stores = {
        "skips": {"type": "memcached", "servers": [skipping.address]},
        "widens": {"type": "memcached", "servers": [widening.address]},
    }
    wanted = topology(source, **stores)
    lane = {"backend": "widens", "unsupported": "flush", "flush": {"all": True}}
    wanted["workers"][0]["backends"] = ["said", "skips", lane]
    run: Daemon = daemon(wanted)
    publish('{"tags": ["blue"]}')
    wait_until(lambda: widening.get("users:42") is None, 5, run.logs)
    run.wait_metric("invalidator_flushes_total", 1, backend="widens", cause="unsupported")
    run.wait_metric(ENDED, 1, backend="widens", end="flushed")
    run.wait_metric(ENDED, 1, backend="skips", end="skipped")
    assert skipping.get("users:42") == "old"

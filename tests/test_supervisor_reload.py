"""supervision/ from outside: a SIGHUP replaces what has changed, keeps the rest, and may be refused."""

from __future__ import annotations

import signal
import textwrap
from typing import TYPE_CHECKING

import redis

from tests.support.hanging import hanging
from tests.support.operating import RESTARTS
from tests.support.stores import publish
from tests.support.topologies import logging as topology
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon


def test_a_reload_replaces_what_has_changed_and_keeps_what_has_not(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server, "kept", "changed", "removed"))
    kept, changed, removed = run.pids()
    wanted = topology(server, "kept", "changed", "added")
    wanted["workers"][1]["window"] = "5ms"
    run.write(wanted)
    run.signal(signal.SIGHUP)
    run.wait_metric("invalidator_subscribed", 1, worker="added")
    run.wait_metric(RESTARTS, 1, worker="changed", reason="reload")
    run.wait_ready()
    wait_until(lambda: len(run.pids()) == 3)

    assert kept in run.pids()
    assert not {changed, removed} & set(run.pids())
    assert run.metrics().value("invalidator_config_last_reload_successful") == 1
    assert not run.metrics().has("invalidator_worker_up", worker="removed")


def test_an_invalid_file_changes_nothing_and_is_reported(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server, "a", "b"))
    before = run.pids()
    good = run.file.read_text()
    run.file.write_text("workers: [")
    run.signal(signal.SIGHUP)
    wait_until(lambda: run.metrics().value("invalidator_config_last_reload_successful") == 0)

    assert run.pids() == before
    assert "reload.failed" in run.logs()
    assert run.status("/readyz") == 200
    run.file.write_text(good)
    run.signal(signal.SIGHUP)
    wait_until(lambda: run.metrics().value("invalidator_config_last_reload_successful") == 1)
    assert run.pids() == before


def test_a_worker_that_is_removed_during_its_replacement_is_gone(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    server = redis_server()
    wanted = hanging(server, tmp_path, stop_timeout="1s")
    wanted["workers"] += topology(server, "other")["workers"]
    run = daemon(wanted)
    publish(server, "cache:a:x", "users:1")
    run.wait_metric("invalidator_pending", 1, backend="stuck")
    first = run.pids()
    wanted["workers"][0]["window"] = "1ms"
    run.write(wanted)
    run.signal(signal.SIGHUP)
    wait_until(lambda: run.logs().count("reload.done") == 1, why=run.logs)
    del wanted["workers"][0]
    run.write(wanted)
    run.signal(signal.SIGHUP)
    wait_until(lambda: len(run.pids()) == 1, 5, run.logs)

    assert run.pids() == first[1:]
    run.wait_ready()
    with redis.Redis.from_url(server.url) as client:
        assert client.pubsub_numpat() == 1


def assert_replaced_once_it_has_changed(run: Daemon, plugin: Path) -> None:
    """A reload keeps the worker `a`, and replaces it after this file of a plugin is another one."""
    before = run.pids()
    run.signal(signal.SIGHUP)
    wait_until(lambda: run.logs().count("reload.done") == 1, why=run.logs)
    run.wait_ready()

    assert run.pids() == before, "nothing has changed"
    plugin.write_text(plugin.read_text() + "# changed\n")
    run.signal(signal.SIGHUP)
    run.wait_metric(RESTARTS, 1, worker="a", reason="reload")


def test_a_reload_keeps_the_worker_of_a_plugin_file_that_has_not_changed(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    run = daemon(hanging(redis_server(), tmp_path))
    assert_replaced_once_it_has_changed(run, tmp_path / "hanging.py")


HOOKS_ONLY = """
    from invalidator import hookimpl

    @hookimpl
    def topology_applied(topology):
        pass
"""


def test_a_reload_replaces_the_workers_of_a_plugin_file_that_has_only_hooks_if_it_has_changed(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    plugin = tmp_path / "hooks.py"
    plugin.write_text(textwrap.dedent(HOOKS_ONLY))
    run = daemon({**topology(redis_server(), "a"), "plugins": [str(plugin), "log"]})
    assert_replaced_once_it_has_changed(run, plugin)


SLOW_TO_APPLY = """
    import threading
    from invalidator import hookimpl

    @hookimpl
    def topology_applied(topology):
        if topology.workers[0].name == "late":
            threading.Event().wait(1)
"""


def test_what_a_reload_takes_to_read_is_not_taken_from_what_a_worker_has_to_stop_in(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    plugin = tmp_path / "slow.py"
    plugin.write_text(textwrap.dedent(SLOW_TO_APPLY))
    server = redis_server()
    wanted = {**topology(server, "a", stop_timeout="900ms"), "plugins": [str(plugin), "log"]}
    wanted["workers"][0]["window"] = "1h"
    run = daemon(wanted)
    publish(server, "cache:a:x", "users:last")
    run.wait_metric("invalidator_pending", 1, worker="a")
    run.write({**topology(server, "late", stop_timeout="900ms"), "plugins": [str(plugin), "log"]})
    run.signal(signal.SIGHUP)
    wait_until(lambda: "worker.stopped" in run.logs(), why=run.logs)

    assert "users:last" in run.logs()
    assert "worker.killed" not in run.logs()


REFUSING = """
    from invalidator import hookimpl

    @hookimpl
    def topology_applied(topology):
        if len(topology.workers) > 1:
            raise RuntimeError("one is enough")
"""


def test_a_reload_that_a_plugin_refuses_leaves_the_endpoint_where_it_is(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> None:
    plugin = tmp_path / "refusing.py"
    plugin.write_text(textwrap.dedent(REFUSING))
    server = redis_server()
    run = daemon({**topology(server, "a"), "plugins": [str(plugin), "log"]})
    elsewhere = f"127.0.0.1:{free_port()}"
    run.write({**topology(server, "a", "b", metrics=elsewhere), "plugins": [str(plugin), "log"]})
    run.signal(signal.SIGHUP)
    wait_until(lambda: "one is enough" in run.logs(), why=run.logs)

    assert run.status("/readyz") == 200
    assert run.metrics().value("invalidator_config_last_reload_successful") == 0

"""assembly.py: a lane's batches are sent by the loop only where nobody stands around `purge` who would miss them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pluggy
import pytest
import redis

from invalidator import Backend, PurgeResult, hookimpl, hookspecs
from invalidator.lanes.policy import Policy
from invalidator.pipeline.assembly import Purger, is_direct, purge_caller
from tests.support.lanes import Scripted
from tests.support.sending import Sending

if TYPE_CHECKING:
    from pathlib import Path

    from invalidator import Batch
    from tests.conftest import MakeDaemon, MakeMemcached
    from tests.support.stores import RedisServer

POLICY = Policy("users", "objects", on_gap=False)


class Wrapper:
    @hookimpl(wrapper=True)
    def purge(self, batch: Batch) -> Any:
        del batch
        return (yield)


class Deputy:
    @hookimpl(tryfirst=True)
    def purge(self, batch: Batch) -> PurgeResult:
        del batch
        return PurgeResult()


class Told(Sending):
    """A subclass that wants to see what is purged."""

    def purge(self, batch: Batch) -> PurgeResult:
        return super().purge(batch)


class ToldOfBoth(Told):
    def send(self, batch: Batch) -> Any:
        return super().send(batch)


class Named(Sending):
    node = "a"


class Inline(Sending):
    inline = True


def directly(backend: Backend, *around: object, policy: Policy = POLICY) -> bool:
    plugins = pluggy.PluginManager(hookspecs.PROJECT)
    plugins.add_hookspecs(hookspecs)
    purgers = [Purger(backend), Purger(Scripted())]
    for plugin in (*purgers, *around):
        plugins.register(plugin)
    return is_direct(backend, purge_caller(plugins, purgers[0], purgers), policy)


@pytest.mark.parametrize("kind", [Sending, Named, ToldOfBoth])
def test_a_backend_with_a_send_and_nobody_around_it_sends_directly(kind: type[Sending]) -> None:
    assert directly(kind())


@pytest.mark.parametrize("kind", [Scripted, Told, Inline])
def test_a_backend_without_a_send_or_with_a_newer_purge_or_that_never_blocks_does_not(kind: type[Scripted]) -> None:
    assert not directly(kind())


@pytest.mark.parametrize("around", [Wrapper, Deputy])
def test_where_a_plugin_stands_around_a_purge_or_in_its_place_nothing_is_sent_past_it(around: type) -> None:
    assert not directly(Sending(), around())


def test_a_dry_run_sends_nothing() -> None:
    assert not directly(Sending(), policy=Policy("users", "objects", on_gap=False, dry_run=True))


PLUGIN = """
    import pathlib
    from invalidator import PurgeResult, hookimpl
    {more}

    def note(batch):
        with (pathlib.Path(__file__).parent / "seen").open("a") as file:
            file.write("".join(f"{{key}}\\n" for key in batch.keys))
"""
AROUND = """
    @hookimpl(wrapper=True)
    def purge(batch):
        note(batch)
        return (yield)
"""
INSTEAD = """
    @hookimpl(tryfirst=True)
    def purge(batch):
        note(batch)
        return PurgeResult()
"""
WITHOUT = """
    from invalidator.pipeline import assembly
    assembly.is_direct = lambda *_: True
"""
KEYS = [f"users:{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("purge", "more", "sees_all"),
    [(AROUND, "", True), (INSTEAD, "", True), (AROUND, WITHOUT, False)],
    ids=["around", "instead", "without the rule"],
)
def test_a_plugin_around_purge_sees_every_key_and_without_the_rule_it_does_not(
    purge: str,
    more: str,
    sees_all: bool,
    source: RedisServer,
    memcached_server: MakeMemcached,
    daemon: MakeDaemon,
    tmp_path: Path,
) -> None:
    code = textwrap.dedent(PLUGIN).format(more=textwrap.dedent(more)) + textwrap.dedent(purge)
    (tmp_path / "mine.py").write_text(code)
    run = daemon(
        {
            "redis": {"url": source.url},
            "backends": {"objects": {"type": "memcached", "servers": [memcached_server().address]}},
            "workers": [{"name": "users", "pattern": "cache:users:*", "backends": ["objects"], "on_gap": "ignore"}],
            "plugins": ["memcached", str(tmp_path / "mine.py")],
        }
    )
    with redis.Redis.from_url(source.url) as client:
        for number, key in enumerate(KEYS, 1):
            assert client.publish("cache:users:x", key) == 1
            run.wait_metric("invalidator_targets_total", number, end="purged")
    seen = (tmp_path / "seen").read_text().split()
    assert (seen == KEYS) == sees_all, seen

"""Distinct URLs to one HTTP cache: the daemon, from the socket; against aiohttp, which has them in its hands."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import optional
from benchmarks.contenders import PEERS, Contender, Ours, python
from benchmarks.runs.purge import publish_distinct
from benchmarks.runs.run import Found, Run
from tests.support.caches import Nginx, Varnish

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from benchmarks.contenders import Scene
    from benchmarks.runs.run import Task
    from tests.support.caches import HttpCache

CONNECTIONS = (8, 32)
_ORIGIN = "127.0.0.1:1"
"""Nobody is there: what is purged was never asked for, which costs a cache a little less, and everybody the same."""


def _cache(stack: ExitStack, make: Callable[[Path, str], HttpCache], folder: Path) -> HttpCache:
    cache = make(folder, _ORIGIN)
    stack.callback(cache.kill)
    cache.start()
    return cache


def _ours(task: Task, make: Callable[[Path, str], HttpCache], options: Mapping[str, Any], count: int) -> float:
    with ExitStack() as stack:
        scene = task.scene(stack)
        cache = _cache(stack, make, scene.folder)

        def begin(scene: Scene) -> Ours:
            return Ours(scene, {"edge": {"type": "http", "targets": [cache.url], **options}})

        return publish_distinct(scene, Contender("", begin), count).whole


def _aiohttp(
    task: Task, make: Callable[[Path, str], HttpCache], options: Mapping[str, Any], count: int, connections: int
) -> float:
    with ExitStack() as stack:
        cache = _cache(stack, make, task.scene(stack).folder)
        before = cache.url + options["path"].replace("{key}", "")
        words = [before, options["method"], str(count), str(connections)]
        command = [*python("aio_purge", str(optional.PYTHON)), *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PEERS.parents[1])
        return count / float(done.stdout)


def _run(make: Callable[[Path, str], HttpCache], options: Mapping[str, Any]) -> Callable[[Task], Found]:
    def do(task: Task) -> Found:
        rounds, count = task.rounds(5), task.sized(100_000, 500)
        parts = {"ours": partial(_ours, task, make, options, count)}
        if not optional.no_aiohttp():
            few = task.sized(20_000, 500)
            parts |= {f"aiohttp {n}": partial(_aiohttp, task, make, options, few, n) for n in CONNECTIONS}
        samples = task.in_turn(rounds, parts)
        if best := [samples[name] for name in samples if name.startswith("aiohttp")]:
            samples["aiohttp"] = [max(each) for each in zip(*best, strict=True)]
        return Found(rounds, {"unit": "URLs/s", "samples": samples})

    return do


def _missing(make: Callable[[Path, str], HttpCache]) -> Callable[[], str]:
    def why() -> str:
        try:
            make(optional.BUILD, _ORIGIN)
        except pytest.skip.Exception as reason:
            return str(reason)
        return ""

    return why


RUNS = (
    Run(
        "purge.varnish",
        "distinct URLs, purged in Varnish",
        _run(Varnish, {"path": "/{key}", "method": "PURGE"}),
        _missing(Varnish),
    ),
    Run(
        "purge.nginx",
        "distinct URLs, purged in nginx",
        _run(Nginx, {"path": "/purge/{key}", "method": "GET"}),
        _missing(Nginx),
    ),
)

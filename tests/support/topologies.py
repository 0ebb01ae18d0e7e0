"""Topologies as texts in a folder, with backend types of their own beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invalidator.errors import ConfigError
from invalidator.topology.load import Loaded, load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.stores import RedisServer

PLUGIN = '''\
"""Two types: `store` can purge keys and everything, `table` everything that there is, and knows what a flush is."""

from pydantic import Field

from invalidator import Backend, BackendError, BackendOptions, PurgeResult, hookimpl


class StoreOptions(BackendOptions):
    server: str = Field(min_length=1, description="where it is")
    size: int = Field(default=1, ge=1, le=9)

    def kinds(self):
        return frozenset({"key", "all"})

    def problems(self, topology):
        if self.server in [str(topology.redis_of(worker).url) for worker in topology.workers]:
            yield "server: carries the messages"


class TableOptions(BackendOptions):
    def kinds(self):
        return frozenset({"key", "tag", "prefix", "pattern", "url", "all"})

    def default_flush(self):
        return {"all": True}


class Store(Backend):
    def __init__(self, server):
        self.node = server

    def purge(self, batch):
        return PurgeResult()

    def connect(self):
        if self.node == "away":
            raise BackendError("unreachable", "nobody is there")


@hookimpl
def backend_types():
    return {"store": StoreOptions, "table": TableOptions}


@hookimpl
def make_backend(type, options, context):
    if type == "store":
        return [Store(server) for server in options.server.split(",")]
    return Store("") if type == "table" else None
'''

SOUND = """\
redis:
  url: redis://127.0.0.1:6379/0
backends:
  objects: {type: store, server: here}
  near: {type: table}
workers:
  - name: users
    pattern: "cache:users:*"
    backends: [near, {backend: objects, flush: {all: true}}]
    allow: [key]
plugins: [./types.py]
"""


def write(folder: Path, text: str) -> Path:
    """The topology's file, beside the plugin that SOUND names."""
    (folder / "types.py").write_text(PLUGIN)
    file = folder / "topology.yaml"
    file.write_text(text)
    return file


def loaded(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Loaded:
    """What `load` makes of it."""
    return load(write(folder, text), environ or {})


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """Everything that is wrong with it, as `LINE:COLUMN: path: text`; nothing if it is right."""
    try:
        load(write(folder, text), environ or {})
    except ConfigError as error:
        return [str(problem).removeprefix(f"{folder}/topology.yaml:") for problem in error.problems]
    return []


def warnings(folder: Path, text: str) -> list[str]:
    """What its operator is told, in the same form."""
    return [str(problem).removeprefix(f"{folder}/topology.yaml:") for problem in loaded(folder, text).warnings]


def logging(server: RedisServer, *names: str, longest: str = "200ms", **supervisor: object) -> dict[str, Any]:
    """Workers of these names, each for its own channels, that only say what they would purge."""
    return {
        "redis": {"url": server.url, "backoff": {"first": "10ms", "longest": longest}},
        "supervisor": dict(supervisor),
        "backends": {"said": {"type": "log"}},
        "workers": [
            {"name": name, "pattern": f"cache:{name}:*", "backends": ["said"], "on_gap": "ignore"} for name in names
        ],
    }

"""A daemon that delivers from a journal to some memcacheds, and what has become of its entries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.metrics import unaccounted

if TYPE_CHECKING:
    from tests.support.daemon import Daemon
    from tests.support.stores import MemcachedServer, RedisServer


def topology(source: RedisServer, *stores: MemcachedServer, **worker: Any) -> dict[str, Any]:
    backends = {f"store{number}": {"type": "memcached", "servers": [one.address]} for number, one in enumerate(stores)}
    return {
        "redis": {
            "url": source.url,
            "heartbeat": {"interval": "100ms", "deadline": "300ms"},
            "backoff": {"first": "10ms", "longest": "100ms"},
        },
        "supervisor": {"restart": {"first": "10ms", "longest": "50ms"}},
        "backends": backends,
        "workers": [
            {
                "name": "users",
                "pattern": "cache:invalidate:users:*",
                "delivery": "journal",
                "backends": list(backends),
                "flush": {"all": True},
                **worker,
            }
        ],
    }


def cursors(run: Daemon) -> dict[str, Any]:
    """What is kept on the disk."""
    text = (run.folder / "state" / "cursors" / "users.json").read_text()
    return json.loads(text)  # type: ignore[no-any-return]


def settled(run: Daemon, entry: str) -> bool:
    """Whether every lane's cursor is there, and no flush is owed."""
    return all(lane["at"] == entry and not lane["owes"] for lane in cursors(run)["lanes"].values())


def gone(store: MemcachedServer, *keys: str) -> bool:
    return not any(store.get(key) for key in keys)


def flushes(run: Daemon) -> dict[str, float]:
    metrics = run.metrics()
    causes = ("start", "disconnect", "deadline", "resubscribed", "role", "trimmed", "overflow")
    counts = {cause: metrics.value("invalidator_flushes_total", cause=cause) for cause in causes}
    return {cause: count for cause, count in counts.items() if count}


def adds_up(run: Daemon, backend: str = "store0") -> bool:
    return unaccounted(run.metrics(), "users", backend) == 0

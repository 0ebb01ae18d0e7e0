"""Which workers there are: each keeps a key in its Redis that says so, and that goes when nobody keeps it any more.

A publisher that waits has to know for whom. All keys are in one slot of a Cluster, and the index has their names:
nobody has to scan a database that may be large.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

INDEX = "invalidator:{presence}"
"""A sorted set: the names of the keys, each with the second (of the server's clock) at which it ends unless renewed."""

REMEMBERED = 600
"""Seconds for which the index remembers those that are gone: nobody looks at a key that has ended."""

COMMANDS = "+set +del +zadd +zrem +zremrangebyscore +expire +time"
"""What it takes to keep a key, beside the right to the keys."""

MOST_WORKERS = 10_000
"""A publisher that waits looks at no more: somebody else has put them there."""
LONGEST = 16 << 10
"""Bytes of one key's value that are looked at."""


@dataclass(frozen=True, slots=True, order=True)
class Presence:
    """One worker of one daemon: who it is, what it hears, and the names of the backends that it purges.

    `instance` tells two daemons of one host apart that have workers of the same name. It stays over a restart.
    """

    host: str
    worker: str
    instance: str
    pattern: str = ""
    backends: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name of its key."""
        return f"{INDEX}:{self.host}:{self.worker}:{self.instance}"

    @property
    def identity(self) -> tuple[str, str, str]:
        """What a receipt of this worker has as well."""
        return (self.host, self.worker, self.instance)


@lru_cache(maxsize=8)
def instance_of(*places: object) -> str:
    """Eight characters for a daemon, made of where its files are."""
    return hashlib.sha256("\0".join(map(str, places)).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def written(presence: Presence, more: dict[str, object]) -> bytes:
    """The key's value; `more` is for people to read."""
    value = {
        "v": 1,
        "host": presence.host,
        "name": presence.worker,
        "instance": presence.instance,
        "pattern": presence.pattern,
        "backends": presence.backends,
        **more,
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


def read(value: object) -> Presence | None:
    """What `written` has written; None for anything else."""
    if not isinstance(value, bytes) or len(value) > LONGEST:
        return None
    try:
        said = json.loads(value)
        backends = tuple(said["backends"])
        found = Presence(said["host"], said["name"], said["instance"], said["pattern"], backends)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    texts: list[Any] = [*found.identity, found.pattern, *backends]
    return found if said.get("v") == 1 and backends and all(isinstance(text, str) for text in texts) else None

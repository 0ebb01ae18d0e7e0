"""The Redis servers of a topology: each once, with the workers that hear it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.doctor.wording import shown
from invalidator.topology.patterns import is_glob
from invalidator.topology.settings import Journal

if TYPE_CHECKING:
    from invalidator.topology.models import RedisSettings, Topology, WorkerSpec
    from invalidator.topology.redis_url import RedisUrl


@dataclass(frozen=True, slots=True)
class Server:
    """One Redis, and the workers that hear it, each with the settings by which it goes there.

    `journal` is the Stream that those of them read which have one, `state_dir` where this host keeps how far they are.
    """

    name: str
    hears: tuple[tuple[WorkerSpec, RedisSettings], ...]
    journal: Journal = field(default_factory=Journal)
    state_dir: Path = Path()

    @property
    def subject(self) -> str:
        """What findings about it are about."""
        return f"redis {self.name}"

    @property
    def workers(self) -> tuple[WorkerSpec, ...]:
        """In the order of the topology."""
        return tuple(worker for worker, _ in self.hears)

    @property
    def ways(self) -> dict[RedisSettings, list[WorkerSpec]]:
        """The distinct settings, the first worker's first, and who has them."""
        found: dict[RedisSettings, list[WorkerSpec]] = {}
        for worker, settings in self.hears:
            found.setdefault(settings, []).append(worker)
        return found

    @property
    def user(self) -> str:
        """As whom we come."""
        return user_of(self.hears[0][1])

    @property
    def globs(self) -> frozenset[str]:
        """The patterns that PUBSUB NUMPAT counts."""
        return frozenset(worker.pattern for worker in self.workers if is_glob(worker.pattern))

    @property
    def channels(self) -> frozenset[str]:
        """The channels that PUBSUB NUMSUB counts: patterns without a glob character are subscribed as these."""
        return frozenset(worker.pattern for worker in self.workers if not is_glob(worker.pattern))


def servers(topology: Topology) -> list[Server]:
    """In the order of the workers. Two databases or users of one server are one: Pub/Sub knows no databases."""
    found: dict[str, list[tuple[WorkerSpec, RedisSettings]]] = {}
    for worker in topology.workers:
        settings = topology.redis_of(worker)
        found.setdefault(place(settings.url), []).append((worker, settings))
    state_dir = topology.supervisor.state_dir
    return [Server(name, tuple(pairs), topology.journal, state_dir) for name, pairs in found.items()]


def user_of(settings: RedisSettings) -> str:
    """As whom one goes there with these settings."""
    return shown(settings.url.username or "default", 60)


def place(url: RedisUrl) -> str:
    """Where this URL leads, without user, password and database."""
    if url.path:
        return f"unix:{shown(url.path)}"
    hosts = ",".join(f"{_host(host)}:{port}" for host, port in url.hosts)
    return f"{shown(url.master)} (Sentinels {hosts})" if url.master else hosts


def _host(name: str) -> str:
    name = shown(name.lower().rstrip("."))
    name = "127.0.0.1" if name == "localhost" else name
    return f"[{name}]" if ":" in name else name

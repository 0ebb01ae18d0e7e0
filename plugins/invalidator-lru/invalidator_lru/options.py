"""The options of `type: lru`, and what a topology says of each table."""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 -- pydantic reads the annotations when the module is loaded
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from invalidator import BackendOptions
from invalidator_lru.records import feeder_name
from invalidator_lru.table import DEFAULT_SLOTS, MAX_FEEDERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.messages import Kind
    from invalidator.topology.models import Topology


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be absolute: applications open it from other working directories")
    return path


def _power_of_two(slots: int) -> int:
    if slots & (slots - 1):
        raise ValueError(f"must be a power of two, like {1 << slots.bit_length()}")
    return slots


def _writable_by_its_owner_alone(mode: str) -> str:
    bits = int(mode, 8)
    if bits & 0o600 != 0o600:
        raise ValueError("must let its owner, the daemon, read and write, like 0644")
    if bits & 0o022:
        raise ValueError("must not let anybody else write, like 0644, 0640 or 0600: who can write it can forge it")
    return mode


class LruOptions(BackendOptions):
    """A table in shared memory for the LRUCaches of this host's applications."""

    path: Annotated[Path, AfterValidator(_absolute)] = Field(
        description="The table's file, the one that applications open. Best on a tmpfs, like /run.",
        examples=["/run/invalidator/shop.gen"],
    )
    slots: Annotated[int, Field(ge=1024, le=1 << 24), AfterValidator(_power_of_two)] = Field(
        default=DEFAULT_SLOTS,
        description="For keys: a power of two, 8 bytes each. More of them: fewer misses by chance.",
    )
    mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$"), AfterValidator(_writable_by_its_owner_alone)] = Field(
        default="0644", description="The file's mode, in quotes. It holds only counters, and applications only read it."
    )
    group: str | None = Field(default=None, description="The file's group, by name; null: the daemon's own.")

    def kinds(self) -> frozenset[Kind]:
        """Everything but URLs. What cannot be told apart (a pattern, a prefix not ending at `:`) takes everything."""
        return frozenset({"key", "tag", "prefix", "pattern", "all"})

    def default_flush(self) -> dict[str, Any]:
        """Everything: it costs the applications a refill, and no server anything."""
        return {"all": True}

    def problems(self, topology: Topology) -> Iterator[str]:
        """Another backend on this path that disagrees about the file, or more feeders than there are records."""
        sharing = [options for options in tables(topology).values() if real(options) == real(self)]
        for name in ("slots", "mode", "group"):
            if len({getattr(options, name) for options in sharing}) > 1:
                yield f"another backend has the same path and other {name}: there is one file"
        count = len(feeders(topology).get(real(self), ()))
        if count > MAX_FEEDERS:
            yield f"{count} workers feed {self.path}, and a table takes {MAX_FEEDERS}: use several tables"


def real(options: LruOptions) -> str:
    """The path with its symbolic links resolved: two backends may name one file in two ways."""
    return os.path.realpath(options.path)


def tables(topology: Topology) -> dict[str, LruOptions]:
    """The options of the topology's lru backends, by the backend's name."""
    return {name: spec.options for name, spec in topology.backends.items() if isinstance(spec.options, LruOptions)}


def feeders(topology: Topology) -> dict[str, set[str]]:
    """Who feeds which table, by its real path: each worker that names a backend, once for each that it names."""
    backends = tables(topology)
    found: dict[str, set[str]] = {real(options): set() for options in backends.values()}
    for worker in topology.workers:
        for lane in worker.backends:
            if lane.backend in backends:
                found[real(backends[lane.backend])].add(feeder_name(worker.name, lane.backend))
    return found

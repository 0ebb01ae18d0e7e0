"""The backend type `memcached`: every node forgets every key, in pipelined meta deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator import hookimpl
from invalidator_memcached.options import MemcachedOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from invalidator import Backend, BackendContext, BackendOptions

__all__ = ["MemcachedOptions"]


@hookimpl
def backend_types() -> Mapping[str, type[BackendOptions]]:
    return {"memcached": MemcachedOptions}


@hookimpl
def make_backend(type: str, options: BackendOptions, context: BackendContext) -> Sequence[Backend] | None:  # noqa: A002
    del context
    if type != "memcached" or not isinstance(options, MemcachedOptions):
        return None
    from invalidator_memcached.backend import MemcachedBackend  # noqa: PLC0415 -- only a worker needs it

    return [MemcachedBackend(address, options) for address in options.servers]


@hookimpl
def topology_applied() -> None:
    """In the supervisor, before it forks: a worker that takes another's place is to hear again within milliseconds."""
    import invalidator_memcached.backend  # noqa: F401, PLC0415 -- see above

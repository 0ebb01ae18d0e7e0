"""The backend type `redis`: a secondary Redis or Valkey that the application uses as a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator import hookimpl
from invalidator_redis.options import RedisOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invalidator import Backend, BackendContext, BackendOptions

__all__ = ["RedisOptions"]


@hookimpl
def backend_types() -> Mapping[str, type[BackendOptions]]:
    return {"redis": RedisOptions}


@hookimpl
def make_backend(type: str, options: BackendOptions, context: BackendContext) -> Backend | None:  # noqa: A002
    del context
    if type != "redis" or not isinstance(options, RedisOptions):
        return None
    from invalidator_redis.backend import RedisBackend  # noqa: PLC0415 -- it loads redis-py, which only a worker needs

    return RedisBackend(options)


@hookimpl
def topology_applied() -> None:
    """In the supervisor, before it forks: a worker that takes another's place is to hear again within milliseconds."""
    import invalidator_redis.backend  # noqa: F401, PLC0415 -- see above

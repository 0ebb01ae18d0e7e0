"""The backend type `http`: caches that are purged by a request, each server on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator import hookimpl
from invalidator_http.options import HttpOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from invalidator import Backend, BackendContext, BackendOptions

__all__ = ["HttpOptions"]


@hookimpl
def backend_types() -> Mapping[str, type[BackendOptions]]:
    return {"http": HttpOptions}


@hookimpl
def make_backend(type: str, options: BackendOptions, context: BackendContext) -> Sequence[Backend] | None:  # noqa: A002
    del context
    if type != "http" or not isinstance(options, HttpOptions):
        return None
    from invalidator_http.backend import HttpBackend  # noqa: PLC0415 -- only a worker needs it

    return [HttpBackend(target, options) for target in options.targets]


@hookimpl
def topology_applied() -> None:
    """In the supervisor, before it forks: a worker that takes another's place is to hear again within milliseconds."""
    import invalidator_http.backend  # noqa: F401, PLC0415 -- see above

"""The backend type `fastly`: one service of Fastly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator import hookimpl
from invalidator_fastly.options import FastlyOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invalidator import Backend, BackendContext, BackendOptions

__all__ = ["FastlyOptions"]


@hookimpl
def backend_types() -> Mapping[str, type[BackendOptions]]:
    return {"fastly": FastlyOptions}


@hookimpl
def make_backend(type: str, options: BackendOptions, context: BackendContext) -> Backend | None:  # noqa: A002
    if type != "fastly" or not isinstance(options, FastlyOptions):
        return None
    from invalidator.cdn import CdnBackend, shared  # noqa: PLC0415 -- only a worker needs it
    from invalidator_fastly.api import Fastly  # noqa: PLC0415 -- so too

    vendor = Fastly(options, context.asked)
    folder = options.limits_dir or context.state_dir
    return CdnBackend(options, vendor, shared(folder, vendor.limits, "fastly", *options.identity))


@hookimpl
def topology_applied() -> None:
    """In the supervisor, before it forks: a worker that takes another's place is to hear again within milliseconds."""
    import invalidator.cdn  # noqa: F401, PLC0415 -- see above
    import invalidator_fastly.api  # noqa: F401, PLC0415

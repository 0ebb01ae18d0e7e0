"""The backend type `cloudflare`: one zone of Cloudflare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator import hookimpl
from invalidator_cloudflare.options import CloudflareOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invalidator import Backend, BackendContext, BackendOptions

__all__ = ["CloudflareOptions"]


@hookimpl
def backend_types() -> Mapping[str, type[BackendOptions]]:
    return {"cloudflare": CloudflareOptions}


@hookimpl
def make_backend(type: str, options: BackendOptions, context: BackendContext) -> Backend | None:  # noqa: A002
    if type != "cloudflare" or not isinstance(options, CloudflareOptions):
        return None
    from invalidator.cdn import CdnBackend, shared  # noqa: PLC0415 -- only a worker needs it
    from invalidator_cloudflare.api import Cloudflare  # noqa: PLC0415 -- so too

    vendor = Cloudflare(options)
    folder = options.limits_dir or context.state_dir
    return CdnBackend(options, vendor, shared(folder, vendor.limits, "cloudflare", *options.identity))


@hookimpl
def topology_applied() -> None:
    """In the supervisor, before it forks: a worker that takes another's place is to hear again within milliseconds."""
    import invalidator.cdn  # noqa: F401, PLC0415 -- see above
    import invalidator_cloudflare.api  # noqa: F401, PLC0415

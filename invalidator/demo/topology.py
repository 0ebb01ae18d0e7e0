"""What the demo's daemon gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invalidator.stage.caches import FLUSHES

if TYPE_CHECKING:
    from invalidator.stage.building import Stage


def topology(stage: Stage, *, guards: bool) -> dict[str, Any]:
    """One worker for all of the caches. `guards` off: gaps are ignored, as a control."""
    worker = {
        "name": "shop",
        "pattern": "cache:invalidate:shop:*",
        "backends": [{"backend": kind, **(FLUSHES[kind] if guards else {})} for kind in stage.addresses],
    }
    return {
        "redis": {"url": stage.broker.url, "backoff": {"first": "50ms", "longest": "500ms"}},
        "backends": stage.caches.backends(),
        "workers": [worker if guards else worker | {"on_gap": "ignore", "flush_on_start": False}],
    }

"""What the drill's daemon gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invalidator.stage.caches import FLUSHES

if TYPE_CHECKING:
    from invalidator.stage.building import Stage

WORKER = "shop"
BYSTANDER = "bystander"
INTERVAL = 0.2
DEADLINE = 0.8
LONGEST_BACKOFF = 0.5
HEARTBEAT_TIMEOUT = 2.0
STOP_TIMEOUT = 5.0


def topology(stage: Stage, broker: str, *, delivery: str, guards: bool) -> dict[str, Any]:
    """One worker for all of the caches, behind `broker`; and another that no fault of the path is to touch.

    `guards` off: gaps are ignored, as a control.
    """
    flushes = FLUSHES if guards else {}
    settings: dict[str, Any] = {} if guards else {"on_gap": "ignore", "flush_on_start": False}
    settings |= {} if delivery == "pubsub" else {"delivery": delivery}
    patience = {
        "heartbeat": {"interval": f"{INTERVAL}s", "deadline": f"{DEADLINE}s"},
        "backoff": {"first": "50ms", "longest": f"{LONGEST_BACKOFF}s"},
    }
    return {
        "redis": {"url": f"redis://{broker}/0", **patience},
        "supervisor": {"heartbeat_timeout": f"{HEARTBEAT_TIMEOUT}s", "stop_timeout": f"{STOP_TIMEOUT}s"},
        "backends": {**stage.caches.backends(), "words": {"type": "log"}},
        "workers": [
            {
                "name": WORKER,
                "pattern": "cache:invalidate:shop:*",
                "backends": [{"backend": kind, **flushes.get(kind, {})} for kind in stage.addresses],
                **settings,
            },
            {
                "name": BYSTANDER,
                "pattern": "cache:invalidate:others:*",
                "backends": ["words"],
                "on_gap": "ignore",
                "redis": {"url": stage.broker.url, **patience},
            },
        ],
    }

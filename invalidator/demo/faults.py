"""What goes wrong on the way: a worker dies, and the subscription is cut."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from typing import TYPE_CHECKING

from redis import Redis

from invalidator.stage.process import children

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.stage.building import Stage

RECOVERY_TIMEOUT = 20.0
_POLL = 0.002


def kill_a_worker(stage: Stage) -> str:
    """SIGKILL the worker, and wait until its successor is subscribed. What came of it, for a person."""
    victim = children(stage.daemon.pid)[0]
    began = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    seconds = _recovered(stage, began, lambda: victim not in children(stage.daemon.pid))
    return f"the next worker was subscribed {seconds} after the kill -9"


def cut_the_subscription(stage: Stage, seconds: float) -> str:
    """Close the subscription at Redis, which takes no new connection for `seconds`. What came of it, for a person."""
    began = time.monotonic()
    with closing(Redis.from_url(stage.broker.url, socket_timeout=5)) as redis:
        limit = str(redis.config_get("maxclients")["maxclients"])
        # The publisher's connection stays: what it sends meanwhile is heard by nobody.
        redis.config_set("maxclients", 1)
        redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        time.sleep(seconds)
        redis.config_set("maxclients", limit)
    healed = _recovered(stage, began, lambda: True)
    return f"subscribed again {healed} after the cut; Redis was shut {seconds * 1000:,.0f} ms"


def _recovered(stage: Stage, began: float, over: Callable[[], bool]) -> str:
    deadline = time.monotonic() + RECOVERY_TIMEOUT
    while time.monotonic() < deadline:
        if over() and children(stage.daemon.pid) and stage.is_ready():
            return f"{(time.monotonic() - began) * 1000:,.0f} ms"
        time.sleep(_POLL)
    return f"more than {RECOVERY_TIMEOUT:.0f} s"

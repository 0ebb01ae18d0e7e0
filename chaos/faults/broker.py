"""Redis dies, stops, or turns us away."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from chaos.faults.fault import Fault
from chaos.scene import LANES
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import random

    from chaos.scene import Scene

QUICK: dict[str, Any] = {
    "redis": {"heartbeat": {"interval": "200ms", "deadline": "600ms"}, "backoff": {"first": "50ms", "longest": "500ms"}}
}
"""Settings with which a test needs not wait long. The promise for the default deadline has a run of its own."""


class KilledRedis(Fault):
    """SIGKILL of Redis. In journal mode every entry is on its disk before a publisher has its answer."""

    name = "redis-kill"
    title = "SIGKILL of Redis"
    setting = QUICK

    def inject(self) -> None:
        """Kill it."""
        self.scene.broker.kill()

    def heal(self) -> None:
        """Start it where it was."""
        self.scene.broker.start()


class StoppedRedis(Fault):
    """SIGSTOP of Redis: its connections stay open, and nothing answers."""

    name = "redis-stop"
    title = "SIGSTOP of Redis"
    hold = 1.5
    setting = QUICK

    def inject(self) -> None:
        """Stop it."""
        self.scene.broker.stop()

    def heal(self) -> None:
        """Let it go on."""
        self.scene.broker.cont()


class ClosedSubscription(Fault):
    """CLIENT KILL of every subscription."""

    name = "client-kill"
    title = "CLIENT KILL"
    times = 5
    hold = 0.2
    setting = QUICK

    def inject(self) -> None:
        """Close them. Each is back within some milliseconds."""
        with self.scene.redis() as redis:
            redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]


class NoRoom(Fault):
    """CLIENT KILL, and maxclients so low that no connection is taken any more."""

    name = "maxclients"
    title = "maxclients"
    hold = 1.0
    setting = QUICK

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        super().__init__(scene, chance)
        self._stack = ExitStack()

    def inject(self) -> None:
        """Shut it. Connections that are there stay: the publisher's, say."""
        self.admin = self._stack.enter_context(self.scene.redis())  # held: nobody gets in any more, nor would we
        self._limit = str(self.admin.config_get("maxclients")["maxclients"])
        self.admin.config_set("maxclients", 1)
        self.admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]

    def heal(self) -> None:
        """Open it."""
        self.admin.config_set("maxclients", self._limit)
        self._stack.close()


class FullOutputBuffer(Fault):
    """A worker that is stopped while Redis may hold next to nothing for it: Redis hangs up on it."""

    name = "output-buffer"
    title = "output-buffer kill"
    hold = 0.0
    setting = QUICK

    def inject(self) -> None:
        """Stop a worker, and flood it until Redis has closed its subscription."""
        victim = self.chance.choice(self.scene.run.pids())
        with self.scene.redis() as redis:
            redis.config_set("client-output-buffer-limit", "pubsub 65536 0 0")
            os.kill(victim, signal.SIGSTOP)
            try:
                wait_until(lambda: self._flooded(redis), 20, "Redis has not closed the subscription")
            finally:
                os.kill(victim, signal.SIGCONT)
                redis.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")

    def _flooded(self, redis: Any) -> bool:
        # On a channel that the pattern takes, and that nobody counts: not one of these payloads is an invalidation.
        for _ in range(20):
            redis.publish("cache:invalidate:shop:noise", b"\x01" * 60_000)
        return len(redis.client_list(_type="pubsub")) < len(LANES)

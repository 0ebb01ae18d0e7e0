"""Faults of Redis, of the path to it, and of the caches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.drill.fault import Fault
from invalidator.drill.promises import Check, declared, late, within
from invalidator.drill.topology import DEADLINE, LONGEST_BACKOFF

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.drill.scene import Scene

SHUT = 1.0
"""Seconds that an outage lasts, when it does not last until it is found."""
HEALED = 5.0
"""Seconds from the end of an outage in which the worker is to be subscribed again."""
FOUND = DEADLINE + 0.5
"""Seconds in which silence is to be found, and a restless supervisor to be told."""

LATE, JITTER = 0.100, 0.020
"""Seconds by which a slow path makes everything late, each way."""


def redis_kill(scene: Scene) -> Sequence[Check]:
    """SIGKILL; it is back after a second, empty."""
    before = scene.gaps()
    scene.stage.broker.kill()
    scene.passes(SHUT)
    scene.stage.broker.start()
    return _healed(scene, before, "disconnect", "deadline")


def redis_hang(scene: Scene) -> Sequence[Check]:
    """SIGSTOP: every connection stands, and nothing answers."""
    before = scene.gaps()
    scene.stage.broker.stop()
    try:
        found = _found(scene, before)
    finally:
        scene.stage.broker.cont()
    return [within("the silence is found", found, FOUND), *_healed(scene, before, "deadline", "disconnect")]


def client_kill(scene: Scene) -> Sequence[Check]:
    """CLIENT KILL TYPE pubsub."""
    before = scene.gaps()
    with scene.redis() as redis:
        redis("CLIENT", "KILL", "TYPE", "pubsub")
    return _healed(scene, before, "disconnect")


def rights(scene: Scene) -> Sequence[Check]:
    """The user may hear no channel any more, for a second; then as before."""
    before = scene.gaps()
    with scene.redis() as redis:
        redis("ACL", "SETUSER", "default", "resetchannels")
        scene.passes(SHUT)
        redis("ACL", "SETUSER", "default", "allchannels")
    return _healed(scene, before, "disconnect", "deadline", "resubscribed")


def full(scene: Scene) -> Sequence[Check]:
    """Redis has as many clients as it may have, and throws the subscriptions out."""
    before = scene.gaps()
    with scene.redis() as redis:  # the connections that stand may stay
        limit = redis("CONFIG GET", "maxclients")["maxclients"]
        redis("CONFIG", "SET", "maxclients", 1)
        redis("CLIENT", "KILL", "TYPE", "pubsub")
        scene.passes(SHUT)
        redis("CONFIG", "SET", "maxclients", limit)
    return _healed(scene, before, "disconnect")


def path_cut(scene: Scene) -> Sequence[Check]:
    """Every connection ends, and none can be made for a second."""
    before = scene.gaps()
    scene.proxy.cut()
    scene.passes(SHUT)
    scene.proxy.heal()
    return _healed(scene, before, "disconnect")


def path_reset(scene: Scene) -> Sequence[Check]:
    """A RST."""
    before = scene.gaps()
    scene.proxy.reset()
    return _healed(scene, before, "disconnect")


def path_hang(scene: Scene) -> Sequence[Check]:
    """Nothing comes through, in either direction, and nobody is told."""
    before = scene.gaps()
    scene.proxy.stall()
    try:
        found = _found(scene, before)
    finally:
        scene.proxy.heal()
    return [within("the silence is found", found, FOUND), *_healed(scene, before, "deadline", "disconnect")]


def path_forgotten(scene: Scene) -> Sequence[Check]:
    """A firewall has forgotten the connection: it stands for ever, and only a new one works."""
    before = scene.gaps()
    scene.proxy.strand()
    found = _found(scene, before)
    return [within("the silence is found", found, FOUND), *_healed(scene, before, "deadline")]


def path_slow(scene: Scene) -> Sequence[Check]:
    """Everything takes 100 ms longer, give or take 20, for two seconds: late, and no reason to give up a connection."""
    before = scene.gaps()
    scene.proxy.delay(LATE, JITTER)
    took = scene.round_trip()
    scene.passes(2 * SHUT)
    scene.proxy.heal()
    same = scene.gaps() == before
    return [
        Check("a slow path is no gap", same, "none" if same else str(scene.gaps())),
        late("the path is slow there and back", took, 2 * (LATE - JITTER)),
    ]


def garbage(scene: Scene) -> Sequence[Check]:
    """Something comes that no Redis says."""
    before = scene.gaps()
    scene.proxy.garble()
    return _healed(scene, before, "disconnect")


def journal_trimmed(scene: Scene) -> Sequence[Check]:
    """The Stream is emptied while the worker is cut off: what it has missed cannot be read again."""
    scene.proxy.cut()
    scene.passes(SHUT)
    with scene.redis() as redis:
        redis("XTRIM", "invalidator:journal", "MAXLEN", 0)
    scene.proxy.heal()
    return [within("the worker is subscribed again", scene.seconds_until(scene.subscribed), HEALED)]


def cache_kill(kind: str) -> Callable[[Scene], Sequence[Check]]:
    """SIGKILL of a cache's server for a second."""

    def strike(scene: Scene) -> Sequence[Check]:
        with scene.reading_paused():
            server = scene.stage.caches.servers[kind]
            server.kill()
            try:
                others = _others_go_on(scene, kind, SHUT)
            finally:
                server.start()
        return others

    return strike


def cache_hang(kind: str) -> Callable[[Scene], Sequence[Check]]:
    """SIGSTOP of a cache's server for two seconds."""

    def strike(scene: Scene) -> Sequence[Check]:
        with scene.reading_paused():
            server = scene.stage.caches.servers[kind]
            server.stop()
            try:
                others = _others_go_on(scene, kind, 2 * SHUT)
            finally:
                server.cont()
        return others

    return strike


def _found(scene: Scene, before: dict[str, int]) -> float | None:
    def is_known() -> bool:
        # Past its deadline a worker counts as not subscribed, and may not have turned yet: were the path healed now,
        # nothing would have been lost, and there would be no gap. And where a new connection can be made at once,
        # nobody sees from outside that there was none for a moment.
        worker = scene.worker()
        if worker is None:
            return False
        said = worker.trouble is not None and worker.trouble.reason != "silent"
        return worker.gaps != before or (said and not worker.subscribed)

    return scene.seconds_until(is_known, FOUND * 3)


def _healed(scene: Scene, before: dict[str, int], *causes: str) -> list[Check]:
    def declared_and_subscribed() -> bool:
        worker = scene.worker()
        return worker is not None and worker.gaps != before and worker.subscribed

    bound = HEALED + LONGEST_BACKOFF
    seconds = scene.seconds_until(declared_and_subscribed)
    # Nobody can name the cause from outside in every case: what matters is that it is one of those, and not none.
    return [within("the worker is subscribed again", seconds, bound), declared(before, scene.gaps(), *causes)]


def _others_go_on(scene: Scene, kind: str, seconds: float) -> list[Check]:
    """While one cache is away, the others are purged as ever."""
    before = scene.purged()

    def still() -> list[str]:
        after = scene.purged()
        return sorted(other for other in before if other != kind and after.get(other, 0) <= before[other])

    scene.passes(seconds)
    scene.seconds_until(lambda: not still(), HEALED)  # a batch may take long on a busy machine
    others = still()
    return [Check("the other caches are purged meanwhile", not others, f"not {', '.join(others)}" if others else "all")]


OUTAGES = (
    Fault("redis-kill", "kill -9 of Redis, for a second", redis_kill, spares=False),
    Fault("redis-hang", "SIGSTOP of Redis, until it is found", redis_hang, spares=False, replayed=True),
    Fault("client-kill", "CLIENT KILL TYPE pubsub", client_kill, spares=False, replayed=True),
    Fault("rights", "the ACL takes the channels away, for a second", rights, spares=False, replayed=True),
    Fault("full", "maxclients, for a second", full, spares=False, replayed=True),
    Fault("cut", "the path is cut, for a second", path_cut, replayed=True),
    Fault("reset", "a RST on the path", path_reset, replayed=True),
    Fault("hang", "a black hole on the path, until it is found", path_hang, replayed=True),
    Fault("forgotten", "a firewall forgets the connection", path_forgotten, replayed=True),
    Fault("slow", "100 ms ± 20 ms more on the path, for two seconds", path_slow, replayed=True),
    Fault("garbage", "garbage in the stream", garbage, replayed=True),
    Fault("trimmed", "the journal is trimmed during a cut", journal_trimmed, delivery="journal"),
    Fault("cache-kill", "kill -9 of the secondary Redis", cache_kill("redis"), needs="redis"),
    Fault("cache-hang", "SIGSTOP of memcached", cache_hang("memcached"), needs="memcached"),
)

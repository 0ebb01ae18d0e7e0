"""Faults that end one subscription, or each of them, once: how many gaps that makes is known beforehand.

Where it depends on a race, Redis' own list of connections has the last word (FloodedBuffer).
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, ClassVar

from chaos import namespace
from chaos.brokers import USER
from chaos.faults.network import nft
from chaos.runs.kills import kill
from chaos.scene import LANES
from chaos.subscriptions import await_new, ports, subscriptions
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Collection

    from redis import Redis

    from chaos.scene import Scene

PATIENCE = 20.0


class Interruption:
    """One kind. `cost` is how many gaps it makes, `share` how often it is taken, in relation to the others."""

    title: ClassVar[str]
    share: ClassVar[int]
    cost: ClassVar[int] = 1

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        self.scene = scene
        self.chance = chance

    @classmethod
    def missing(cls) -> bool:
        """Whether this machine cannot do it."""
        return False

    def strike(self) -> int:
        """Do it, and wait until all are subscribed again. How many gaps it has made."""
        hit = self._victims()
        with self.scene.redis() as redis:
            before = subscriptions(redis)
            try:
                self.interrupt(redis, hit, before)
            finally:
                self.mend(redis)
        with self.scene.redis() as redis:  # another one: the server may have been killed
            for worker in hit:
                await_new(redis, worker, before[worker], PATIENCE)
        return self.cost

    def interrupt(self, redis: Redis, hit: Collection[str], before: dict[str, set[int]]) -> None:
        """The subscriptions `before` of the workers `hit` end."""
        raise NotImplementedError

    def mend(self, redis: Redis) -> None:
        """What has kept them from subscribing again is over."""

    def _victims(self) -> Collection[str]:
        return tuple(LANES) if self.cost == len(LANES) else (self.chance.choice(list(LANES)),)


class Closed(Interruption):
    """CLIENT KILL of one connection."""

    title, share = "CLIENT KILL", 60

    def interrupt(self, redis: Redis, hit: Collection[str], before: dict[str, set[int]]) -> None:
        """By its id."""
        for client in (client for worker in hit for client in before[worker]):
            redis.client_kill_filter(_id=str(client))


class Killed(Interruption):
    """SIGKILL of one worker: a start is a gap."""

    title, share = "SIGKILL of a worker", 15

    def interrupt(self, redis: Redis, hit: Collection[str], before: dict[str, set[int]]) -> None:
        """Its own."""
        for worker in hit:
            kill(self.scene, worker)


class Flow(Interruption):
    """Every packet of one subscription's connection, in both directions, meets `verdict`; a new one is not touched."""

    verdict: ClassVar[str]

    @classmethod
    def missing(cls) -> bool:
        """Packets are ours only in a network namespace of our own."""
        return bool(namespace.missing())

    def interrupt(self, redis: Redis, hit: Collection[str], before: dict[str, set[int]]) -> None:
        """Until its worker has given it up, and has subscribed anew."""
        for worker in hit:
            ends = [f"tcp {end} {port}" for port in ports(redis, before[worker]) for end in ("sport", "dport")]
            nft(*(f"{end} {self.verdict}" for end in ends))
            await_new(redis, worker, before[worker], PATIENCE)

    def mend(self, redis: Redis) -> None:
        """Let it pass."""
        nft()


class Reset(Flow):
    """The connection is answered with a reset."""

    title, share, verdict = "RST", 10, "tcp flags & rst == 0 reject with tcp reset"


class Silenced(Flow):
    """The connection stays open and nothing comes: its deadline has to pass."""

    title, share, verdict = "flow dropped until the deadline", 8, "drop"


class FloodedBuffer(Interruption):
    """Redis hangs up on a worker that is stopped, because of what waits for it."""

    title, share = "output-buffer kill", 3
    limit = 1 << 20

    def strike(self) -> int:
        """As many gaps as connections are gone: the flood reaches the sibling too, and it may be too slow for it."""
        with self.scene.redis() as redis:
            before = subscriptions(redis)
            (worker,) = self._victims()
            pid = self.scene.run.pids_by_name()[worker]
            redis.config_set("client-output-buffer-limit", f"pubsub {self.limit} 0 0")
            os.kill(pid, signal.SIGSTOP)
            try:
                wait_until(lambda: self._is_closed(redis, before[worker]), PATIENCE, "Redis has not hung up")
            finally:
                redis.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
                os.kill(pid, signal.SIGCONT)
            after = subscriptions(redis)
            # The newest is the one in use: of an older one, Redis may have learned only now that nobody is there.
            gone = {name for name in LANES if max(before[name]) not in after.get(name, set())}
            for name in gone:
                await_new(redis, name, before[name], PATIENCE)
        return len(gone)

    @staticmethod
    def _is_closed(redis: Redis, victims: set[int]) -> bool:
        for _ in range(5):
            redis.publish("cache:invalidate:shop:noise", b"\x01" * 60_000)  # no invalidation
        return not victims & {client for found in subscriptions(redis).values() for client in found}


class Barred(Interruption):
    """ACL SETUSER … resetchannels, and back: Redis ends all subscriptions, and refuses them meanwhile."""

    title, share, cost = "ACL change and back", 2, len(LANES)

    def interrupt(self, redis: Redis, hit: Collection[str], before: dict[str, set[int]]) -> None:
        """Until none is left."""
        redis.execute_command("ACL", "SETUSER", USER, "resetchannels")  # type: ignore[no-untyped-call]
        wait_until(lambda: not subscriptions(redis), PATIENCE, "Redis has not ended them")

    def mend(self, redis: Redis) -> None:
        """Give the right back."""
        redis.execute_command("ACL", "SETUSER", USER, "allchannels")  # type: ignore[no-untyped-call]


class Restarted(Interruption):
    """SIGKILL of Redis, and another one in its place: a gap for each worker."""

    title, share, cost = "SIGKILL and restart of Redis", 1, len(LANES)

    def interrupt(self, redis: Redis, hit: Collection[str], before: dict[str, set[int]]) -> None:
        """End it."""
        self.scene.broker.kill()
        before.update({worker: set() for worker in before})  # its successor counts its connections from the beginning

    def mend(self, redis: Redis) -> None:
        """Start it, with the user that it has forgotten."""
        self.scene.broker.start()


KINDS: tuple[type[Interruption], ...] = (Closed, Killed, Reset, Silenced, FloodedBuffer, Barred, Restarted)

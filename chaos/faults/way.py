"""Something between the daemon and its data: rights, a password, a proxy, a failover, or a Stream that is cut."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

import redis

from chaos.brokers import USER
from chaos.delivery import STREAM
from chaos.faults.broker import QUICK, NoRoom
from chaos.faults.fault import Fault
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from invalidator.embedded import RedisServer


class TakenRight(Fault):
    """ACL SETUSER … resetchannels: Redis ends the subscription, and refuses the next one until the right is back."""

    name = "acl"
    title = "ACL change and back"
    hold = 1.5
    setting: ClassVar = {**QUICK, "way": "user"}

    def inject(self) -> None:
        """Take it."""
        self._order("resetchannels")

    def heal(self) -> None:
        """Give it back."""
        self._order("allchannels")

    def _order(self, right: str) -> None:
        with self.scene.redis() as redis:
            redis.execute_command("ACL", "SETUSER", USER, right)  # type: ignore[no-untyped-call]


class ChangedPassword(Fault):
    """Another password, connections closed; the file that the daemon reads has the old one for a while."""

    name = "password"
    title = "password change"
    hold = 1.0
    recovery = 60.0
    """Seconds: a wrong password is tried again after up to 30."""
    setting: ClassVar = {**QUICK, "way": "user"}

    def inject(self) -> None:
        """Change it."""
        self._password = f"another-{self.chance.getrandbits(32)}"
        with self.scene.redis() as redis:
            redis.execute_command("ACL", "SETUSER", USER, "resetpass", f">{self._password}")  # type: ignore[no-untyped-call]
            redis.execute_command("CLIENT", "KILL", "USER", USER)  # type: ignore[no-untyped-call]

    def heal(self) -> None:
        """Write it into the file."""
        file = self.scene.way.password_file
        assert file is not None
        file.write_text(self._password)


class KilledMaster(Fault):
    """SIGKILL of the master; Sentinel makes a master of its replica. The old one comes back as a replica."""

    name = "sentinel-kill"
    title = "Sentinel failover by kill"
    times = 2
    hold = 0.5
    recovery = 60.0
    setting: ClassVar = {**QUICK, "way": "sentinel"}
    programs = ("redis-server",)

    def prepare(self) -> None:
        """Both of them, by their ports."""
        way = self.scene.way
        self._servers = {server.port: server for server in (way.server, *way.others)}

    def inject(self) -> None:
        """End the one that is the master now."""
        self._victim = self._servers[self._master()]
        self.end(self._victim)
        wait_until(lambda: self._master() not in (0, self._victim.port), 30, "nobody was elected")

    def heal(self) -> None:
        """Bring it back, and wait until it follows the other one: a failover needs a replica."""
        self.bring_back(self._victim)
        sentinels = self.scene.way.sentinels
        assert sentinels is not None
        wait_until(lambda: _role(self._victim) == "slave", 30, "the old master does not follow the new one")

    def end(self, server: RedisServer) -> None:
        """It dies."""
        server.kill()

    def bring_back(self, server: RedisServer) -> None:
        """It starts again, still taking itself for what it was."""
        server.start()

    def _master(self) -> int:
        sentinels = self.scene.way.sentinels
        assert sentinels is not None
        return sentinels.master()


class StoppedMaster(KilledMaster):
    """SIGSTOP of the master: its connections stay open while another one is elected."""

    name = "sentinel-stop"
    title = "Sentinel failover by stop"

    def end(self, server: RedisServer) -> None:
        """It says nothing any more."""
        server.stop()

    def bring_back(self, server: RedisServer) -> None:
        """It goes on, and is told that it is no master."""
        server.cont()


class TrimmedStream(NoRoom):
    """The Stream is emptied while the daemon cannot connect: what it missed is gone for good."""

    name = "trimmed"
    title = "stream trimmed"
    modes = ("journal",)

    def heal(self) -> None:
        """Cut it, and let the daemon in."""
        self.admin.xtrim(STREAM, maxlen=1, approximate=False)
        super().heal()


class IdleProxy(Fault):
    """HAProxy ends a line on which nothing has come for less than a heartbeat, and nothing comes."""

    name = "proxy-idle"
    title = "HAProxy: idle timeout"
    hold = 2.0
    setting: ClassVar = {"way": "proxy"}
    programs = ("haproxy",)

    def inject(self) -> None:
        """Set the timeout, and stop the load."""
        self._idle("700ms")
        self.scene.writer.send_signal(signal.SIGSTOP)

    def heal(self) -> None:
        """Let it go on, on a line that lasts."""
        self._idle("1h")
        self.scene.writer.send_signal(signal.SIGCONT)

    def _idle(self, after: str) -> None:
        assert self.scene.way.proxy is not None
        self.scene.way.proxy.end_idle_lines(after)


class SwitchedProxy(Fault):
    """HAProxy sends new connections to another Redis; the subscription stays with the one that nobody publishes to."""

    name = "proxy-switch"
    title = "HAProxy: backend switch"
    times = 2
    hold = 1.0
    setting: ClassVar = {**QUICK, "way": "proxy"}
    programs = ("haproxy",)

    def prepare(self) -> None:
        """It begins with the first."""
        self._now = "first"

    def inject(self) -> None:
        """Change it, and close the publisher's connection; the daemon has to find out for itself."""
        self._now = "second" if self._now == "first" else "first"
        way = self.scene.way
        assert way.proxy is not None
        way.proxy.use(self._now)
        with self.scene.redis_at(way.server if self._now == "second" else way.others[0]) as old:
            old.execute_command("CLIENT", "KILL", "TYPE", "normal")  # type: ignore[no-untyped-call]


def _role(server: RedisServer) -> str:
    with suppress(redis.RedisError, OSError), redis.Redis.from_url(server.url, socket_timeout=2) as client:
        return str(client.info("replication")["role"])
    return ""

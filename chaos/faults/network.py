"""Packets between the daemon and its Redis are lost, late, or answered with a reset.

Everything runs in a network namespace in which there is only a loopback (chaos/namespace.py). The daemon finds Redis at
an address of its own, so that publishers, and the caches, do not notice.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import ClassVar

from redis import Redis

from chaos import namespace, programs
from chaos.brokers import APART
from chaos.faults.fault import Fault
from invalidator.stage.process import Child

_TABLE = "add table ip chaos\nadd chain ip chaos input { type filter hook input priority 0; }\n"
_LATE = 0.05
"""Seconds: with packets that are on time, an answer takes a fraction of a millisecond."""


class Packets(Fault):
    """Every packet of the daemon's connections, in both directions, meets `verdict`."""

    verdict: ClassVar[str]
    hold = 4.0
    setting: ClassVar = {"way": "apart"}
    programs = ("nft",)

    @classmethod
    def missing(cls) -> str:
        """It needs a network namespace as well."""
        return super().missing() or namespace.missing()

    def inject(self) -> None:
        """From now on."""
        port = self.scene.broker.port
        ends = (f"ip saddr {APART} tcp sport {port}", f"ip daddr {APART} tcp dport {port}")
        nft(*(f"{end} {self.verdict}" for end in ends))

    def heal(self) -> None:
        """And no more. Also where nothing was begun."""
        nft()


class Dropped(Packets):
    """None of them arrives: a black hole, as a firewall makes it that has forgotten a connection."""

    name = "drop"
    title = "packets dropped"
    verdict = "drop"


class Lossy(Packets):
    """Three of ten are lost."""

    name = "loss"
    title = "30 % of packets lost"
    least = 20
    verdict = "numgen random mod 100 < 30 drop"

    def trace(self) -> int:
        """What was sent again, by anybody in this namespace: TCP makes up for it, mostly within the deadline."""
        names, numbers = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if "Tcp:" in line)
        return int(numbers[names.index("RetransSegs")])


class Reset(Packets):
    """Each is answered with a reset: the connection ends, and no other one can be made."""

    name = "reset"
    title = "RST"
    hold = 1.0
    verdict = "tcp flags & rst == 0 reject with tcp reset"
    """Not a reset itself: it comes the same way."""


class Delayed(Fault):
    """What Redis sends to the daemon arrives 100 ms later, give or take 20 ms: by netem, or by a queue of our own."""

    name = "delay"
    title = "packets delayed 100 ms ± 20 ms"
    hold = 4.0
    setting: ClassVar = {"way": "apart"}

    @classmethod
    def missing(cls) -> str:
        """One of the two ways has to be there."""
        if why := super().missing() or namespace.missing():
            return why
        if namespace.has_netem() or (programs.find("iptables") and namespace.has_queue()):
            return ""
        return "neither netem (tc) nor NFQUEUE (iptables, and NetfilterQueue for Python) is on this machine"

    def inject(self) -> None:
        """From now on; an answer that we ask for on the daemon's way is late, too."""
        self._begin(self.scene.broker.port)
        with Redis(APART, self.scene.broker.port, socket_timeout=5) as redis:
            redis.ping()
            asked = time.monotonic()
            redis.ping()
            self.done += time.monotonic() - asked > _LATE

    def trace(self) -> int:
        """The injections after which it was."""
        return self.done

    def _begin(self, port: int) -> None:
        if namespace.has_netem():
            for command in namespace.netem(APART, "delay 100ms 20ms"):
                subprocess.run(command, check=True, capture_output=True)
            return
        self._queue = Child(
            ["chaos.delay", "0.1", "0.02", str(self.chance.getrandbits(32))], self.scene.folder / "delay.log"
        )
        assert self._queue.listen() == "delaying"
        self._rule("-I", port)

    def heal(self) -> None:
        """And no more: what is still held back is let through first."""
        if namespace.has_netem():
            subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=False, capture_output=True)
            return
        self._rule("-D", self.scene.broker.port)
        self._queue.ask("end")
        self._queue.close()

    @staticmethod
    def _rule(action: str, port: int) -> None:
        match = ["INPUT", "-p", "tcp", "-s", APART, "--sport", str(port)]
        queue = ["-j", "NFQUEUE", "--queue-num", "1"]
        subprocess.run(["iptables", "-w", action, *match, *queue], check=True, capture_output=True)


def nft(*rules: str) -> None:
    """From now on these rules, and no earlier ones, are for what arrives."""
    anew = "add table ip chaos\ndelete table ip chaos\n"
    added = _TABLE + "".join(f"add rule ip chaos input {rule}\n" for rule in rules) if rules else ""
    subprocess.run(["nft", "-f", "-"], input=anew + added, text=True, check=True, capture_output=True)

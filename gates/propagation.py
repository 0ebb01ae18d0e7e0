"""Publish to purged: p99 below 50 ms, of `invalidator bench --assert-p99`, with the publisher in another process.

50 ms are an absolute time, and a shared machine can take any time it likes from us. So beside the daemon a bare loop
hears the same messages, in the same seconds. A p99 in time passes, however busy the machine was. One that is late is
held against us only if the bare loop was well: then the machine was not the reason. Otherwise nobody can say; it is
tried again, and at the end the gate fails, with that reason. It never passes for want of a quiet machine.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import PATTERN
from benchmarks.peers.peer import connected
from gates.commands import done, end_of
from gates.gate import Verdict
from gates.hearer import END
from invalidator.embedded import find_memcached, find_redis, memcached_server, redis_server
from invalidator.stage.process import Child
from tests.support.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LIMIT = 0.050
WELL = 0.010
"""What p99 of the bare loop may be for us to be judged by ours: a fifth of what we are allowed. It has much less to do,
and on a machine of which it says 1 ms or less everybody has his processor when he asks for it."""
REACHED = 0.95
"""Of the rate: with less, it was another load."""
_NO = 1
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What `invalidator bench` said, with its exit code, and what the bare loop had meanwhile (`heard` messages)."""

    rate: float
    code: int
    report: Mapping[str, Any]
    trouble: str
    bare_p99: float | None
    bare_heard: int

    @property
    def lanes(self) -> dict[str, float | None]:
        """p99 of each."""
        return {lane["backend"]: lane["seconds"]["p99"] for lane in self.report.get("latency", ())}

    @property
    def is_well(self) -> bool:
        """Whether a bare loop got all of it, and in time."""
        published = max((lane["published"] for lane in self.report.get("latency", ())), default=0)
        return self.bare_p99 is not None and self.bare_p99 < WELL and 0 < published <= self.bare_heard


def judged(measured: Measured) -> Verdict:
    """Pure."""
    if measured.code not in (0, _NO) or not measured.lanes:
        return Verdict("failed", f"could not be measured: {measured.trouble}")
    ours = ", ".join(f"{name} {_shown(p99)}" for name, p99 in measured.lanes.items())
    said = f"p99 {ours}; bare loop {_shown(measured.bare_p99)}"
    figures = {"p99": measured.lanes, "bare_p99": measured.bare_p99, "limit": LIMIT, "well": WELL}
    reached = min(lane["reached"] for lane in measured.report["latency"])
    if measured.code == _NO:
        said = f"{said}; {'; '.join(measured.report['objections'])}"
        return Verdict("failed" if measured.is_well else "busy", said, figures)
    if reached < REACHED * measured.rate:
        return Verdict("busy", f"only {reached:.0f}/s of {measured.rate:.0f}/s were published; {said}", figures)
    return Verdict("passed", said, figures)


def propagation(rate: int, seconds: float, folder: Path) -> Verdict:
    """One rate, with servers of its own."""
    return judged(measure(rate, seconds, folder))


def measure(rate: int, seconds: float, folder: Path, window: str = "0ms") -> Measured:
    """The daemon on the bench, and the bare loop beside it. With a `window`, it is made slow: the negative control."""
    with ExitStack() as stack:
        broker = stack.enter_context(redis_server(folder))
        cache = stack.enter_context(memcached_server(folder))
        daemon = Daemon(folder, topology(broker.url, cache.address, folder, window))
        stack.callback(daemon.close)
        daemon.start()
        hearer = Child(["gates.hearer", str(broker.port), PATTERN], folder / "hearer.log")
        stack.callback(hearer.close)
        hearer.listen()
        words = ["bench", "-c", str(daemon.file), "--rate", str(rate), "--seconds", str(seconds), "--burst", "0"]
        said = done(["invalidator", *words, "--assert-p99", f"{LIMIT * 1000:.0f}ms", "--json"], seconds + _PATIENCE)
        with connected(broker.port) as connection:
            connection.sendall(b"PUBLISH %b .\r\n" % END.encode())
            bare = json.loads(hearer.listen())
        report = json.loads(said.stdout) if said.returncode in (0, _NO) and said.stdout else {}
        return Measured(rate, said.returncode, report, end_of(said.stderr), bare["p99"], bare["heard"])


def topology(url: str, memcached: str, folder: Path, window: str) -> dict[str, Any]:
    """An LRU in application memory, and a memcached."""
    return {
        "redis": {"url": url},
        "backends": {
            "near": {"type": "lru", "path": str(folder / "near.gen")},
            "objects": {"type": "memcached", "servers": [memcached]},
        },
        "workers": [
            {
                "pattern": PATTERN,
                "backends": ["near", {"backend": "objects", "flush": {"all": True}}],
                "allow": ["key"],
                "window": window,
            }
        ],
    }


def missing() -> str:
    """The servers that it takes."""
    if not find_redis():
        return "redis-server is not on this machine"
    return "" if find_memcached() else "memcached is not on this machine"


def _shown(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds * 1000:.2f} ms"

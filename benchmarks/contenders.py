"""Who is measured: the daemon with one worker, and its peers. Each is begun for one measurement, and then killed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from benchmarks import optional
from benchmarks.peers.peer import opened
from invalidator.embedded import find_memcached, tied
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from invalidator.embedded import Server

CHANNEL = "bench:keys"
PATTERN = "bench:*"
CacheKind = Literal["", "memcached", "redis"]
PEERS = Path(__file__).parent / "peers"
WORKER = "bench"


class Running(Protocol):
    """One that is subscribed, and hears everything from now on."""

    def handled(self) -> int:
        """How many messages it has done by now all that it does."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is for one measurement. `payload` is the length of each message's, in bytes."""

    stack: ExitStack
    folder: Path
    broker: Server
    cache: Server | None = None
    payload: int = 0

    @property
    def message(self) -> int:
        """Bytes of one message as Redis sends it to who has subscribed to the pattern."""
        words = (len("pmessage"), len(PATTERN), len(CHANNEL), self.payload)
        return 4 + sum(1 + len(str(word)) + 2 + word + 2 for word in words)


@dataclass(frozen=True, slots=True)
class Contender:
    """One of them, and the cache that it purges. `missing` says why this machine cannot measure it; empty if it can."""

    title: str
    begin: Callable[[Scene], Running]
    missing: Callable[[], str] = lambda: ""
    cache: CacheKind = ""


class Peer:
    """A peer's process. `of_bytes`: it counts bytes, of messages that are all as long as the scene says."""

    def __init__(self, scene: Scene, argv: list[str], *, of_bytes: bool = False, folder: Path | None = None) -> None:
        counter = scene.folder / "handled"
        counter.write_bytes(bytes(8))
        self._handled = opened(counter)
        self._each = scene.message if of_bytes else 1
        cache = scene.cache.port if scene.cache else 0
        words = [str(scene.broker.port), CHANNEL, PATTERN, str(counter), str(cache)]
        with (scene.folder / "peer.log").open("wb") as log:
            process = subprocess.Popen(
                tied([*argv, *words]), cwd=folder or PEERS.parents[1], stdout=subprocess.PIPE, stderr=log
            )
        scene.stack.callback(_end, process)
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{argv} did not begin: {(scene.folder / 'peer.log').read_text()[-1000:]}")

    def handled(self) -> int:
        """What it has written down."""
        return int(self._handled[0]) // self._each


class Ours:
    """The daemon, from the socket to the purged cache. `backends` as in a topology; `workers` are as many the same."""

    def __init__(self, scene: Scene, backends: Mapping[str, Mapping[str, Any]], workers: int = 1) -> None:
        flush = {"on_gap": "ignore"}  # what it flushes as it begins would be measured with what comes then
        lanes = [{"backend": name, **({} if spec["type"] == "lru" else flush)} for name, spec in backends.items()]
        worker = {"pattern": PATTERN, "backends": lanes}
        topology = {
            "redis": {"url": f"redis://127.0.0.1:{scene.broker.port}/0"},
            "backends": dict(backends),
            "workers": [{"name": f"{WORKER}{number}", **worker} for number in range(workers)],
        }
        self.daemon = Daemon(scene.folder, topology)
        scene.stack.callback(self.daemon.close)
        self.daemon.start()

    def handled(self) -> int:
        """Targets that have come to an end in each lane: a message of these has one. No other end than gone counts."""
        metrics = self.daemon.metrics()
        ends: dict[tuple[str, str], float] = {}
        for (name, labels), value in metrics.items():
            has = dict(labels)
            if name == "invalidator_targets_total":
                assert not value or has["end"] in ("purged", "coalesced", "flushed"), f"{value:.0f} are {has['end']}"
                lane = (has["worker"], has["backend"])
                ends[lane] = ends.get(lane, 0.0) + value
        return int(min(ends.values()))

    def gaps(self) -> int:
        """Times in which it may have missed something, beside its start."""
        metrics = self.daemon.metrics()
        return int(
            sum(
                value
                for (name, labels), value in metrics.items()
                if name == "invalidator_gaps_total" and ("cause", "start") not in labels
            )
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


def python(module: str, interpreter: str = sys.executable) -> list[str]:
    """The command of a peer in Python."""
    return [interpreter, "-m", f"benchmarks.peers.{module}"]


def lru(scene: Scene) -> Mapping[str, Mapping[str, Any]]:
    """Application memory."""
    return {"near": {"type": "lru", "path": str(scene.folder / "near.gen")}}


def memcached(scene: Scene) -> Mapping[str, Mapping[str, Any]]:
    """The scene's cache, which is a memcached."""
    assert scene.cache is not None
    return {"objects": {"type": "memcached", "servers": [scene.cache.address]}}


def secondary(scene: Scene) -> Mapping[str, Mapping[str, Any]]:
    """The scene's cache, which is a Redis."""
    assert scene.cache is not None
    return {"replica": {"type": "redis", "url": f"redis://{scene.cache.address}/0"}}


def limit(scene: Scene) -> Running:
    """recv() in C, or what comes nearest to it."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return Peer(scene, python("drain"), of_bytes=True)
    program = optional.BUILD / "drain"
    source = PEERS / "drain.c"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        optional.BUILD.mkdir(parents=True, exist_ok=True)
        made = program.with_suffix(f".{scene.folder.name}")  # tests may run side by side
        command = [compiler, "-O2", "-D_GNU_SOURCE", "-o", str(made), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        made.replace(program)
    return Peer(scene, [str(program)], of_bytes=True)


def _python(module: str) -> Callable[[Scene], Running]:
    return lambda scene: Peer(scene, python(module))


def _fast_stream(scene: Scene) -> Running:
    return Peer(scene, python("fast_stream", str(optional.PYTHON)))


def _node(client: str) -> Callable[[Scene], Running]:
    def begin(scene: Scene) -> Running:
        program = str(shutil.which("node"))
        return Peer(scene, [program, str(PEERS / "node.mjs"), client], folder=optional.NODE)

    return begin


LIMIT = Contender("C recv()", limit)
BARE = Contender("bare hiredis loop", _python("bare"))
BARE_PURGING = Contender("bare loop that deletes", _python("bare"), cache="memcached")
ONE_BY_ONE = Contender("unlink, one by one", _python("one_by_one"), cache="redis")
REDIS_PY = Contender("redis-py get_message", _python("redis_py"))
REDIS_ASYNCIO = Contender("redis.asyncio", _python("redis_asyncio"))
PING_EACH = Contender("a PING for each message", _python("ping_each"))
FASTSTREAM = Contender("FastStream", _fast_stream, optional.no_fast_stream)
NODE_REDIS = Contender("node-redis", _node("redis"), lambda: optional.no_node("redis"))
IOREDIS = Contender("ioredis", _node("ioredis"), lambda: optional.no_node("ioredis"))
OURS_LRU = Contender("invalidator, LRU", lambda scene: Ours(scene, lru(scene)))
OURS_MEMCACHED = Contender("invalidator, memcached", lambda scene: Ours(scene, memcached(scene)), cache="memcached")
OURS_SECONDARY = Contender("invalidator, secondary Redis", lambda scene: Ours(scene, secondary(scene)), cache="redis")


def no_memcached() -> str:
    """Why nothing can be said of memcached."""
    return "" if find_memcached() else "memcached is not on this machine"


def await_handled(running: Running, count: int, patience: float = 20.0) -> None:
    """Until it has done so many. AssertionError when its patience has ended."""
    wait_until(lambda: running.handled() >= count, patience, lambda: f"{running.handled()} of {count} were handled")

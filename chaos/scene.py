"""What stands on the stage: Redis, four real caches, the application that refills them, the load, and the daemon."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from chaos import brokers, ledger
from chaos.clock import Clock
from chaos.pages import PageCache
from invalidator.control.client import Client
from invalidator.control.protocol import GetStatus
from invalidator.stage import truth
from invalidator.stage.caches import FLUSHES, start_caches
from invalidator.stage.process import Child
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from chaos.brokers import Broker, Way
    from chaos.delivery import Mode
    from invalidator.embedded import RedisServer, Server
    from invalidator.stage.caches import Caches
    from invalidator.stage.truth import Truth

REPOSITORY = Path(__file__).parents[1]
CHANNEL = "cache:invalidate:shop:products"
PATTERN = "cache:invalidate:shop:*"
HOT = 200
LANES: Mapping[str, tuple[str, ...]] = {"memory": ("lru", "redis"), "stores": ("memcached", "http")}
"""Who purges what: two workers, so that each has a sibling that must not notice what befalls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How one scene is set. `rate` is messages in a second, `seconds` the longest that it may last under load.

    `moody`: the daemon reaches the HTTP cache through chaos/moody.py; `clock`: its wall clock can be set.
    `guard` names one of chaos/guards.py that is switched off in the daemon. `way` is
    how the daemon gets to Redis (chaos/brokers.py); `redis`, `workers` and `supervisor` go into the topology.
    """

    mode: Mode = "pubsub"
    rate: int = 2_000
    seconds: float = 60.0
    seed: int = 1
    guard: str = ""
    way: Way = "plain"
    moody: bool = False
    clock: bool = False
    redis: Mapping[str, Any] = field(default_factory=dict)
    workers: Mapping[str, Any] = field(default_factory=dict)
    supervisor: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def products(self) -> int:
        """Enough that no cold key changes twice, see writer.changes."""
        return HOT + int(self.rate * self.seconds / 2) + 1


class Watched(Daemon):
    """The daemon under test, perhaps with one of its guards switched off."""

    def __init__(
        self,
        folder: Path,
        topology: Mapping[str, Any],
        setting: Setting,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        if setting.guard:
            self.program = (sys.executable, "-m", "chaos.weakened", setting.guard)
        super().__init__(folder, topology, {"PYTHONPATH": str(REPOSITORY), **setting.environment, **environment})

    def pids_by_name(self) -> dict[str, int]:
        """The workers' processes, as the supervisor tells them."""
        with Client(self.control, patience=5.0) as client:
            status = client.ask(GetStatus()).status
        return {worker.name: worker.pid for worker in status.workers if worker.pid} if status else {}

    def start_again(self) -> None:
        """Its successor, once it has ended; returns when that is ready."""
        self.wait()
        self.start()


class Scene:
    """Everything that a fault may touch. `broker` carries the messages, `caches` are what is purged."""

    def __init__(self, folder: Path, setting: Setting, way: Broker, caches: Caches, database: Truth) -> None:
        self.folder = folder
        self.setting = setting
        self.way = way
        self.broker = way.server
        self.caches = caches
        self.truth = database
        self.mood: Child
        self.moody = ""
        self.clock: Clock
        self.writer: subprocess.Popen[bytes]
        self.run: Watched
        self.application: Child

    @property
    def ledger(self) -> Path:
        """Where the workers' ledger backends write, see ledger.of."""
        return self.folder / "ledger"

    @property
    def ticks(self) -> Path:
        """What the load has published, and when: a line for each pipeline, its monotonic second and its keys."""
        return self.folder / "ticks"

    def redis(self) -> AbstractContextManager[Redis]:
        """A connection of our own to the Redis that new messages go to."""
        return self.redis_at(self.way.current())

    @contextmanager
    def redis_at(self, server: RedisServer) -> Iterator[Redis]:
        """The same to one of several."""
        with closing(Redis.from_url(server.url, socket_timeout=5)) as client:
            yield client

    def under_load(self, seconds: float) -> None:
        """Let the load go on for so long: as many messages as are published in it, or that time if none can be."""
        goal = self.truth.published + int(seconds * self.setting.rate)
        with suppress(AssertionError):
            wait_until(lambda: self.truth.published >= goal, 2 * seconds + 0.5)

    @contextmanager
    def load(self) -> Iterator[None]:
        """The writer and the reader at work, until the end of the block; then every change has been published."""
        setting = self.setting
        words = [self.way.url, CHANNEL, str(self.folder / "truth"), str(HOT), str(setting.rate), setting.mode]
        arguments = [*words, str(setting.seed), str(self.ticks)]
        self.application.ask("read")
        with (self.folder / "writer.log").open("ab") as log:
            self.writer = writer = subprocess.Popen(
                [sys.executable, "-m", "chaos.writer", *arguments],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        try:
            wait_until(lambda: writer.poll() is not None or self.truth.published > 0, 20, self._why("writer"))
            yield
            assert writer.poll() is None, f"the load ended before its time: {self._why('writer')()}"
        finally:
            try:
                writer.communicate(timeout=90)
            finally:
                writer.kill()
        assert writer.returncode == 0, self._why("writer")()
        self.application.ask("rest")

    def _why(self, name: str) -> Any:
        return lambda: (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]


def pause(seconds: float) -> None:
    """A fault lasts as long as it is told to."""
    threading.Event().wait(seconds)


@contextmanager
def built(folder: Path, setting: Setting) -> Iterator[Scene]:
    """The whole scene: every cache filled with what changes first, and the daemon ready."""
    with ExitStack() as stack:
        truth.create(folder / "truth", setting.products)
        database = stack.enter_context(truth.opened(folder / "truth"))
        way = brokers.opened(stack, _subfolder(folder, "broker"), setting.way, journal=setting.mode == "journal")
        scene = Scene(folder, setting, way, _caches(stack, folder), database)
        shutil.copy(ledger.__file__, folder / "ledger_plugin.py")
        environment: Mapping[str, str] = {}
        if setting.moody:
            scene.mood = Child(["chaos.moody", scene.caches.addresses["http"]], folder / "moody.log")
            stack.callback(scene.mood.close)
            scene.moody = scene.mood.listen()
        if setting.clock:
            scene.clock = Clock(folder)
            environment = scene.clock.environment
        scene.run = Watched(folder, topology(scene), setting, environment)
        stack.callback(scene.run.close)
        scene.run.start()
        arguments = [
            str(folder / "truth"),
            str(HOT),
            str(max(100, setting.rate // 2)),
            json.dumps(scene.caches.addresses),
        ]
        scene.application = Child(["chaos.application", *arguments], folder / "application.log")
        stack.callback(scene.application.close)
        yield scene


def _subfolder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _caches(stack: ExitStack, folder: Path) -> Caches:
    """The stage's own, with a real HTTP cache where there is one."""
    caches = start_caches(stack, folder, folder / "truth")
    origin = Child(["chaos.origin", str(folder / "truth")], folder / "origin.log")
    stack.callback(origin.close)
    with suppress(pytest.skip.Exception):  # Varnish is not on this machine: the small cache of the stage stays
        pages = PageCache(_subfolder(folder, "varnish"), origin.listen())
        stack.callback(pages.kill)
        pages.start()
        caches.servers["http"].kill()
        caches.servers["http"], caches.addresses["http"] = pages, pages.address
    return caches


def topology(scene: Scene) -> dict[str, Any]:
    """What the daemon is given: each cache with its flush, and a ledger for each worker that is never flushed."""
    setting, caches = scene.setting, scene.caches
    backends = caches.backends()
    if isinstance(caches.servers["http"], PageCache):
        backends["http"]["tag_header"] = "xkey-purge"
    if scene.moody:
        backends["http"]["targets"] = [f"http://{scene.moody}"]
    secret = {"password_file": str(scene.way.password_file)} if scene.way.password_file else {}
    backends["ledger"] = {"type": "ledger", "path": str(scene.ledger)}
    return {
        "redis": {"url": scene.way.daemon_url, **secret, **setting.redis},
        "supervisor": dict(setting.supervisor),
        "plugins": [*caches.addresses, "./ledger_plugin.py"],
        "backends": backends,
        "workers": [
            {"name": name, "pattern": PATTERN, "delivery": setting.mode, "backends": lanes(kinds), **setting.workers}
            for name, kinds in LANES.items()
        ],
    }


def lanes(kinds: Sequence[str]) -> list[dict[str, Any]]:
    """A worker's backends."""
    return [*({"backend": kind, **FLUSHES[kind]} for kind in kinds), {"backend": "ledger", "on_gap": "ignore"}]


def server_of(scene: Scene, kind: str) -> Server:
    """The process of one cache."""
    return scene.caches.servers[kind]


@contextmanager
def hung_cache(scene: Scene, kind: str) -> Iterator[None]:
    """This cache says nothing meanwhile, and the application leaves it alone."""
    scene.application.ask(f"leave {kind}")
    server_of(scene, kind).stop()
    try:
        yield
    finally:
        server_of(scene, kind).cont()
        scene.application.ask(f"join {kind}")

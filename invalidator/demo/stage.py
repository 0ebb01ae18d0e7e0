"""Everything that the demo runs: the servers, the shop's processes, and the real daemon with a topology of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import yaml

from invalidator.demo import http_cache, truth
from invalidator.demo.readings import Readings, ask, parse
from invalidator.embedded import RedisServer, find_memcached, free_port, memcached_server, redis_server, tied
from invalidator.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CHANNEL = "cache:invalidate:shop:products"
READY_TIMEOUT = 20.0
HOT = 200
KINDS = ("lru", "redis", "memcached", "http")


class Child:
    """A process of ours that ends with its standard input, and with us at the latest. Talks in lines of JSON."""

    def __init__(self, argv: list[str], log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter and modules
                tied([sys.executable, "-m", *argv]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def ask(self, command: str) -> Any:
        """Say one line, and wait for the answer."""
        assert self._process.stdin is not None  # noqa: S101 -- for the type checker: it was asked for above
        with suppress(BrokenPipeError):  # it has ended: that is said below
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        return json.loads(self.listen())

    def listen(self) -> str:
        """Its next line. Raises UnreachableError with the end of its log when it has ended instead."""
        assert self._process.stdout is not None  # noqa: S101 -- see above
        if line := self._process.stdout.readline():
            return line.strip()
        raise UnreachableError(f"a process of the demo has ended: {self.last_words()}")

    def check_end(self) -> None:
        """Raises UnreachableError with the end of its log when it has ended with an error."""
        if self._process.poll():
            raise UnreachableError(f"a process of the demo has failed: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-2000:].strip() or "it said nothing"

    def terminate(self, timeout: float) -> int:
        """SIGTERM, and SIGKILL after `timeout` seconds; the exit code."""
        self._process.terminate()
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def close(self) -> None:
        """Kill it; it holds nothing that anybody needs."""
        self._process.kill()
        self._process.communicate()


class Stage:
    """What is there while the demo runs. `addresses` are those of the caches, by the type of their backend."""

    def __init__(self, directory: Path, broker: RedisServer, addresses: dict[str, str], absent: list[str]) -> None:
        self.directory = directory
        self.broker = broker
        self.addresses = addresses
        self.absent = absent
        self.metrics = f"127.0.0.1:{free_port()}"
        self.truth = directory / "truth"
        self.daemon: Child
        self.shop: Child

    def is_ready(self) -> bool:
        """Whether every worker's subscription is confirmed."""
        return ask(self.metrics, "/readyz")[0] == 200

    def readings(self) -> Readings:
        """What the daemon says of itself now; nothing if it does not answer."""
        return parse(ask(self.metrics, "/metrics")[1])


@contextmanager
def built(directory: Path, products: int, *, guards: bool) -> Iterator[Stage]:
    """The whole stage, the caches warm and the daemon ready. `guards` off: gaps are ignored, as a control."""
    with ExitStack() as stack:
        truth.create(directory / "truth", products)
        broker = stack.enter_context(redis_server(directory))
        addresses, absent = _start_caches(stack, directory)
        stage = Stage(directory, broker, addresses, absent)
        file = directory / "topology.yaml"
        file.write_text(yaml.safe_dump(topology(stage, guards=guards), sort_keys=False))
        stage.daemon = _child(stack, ["invalidator", "run", "-c", str(file)], directory / "daemon.log")
        _await_ready(stage)
        arguments = [str(stage.truth), str(HOT), json.dumps(addresses)]
        stage.shop = _child(stack, ["invalidator.demo.shop", *arguments], directory / "shop.log")
        stage.shop.ask("warm")
        yield stage


def topology(stage: Stage, *, guards: bool) -> dict[str, Any]:
    """The topology that the daemon gets."""
    options: dict[str, Mapping[str, Any]] = {
        "lru": {"path": stage.addresses.get("lru")},
        "redis": {"url": stage.addresses.get("redis")},
        "memcached": {"servers": [stage.addresses.get("memcached")]},
        "http": {"targets": [f"http://{stage.addresses.get('http')}"], "path": "/{key}", "tag_header": "xkey"},
    }
    flushes: dict[str, Mapping[str, Any]] = {
        "redis": {"flush": {"prefix": truth.PREFIX}},
        "memcached": {"flush": {"all": True}},
        "http": {"flush": {"tags": [http_cache.TAG]}},
    }
    worker = {
        "name": "shop",
        "pattern": "cache:invalidate:shop:*",
        "backends": [{"backend": kind, **(flushes.get(kind, {}) if guards else {})} for kind in stage.addresses],
    }
    return {
        "redis": {"url": stage.broker.url, "backoff": {"first": "50ms", "longest": "500ms"}},
        "supervisor": {
            "control_socket": str(stage.directory / "control.sock"),
            "state_dir": str(stage.directory / "state"),
            "metrics": stage.metrics,
        },
        "backends": {kind: {"type": kind, **options[kind]} for kind in stage.addresses},
        "workers": [worker if guards else worker | {"on_gap": "ignore", "flush_on_start": False}],
    }


def _start_caches(stack: ExitStack, directory: Path) -> tuple[dict[str, str], list[str]]:
    installed = {point.name for point in entry_points(group="invalidator")}
    absent = [f"{kind}: no plugin (pip install invalidator-{kind})" for kind in KINDS if kind not in installed]
    addresses: dict[str, str] = {}
    if "lru" in installed:
        addresses["lru"] = str(directory / "shop.gen")
    if "redis" in installed:
        replica = directory / "replica"
        replica.mkdir()
        addresses["redis"] = stack.enter_context(redis_server(replica)).url
    if "memcached" in installed and find_memcached():
        addresses["memcached"] = stack.enter_context(memcached_server(directory)).address
    elif "memcached" in installed:
        absent.append("memcached: no server (install your system's package memcached)")
    if "http" in installed:
        cache = _child(stack, ["invalidator.demo.http_cache", str(directory / "truth")], directory / "http_cache.log")
        addresses["http"] = cache.listen()
    if not addresses:
        raise UnreachableError("there is no cache to show: " + "; ".join(absent))
    return addresses, absent


def _child(stack: ExitStack, argv: list[str], log: Path) -> Child:
    child = Child(argv, log)
    stack.callback(child.close)
    return child


def _await_ready(stage: Stage) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while not stage.is_ready():
        if time.monotonic() > deadline or not stage.daemon.is_running:
            raise UnreachableError(f"the daemon did not become ready: {stage.daemon.last_words()}")
        time.sleep(0.01)


@contextmanager
def writing(stage: Stage, rate: float, seconds: float) -> Iterator[Child]:
    """The back office at work; it ends by itself after `seconds`."""
    arguments = [stage.broker.url, CHANNEL, str(stage.truth), str(HOT), str(rate), str(seconds)]
    with ExitStack() as stack:
        yield _child(stack, ["invalidator.demo.writer", *arguments], stage.directory / "writer.log")

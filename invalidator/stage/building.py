"""Everything that stands on the stage: the servers, the application, and the real daemon with a topology of its own."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from invalidator.embedded import RedisServer, free_port, redis_server
from invalidator.errors import UnreachableError
from invalidator.stage import truth
from invalidator.stage.caches import Caches, start_caches
from invalidator.stage.process import Child
from invalidator.stage.readings import Readings, ask, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CHANNEL = "cache:invalidate:shop:products"
READY_TIMEOUT = 20.0
HOT = 200


class Stage:
    """What is there. `addresses` are those of the caches, by the type of their backend; `broker` carries messages."""

    def __init__(self, directory: Path, broker: RedisServer, caches: Caches) -> None:
        self.directory = directory
        self.broker = broker
        self.caches = caches
        self.metrics = f"127.0.0.1:{free_port()}"
        self.control = directory / "control.sock"
        self.truth = directory / "truth"
        self.file = directory / "topology.yaml"
        self.daemon: Child
        self.shop: Child

    @property
    def addresses(self) -> Mapping[str, str]:
        return self.caches.addresses

    def write_topology(self, topology: Mapping[str, Any]) -> None:
        """The daemon's file: `topology`, with places of our own for all that a daemon leaves on a disk."""
        own = {"control_socket": str(self.control), "state_dir": str(self.directory / "state"), "metrics": self.metrics}
        complete = {**topology, "supervisor": {**own, **topology.get("supervisor", {})}}
        self.file.write_text(yaml.safe_dump(complete, sort_keys=False))

    def start_daemon(self) -> None:
        """Start it, also in the place of one that has ended, and return once it is ready. Raises UnreachableError."""
        self.daemon = Child(["invalidator", "run", "-c", str(self.file)], self.directory / "daemon.log")
        deadline = time.monotonic() + READY_TIMEOUT
        while not self.is_ready():
            if time.monotonic() > deadline or not self.daemon.is_running:
                raise UnreachableError(f"the daemon did not become ready: {self.daemon.last_words()}")
            time.sleep(0.01)

    def close_daemon(self) -> None:
        """Kill the one that runs now."""
        self.daemon.close()

    def is_ready(self) -> bool:
        """Whether every worker's subscription is confirmed."""
        return ask(self.metrics, "/readyz")[0] == 200

    def readings(self) -> Readings:
        """What the daemon says of itself now; nothing if it does not answer."""
        return parse(ask(self.metrics, "/metrics")[1])


@contextmanager
def built(directory: Path, products: int) -> Iterator[Stage]:
    """The servers, without anybody who uses them yet."""
    with ExitStack() as stack:
        truth.create(directory / "truth", products)
        broker = stack.enter_context(redis_server(directory))
        yield Stage(directory, broker, start_caches(stack, directory, directory / "truth"))


@contextmanager
def open_for_business(stage: Stage, topology: Mapping[str, Any]) -> Iterator[None]:
    """The daemon, ready, with this topology; and the application, its caches warm."""
    with ExitStack() as stack:
        stage.write_topology(topology)
        stack.callback(stage.close_daemon)  # which may be another one by then
        stage.start_daemon()
        arguments = [str(stage.truth), str(HOT), json.dumps(stage.addresses)]
        stage.shop = _child(stack, ["invalidator.stage.shop", *arguments], stage.directory / "shop.log")
        stage.shop.ask("warm")
        yield


@contextmanager
def writing(stage: Stage, rate: float, seconds: float, delivery: str = "pubsub") -> Iterator[Child]:
    """The back office at work; it ends by itself after `seconds`, or when its standard input does."""
    arguments = [stage.broker.url, CHANNEL, str(stage.truth), str(HOT), str(rate), str(seconds), delivery]
    with ExitStack() as stack:
        yield _child(stack, ["invalidator.stage.writer", *arguments], stage.directory / "writer.log")


def _child(stack: ExitStack, argv: list[str], log: Path) -> Child:
    child = Child(argv, log)
    stack.callback(child.close)
    return child

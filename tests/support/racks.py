"""A worker's caches in the stateful test: one of each kind, an application with memory of its own, and what is true."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from invalidator.stage import truth
from invalidator.stage.caches import FLUSHES, start_caches
from invalidator.stage.process import Child
from invalidator.stage.shop import SHARED
from tests.support.required import require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from invalidator.stage.stores import Store

PRODUCTS = 40
HOST = "shop.example"


class Rack:
    """Real caches, and whoever fills them.

    The race of a refill is the generator's own, and must not be mistaken for a loss: a version that was read before a
    change and stored after the purge stays, whatever a daemon does. So a refill reads the truth and has the answer to
    its store before it returns, while nobody changes anything; and it leaves out a cache that is stopped, which would
    carry out the store much later, perhaps after a purge that came by another connection. The HTTP cache and the
    application's memory fill themselves, and have guards of their own for this very race.
    """

    def __init__(self, name: str, delivery: str, folder: Path, stack: ExitStack) -> None:
        for program in ("redis", "memcached"):
            require(program)
        self.name = name
        self.delivery = delivery
        self.channel = f"cache:invalidate:{name}:products"
        file = folder / "truth"
        truth.create(file, PRODUCTS)
        self.truth = stack.enter_context(truth.opened(file))
        self.caches = start_caches(stack, folder, file)
        assert not self.caches.absent, self.caches.absent
        memory = json.dumps({"lru": self.caches.addresses["lru"]})
        self._application = Child(["invalidator.stage.shop", str(file), "1", memory], folder / "shop.log")
        stack.callback(self._application.close)
        self.down: set[str] = set()
        self.stopped: set[str] = set()

    @property
    def kinds(self) -> Sequence[str]:
        """The caches with a server, which can be hurt."""
        return sorted(self.caches.servers)

    def backends(self) -> dict[str, Any]:
        """A topology's backends; each is `RACK-KIND`. Impatient, so that a hanging one is soon asked again."""
        brief: dict[str, Any] = {
            "redis": {"timeout": "200ms"},
            "memcached": {"timeout": "200ms"},
            "http": {"timeouts": {"connect": "200ms", "read": "200ms", "total": "400ms"}, "hosts": [HOST]},
        }
        made = self.caches.backends()
        return {f"{self.name}-{kind}": {**options, **brief.get(kind, {})} for kind, options in made.items()}

    def worker(self, **settings: Any) -> dict[str, Any]:
        """A topology's worker for these caches."""
        lanes = [
            {"backend": f"{self.name}-{kind}", "unsupported": "flush", **FLUSHES[kind]}
            for kind in self.caches.addresses
        ]
        return {
            "name": self.name,
            "pattern": f"cache:invalidate:{self.name}:*",
            "delivery": self.delivery,
            "allow": ["key", "tag", "prefix", "pattern", "url", "all"],
            "backends": lanes,
            **settings,
        }

    def refill(self, keys: Sequence[str]) -> None:
        """Have every cache that is well hold the present version of these keys, unless it holds another one still."""
        self._application.ask("warm")
        for kind in self.kinds:
            if kind not in self.down | self.stopped:
                # Between a restart and now nobody has spoken to it: a connection of its own for each refill.
                self._with(kind, lambda store: store.refill(keys, self.truth))

    def held(self, kind: str) -> Mapping[str, int]:
        """What this cache would answer with now."""
        if kind == "lru":
            served: dict[str, int] = self._application.ask("served")
            return served
        found: dict[str, int] = {}
        self._with(kind, lambda store: found.update(store.held(self.truth.keys)))
        return found

    def stale(self) -> dict[str, list[str]]:
        """The keys of which a cache holds another version than the true one, by kind of cache."""
        found = {kind: self._outdated(self.held(kind)) for kind in self.caches.addresses}
        return {kind: keys for kind, keys in found.items() if keys}

    def forget(self, kind: str) -> None:
        """Empty a cache behind the daemon's back, as an operator does."""
        commands = {
            "redis": b"FLUSHALL\r\n",
            "memcached": b"flush_all\r\n",
            "http": b"PURGE / HTTP/1.1\r\nxkey: product\r\n\r\n",
        }
        if kind not in self.down | self.stopped:
            with self.caches.servers[kind].connect() as line:
                line.sendall(commands[kind])
                assert line.recv(4096)

    def kill(self, kind: str) -> None:
        """SIGKILL a cache's server; `heal` starts it again, empty."""
        self.caches.servers[kind].kill()
        self.stopped.discard(kind)
        self.down.add(kind)

    def start(self, kind: str) -> None:
        if kind in self.down:
            self.caches.servers[kind].start()
            self.down.discard(kind)

    def stop(self, kind: str) -> None:
        """SIGSTOP it: it accepts, and answers nothing."""
        if kind not in self.down:
            self.caches.servers[kind].stop()
            self.stopped.add(kind)

    def cont(self, kind: str) -> None:
        if kind in self.stopped:
            self.caches.servers[kind].cont()
            self.stopped.discard(kind)

    def heal(self) -> None:
        """Every cache is there again."""
        for kind in self.kinds:
            self.cont(kind)
            self.start(kind)

    def _outdated(self, held: Mapping[str, int]) -> list[str]:
        return [
            f"{key}={version}<{self.truth.version(key)}"
            for key, version in held.items()
            if version != self.truth.version(key)
        ]

    def _with(self, kind: str, use: Callable[[Store], None]) -> None:
        with closing(SHARED[kind](self.caches.addresses[kind])) as store:
            use(store)

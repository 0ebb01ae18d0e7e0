"""`make screenshot`: the status page of a real daemon with real servers and traffic, as docs/status-page.png.

With arguments, pictures of other widths or schemes go elsewhere: `python -m tests.support.screenshot 360 dark FILE`.
"""

from __future__ import annotations

import math
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invalidator import Publisher
from tests.support.browser import Browser
from tests.support.caches import Nginx
from tests.support.daemon import Daemon
from tests.support.environments import REPOSITORY
from tests.support.origin import Origin
from tests.support.stores import MemcachedServer, RedisServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.embedded import Server

PICTURE = REPOSITORY / "docs" / "status-page.png"
LARGEST = 150 * 1024
WIDTH = 1280
_POINTS = 55
_TICK = 0.05


def topology(broker: RedisServer, replica: RedisServer, objects: MemcachedServer, edge: Nginx) -> dict[str, Any]:
    """A shop: two patterns, four caches."""
    backends = {
        "near": {"type": "lru", "path": str(broker.directory / "shop.gen")},
        "objects": {"type": "memcached", "servers": [objects.address]},
        "edge": {"type": "http", "targets": [edge.url], "method": "GET", "path": "/purge/{key}"},
        "replica": {"type": "redis", "url": replica.url},
    }
    users = ["near", {"backend": "objects", "flush": {"all": True}}, {"backend": "edge", "on_gap": "ignore"}]
    prices = ["near", {"backend": "replica", "flush": {"prefix": "prices:"}}]
    workers = [
        {"name": "users", "pattern": "shop:users:*", "backends": users},
        {"name": "prices", "pattern": "shop:prices:*", "backends": prices},
    ]
    return {"redis": {"url": broker.url}, "backends": backends, "workers": workers}


@contextmanager
def trading(url: str) -> Iterator[None]:
    """The shop's services publish what they change: now more, now less."""
    closed = threading.Event()

    def publish() -> None:
        with Publisher(url) as publisher:
            ticks = 0
            while not closed.wait(_TICK):
                ticks += 1
                wave = 1 + 0.5 * math.sin(ticks * _TICK / 5) + 0.25 * math.sin(ticks * _TICK / 1.3)
                for number in range(int(14 * wave)):
                    publisher.invalidate("shop:users:profile", [f"users:{ticks % 500 * 20 + number}"])
                if ticks % 60 < 12:
                    publisher.invalidate("shop:prices:list", [f"prices:{ticks % 700}"])

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()


def picture(width: int, *, dark: bool) -> bytes:
    """The page after a minute of trade."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shop-")))

        def started(server: Server) -> None:
            stack.callback(server.kill)
            server.start()

        def made(name: str) -> Path:
            (folder / name).mkdir()
            return folder / name

        origin = Origin()
        stack.callback(origin.close)
        servers = (RedisServer(made("broker")), RedisServer(made("replica")), MemcachedServer(made("objects")))
        edge = Nginx(made("edge"), origin.address)
        for server in (*servers, edge):
            started(server)
        daemon = Daemon(made("daemon"), topology(*servers, edge))
        stack.callback(daemon.close)
        daemon.start()
        stack.enter_context(trading(servers[0].url))
        browser = stack.enter_context(Browser(made("chromium")))
        with browser.tab(width=width, dark=dark) as tab:
            tab.open(f"http://{daemon.address}/")
            points = "document.querySelector('.trace')?.points.length ?? 0"
            wait_until(lambda: tab.run(points) >= _POINTS, 120, daemon.logs)
            return tab.screenshot()


def main(arguments: list[str]) -> None:
    """Draw it, and say where it is."""
    width = next((int(word) for word in arguments if word.isdecimal()), WIDTH)
    file = next((Path(word) for word in arguments if word.endswith(".png")), PICTURE)
    image = picture(width, dark="dark" in arguments)
    if len(image) > LARGEST:
        sys.exit(f"the picture has {len(image):,} bytes, more than {LARGEST:,}")
    file.write_bytes(image)
    print(f"{file}: {len(image):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])

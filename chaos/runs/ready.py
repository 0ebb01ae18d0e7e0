"""The daemon says READY, and a message is published at that very moment: it must be applied."""

from __future__ import annotations

import shutil
import socket
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any

from redis import Redis

from chaos import delivery, ledger
from chaos.runs.run import Found, Run
from chaos.scene import Setting, Watched
from invalidator.embedded import redis_server
from invalidator.stage import truth
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.runs.run import Task

CHANNEL = "cache:invalidate:shop:products"
WORKER = "shop"
PATIENCE = 3.0
START = 15.0
"""Seconds in which a daemon has started, on a busy machine too."""


def _do(task: Task) -> Found:
    starts = task.sized(200, 3)
    return Found(starts, {"asked": starts, "applied": applied(task.folder, task.setting(), starts)})


def applied(folder: Path, setting: Setting, starts: int) -> int:
    """Of so many messages, each published when a new daemon said READY, how many were applied."""
    shutil.copy(ledger.__file__, folder / "ledger_plugin.py")
    (folder / "broker").mkdir()
    with ExitStack() as stack:
        broker = stack.enter_context(redis_server(folder / "broker"))
        outbox = stack.enter_context(delivery.opened(broker.url, CHANNEL, setting.mode))
        admin = stack.enter_context(closing(Redis.from_url(broker.url, socket_timeout=5)))
        notify = stack.enter_context(closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)))
        notify.bind(str(folder / "notify"))
        outbox.send([_payload(0)])  # so that the connection stands, and the script is there
        setting = Setting(mode=setting.mode, guard=setting.guard, environment={"NOTIFY_SOCKET": str(folder / "notify")})
        admin.ping()
        return sum(_is_applied(folder, broker.url, setting, outbox, notify, number) for number in range(1, starts + 1))


def _is_applied(
    folder: Path, url: str, setting: Setting, outbox: delivery.Outbox, notify: socket.socket, number: int
) -> bool:
    file = ledger.of(folder / "ledger", WORKER)
    run = Watched(folder, _topology(folder, url, setting.mode), setting)
    notify.settimeout(20.0)
    try:
        run.start(ready=False)
        while b"READY=1" not in notify.recv(4096):
            pass
        outbox.send([_payload(number)])
        with suppress(AssertionError):
            return wait_until(lambda: f"{truth.PREFIX}{number}\n" in file.read_text(), PATIENCE)
        return False
    finally:
        run.close()
        _drain(notify)


def said_too_early(folder: Path, setting: Setting) -> bool:
    """Whether READY is said though no subscription can have been confirmed: Redis is stopped."""
    shutil.copy(ledger.__file__, folder / "ledger_plugin.py")
    environment = {"NOTIFY_SOCKET": str(folder / "notify")}
    with redis_server(folder) as broker, closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notify:
        notify.bind(environment["NOTIFY_SOCKET"])
        notify.settimeout(START)
        setting = Setting(mode=setting.mode, guard=setting.guard, environment=environment)
        run = Watched(folder, _topology(folder, broker.url, setting.mode), setting)
        broker.stop()
        try:
            run.start(ready=False)
            with suppress(TimeoutError):
                while b"READY=1" not in notify.recv(4096):
                    pass
                return True
            return False
        finally:
            broker.cont()
            run.close()


def _drain(notify: socket.socket) -> None:
    # What the last one said at its end is not the next one's word.
    notify.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            notify.recv(4096)


def _payload(number: int) -> bytes:
    return b'{"v":1,"keys":["%s%d"]}' % (truth.PREFIX.encode(), number)


def _topology(folder: Path, url: str, mode: str) -> dict[str, Any]:
    worker = {"name": WORKER, "pattern": "cache:invalidate:shop:*", "delivery": mode, "on_gap": "ignore"}
    return {
        "redis": {"url": url},
        "plugins": ["./ledger_plugin.py"],
        "backends": {"ledger": {"type": "ledger", "path": str(folder / "ledger")}},
        "workers": [{**worker, "backends": ["ledger"]}],
    }


RUNS = (Run("ready", "a message at READY", _do),)

"""`tap` against real daemons: what is heard, and what becomes of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Self

from tests.support.operating import topology
from tests.support.stores import publish
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer


class Tapping:
    """`invalidator tap` as a process. `said` is every line of it so far."""

    def __init__(self, run: Daemon, *arguments: str) -> None:
        command = [sys.executable, "-m", "invalidator", "tap", *arguments, "-c", str(run.file)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self._reader.join()
        self.process.communicate()

    def _read(self) -> None:
        assert self.process.stdout
        self.said.extend(iter(self.process.stdout.readline, ""))

    def wait_for(self, *words: str) -> str:
        """The first line with all of these words in it."""
        lines = wait_until(lambda: [one for one in self.said if all(word in one for word in words)], why=str(words))
        return lines[0]


def begin(tapping: Tapping, server: RedisServer, channel: str) -> None:
    """Publishes until the tap shows something: it is then known to the worker."""

    def shown() -> bool:
        publish(server, channel, "first")
        return bool(tapping.said)

    wait_until(shown, why="the tap shows nothing")


def test_tap_shows_what_is_heard_and_what_becomes_of_it_and_nothing_that_drives_a_terminal(
    redis_server: MakeRedis, daemon: MakeDaemon
) -> None:
    server = redis_server()
    run = daemon(topology(server, "users", "orders"))
    with Tapping(run, "users") as tap:
        begin(tap, server, "cache:users:x")
        publish(server, "cache:orders:x", "orders:1")
        publish(server, "cache:users:\033[31mred", json.dumps({"keys": ["users:\u202e42"], "source": "\033]0;x\007"}))
        heard = tap.wait_for("users:\\u202e42", "cache:users")
        tap.wait_for("users:\\u202e42", "→ said  purged")
        tap.process.send_signal(signal.SIGINT)
        assert tap.process.wait(5) == 130
    assert "cache:users:\\x1b[31mred  key users:" in heard
    assert "from \\x1b]0;x\\x07" in heard
    assert "orders" not in "".join(tap.said)
    assert "".join(tap.said).replace("\n", "").isprintable()


def test_tap_ends_with_69_when_the_daemon_goes(redis_server: MakeRedis, daemon: MakeDaemon) -> None:
    server = redis_server()
    run = daemon(topology(server, "users"))
    with Tapping(run, "--json") as tap:
        begin(tap, server, "cache:users:x")
        heard = tap.wait_for('"message"')
        assert json.loads(heard)["targets"] == [["key", "first"]]
        assert json.loads(tap.wait_for('"outcome"'))["end"] == "purged"
        assert run.stop() == 0
        assert tap.process.wait(5) == 69
        assert tap.process.stderr
        assert "has gone" in tap.process.stderr.read()

"""The world of the stateful test: real servers that live through all sequences, and a daemon for each of them."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from invalidator.control.client import Client
from invalidator.control.protocol import GetStatus, Resume
from invalidator.errors import InvalidatorError
from invalidator.journal import script
from invalidator.stage import proxy
from invalidator.stage.rest import at_rest, unaccounted
from tests.support.daemon import Daemon
from tests.support.environments import REPOSITORY
from tests.support.racks import PRODUCTS, Rack
from tests.support.stores import RedisServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from invalidator.control.protocol import Answer, AnyRequest
    from invalidator.status import Status

DELIVERIES = {"shop": "pubsub", "carts": "journal"}
STREAM = "invalidator:journal"
USER = "invalidator"
RIGHTS = ("on", "~*", "&*", "+@all")
QUIET = 0.7
"""Seconds without any change: more than a heartbeat's interval and deadline together, so that what was published has
come, or the connection that it should have come by is known to be dead."""
PATIENCE = 20.0
MOST_IN_A_BATCH = PRODUCTS * 2
"""Distinct targets that a sequence can have pending in a lane: what a SIGKILL may leave uncounted."""


class World:
    """Redis behind a fault proxy, two racks of caches, and the daemon between them. One sequence after another."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._sequences = self._turns = 0
        self.password = "one"
        first = " ".join([USER, *RIGHTS, f">{self.password}"])
        self.broker = RedisServer(
            _made(folder / "broker"), "--appendonly", "yes", "--appendfsync", "always", "--user", *first.split()
        )
        stack.callback(self.broker.kill)
        self.broker.start()
        self.proxy = stack.enter_context(proxy.opened(("127.0.0.1", self.broker.port)))
        self.racks = {name: Rack(name, how, _made(folder / name), stack) for name, how in DELIVERIES.items()}
        self.redis = redis.Redis(
            port=self.broker.port, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)
        )
        stack.callback(self.redis.close)
        self.broker_state = "up"
        self.variant: dict[str, Any] = {}
        self.outbox: deque[tuple[Rack, bytes, bool]] = deque()
        self.kills = 0
        self.state_lost = False
        self.steps: list[str] = []
        self.rested: Status | None = None
        self.run: Daemon

    # A sequence

    def begin(self, program: Sequence[str] = ("-m", "invalidator"), **settings: Any) -> None:
        """A new daemon, and warm caches. `settings` are of its workers, `program` is as of Daemon."""
        self._sequences += 1
        self.kills = 0
        self.state_lost = False
        self.steps = []
        self.outbox.clear()
        self._settings = settings
        self.variant = {}
        folder = _made(self._folder / f"run-{self._sequences}")
        self.secret = folder / "password"
        self._began = time.monotonic()
        self.heal_redis()
        self.run = Daemon(folder, self.topology(), {"PYTHONPATH": str(REPOSITORY)})
        self.run.program = (sys.executable, *program)
        self.run.start()
        for rack in self.racks.values():
            rack.refill(rack.truth.keys)

    def end(self) -> None:
        """The daemon ends as it should, whatever the sequence has done to it."""
        self.run.close()
        assert self.run.returncode == 0, self.run.logs()

    def abandon(self) -> None:
        """The sequence has failed: what is left of it must not disturb the next one."""
        for rack in self.racks.values():
            rack.heal()
        with suppress(Exception):
            self.heal_redis()
        with suppress(ProcessLookupError, AssertionError):
            self.run.signal(signal.SIGKILL)
        with suppress(AssertionError):
            self.run.close()

    def note(self, step: str) -> None:
        self.steps.append(f"{time.monotonic() - self._began:6.2f} s  {step}")

    # What the daemon gets

    def topology(self) -> dict[str, Any]:
        racks = self.racks.values()
        workers = [rack.worker(**self._settings, **self.variant.get(rack.name, {})) for rack in racks]
        backends = {name: options for rack in racks for name, options in rack.backends().items()}
        return {
            "redis": {
                "url": f"redis://{USER}@{self.proxy.address}/0",
                "password_file": str(self.secret),
                "heartbeat": {"interval": "150ms", "deadline": "500ms"},
                "backoff": {"first": "10ms", "longest": "200ms"},
            },
            "supervisor": {
                "stop_timeout": "3s",
                "heartbeat_timeout": "1s",
                "restart": {"first": "50ms", "longest": "500ms"},
                "state_dir": str(self.state_dir),
            },
            "backends": {**backends, "words": {"type": "log"}},
            "workers": [*workers, *self.variant.get("more", [])],
        }

    @property
    def state_dir(self) -> Path:
        return self.secret.parent / "state"

    # What the applications do

    def change(self, rack: str, keys: Sequence[str], payloads: Iterable[bytes]) -> None:
        """These products have other versions now, and then it is published."""
        for key in keys:
            self.racks[rack].truth.change(key)
        for payload in payloads:
            self.publish(self.racks[rack], payload)

    def traffic(self) -> None:
        """Some products change in each rack, others than the last time; and the caches are filled again."""
        self._turns += 1
        for number, rack in enumerate(self.racks.values()):
            keys = [rack.truth.keys[(self._turns * 3 + step) % PRODUCTS] for step in range(3)]
            self.change(rack.name, keys, [json.dumps({"v": 1, "keys": keys}).encode()])
            if self._turns % len(self.racks) == number:
                rack.refill(rack.truth.keys)

    def publish(self, rack: Rack, payload: bytes, *, journal: bool = True) -> None:
        """As an application does that must not lose one: what Redis has not confirmed is sent again, in its order.

        `journal` off: by PUBLISH alone, as somebody does who knows of no journal, or who sends what it would not take.
        """
        self.outbox.append((rack, payload, journal and rack.delivery == "journal"))
        self.post()

    def post(self) -> None:
        while self.outbox and self.broker_state == "up":
            rack, payload, journal = self.outbox[0]
            try:
                if journal:
                    self.redis.eval(script.source(), 1, STREAM, rack.channel, payload)
                else:
                    self.redis.publish(rack.channel, payload)
            except redis.RedisError as error:
                self.note(f"(not published: {error})")
                return
            self.outbox.popleft()

    def _all_posted(self) -> bool:
        self.post()
        return not self.outbox

    # What operators do

    def ask(self, request: AnyRequest, wait: float = 0.0) -> Answer | None:
        """The daemon's answer; None while there is nobody to answer."""
        try:
            with Client(self.run.control) as client:
                return client.ask(request, wait)
        except InvalidatorError:
            return None

    def status(self) -> Status | None:
        answer = self.ask(GetStatus())
        return answer.status if answer else None

    def workers(self) -> list[int]:
        return self.run.pids()

    # The end of all faults

    def heal_redis(self) -> None:
        """Redis and the path to it are as they were: up, open, with its first password and all rights."""
        self.proxy.heal()
        if self.broker_state == "stopped":
            self.broker.cont()
        if self.broker_state == "down":
            self.broker.start()
        self.broker_state = "up"
        self.redis.config_set("maxclients", 10_000)
        self.redis.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
        self.redis.acl_setuser(
            USER,
            reset=True,
            enabled=True,
            passwords=[f"+{self.password}"],
            keys=["*"],
            channels=["*"],
            commands=["+@all"],
        )
        self.secret.write_text(self.password)

    def heal(self) -> None:
        """Everything that a sequence can break is whole again."""
        for rack in self.racks.values():
            rack.heal()
        self.heal_redis()
        if self.state_dir.is_file():
            self.state_dir.unlink()
        for pid in self.workers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.run.write(self.topology())
        wait_until(lambda: self.ask(Resume(all=True)), PATIENCE, self.story)
        wait_until(self._all_posted, PATIENCE, lambda: f"the applications cannot publish\n{self.story()}")

    def settle(self, patience: float = PATIENCE) -> None:
        """Heal everything, and wait until the daemon has come to rest."""
        self.heal()
        since = time.monotonic()
        before: object = None

        def quiet() -> bool:
            nonlocal before, since
            self.rested = self.status()
            now = at_rest(self.rested)
            if now is None or now != before:
                before, since = now, time.monotonic()
            return now is not None and time.monotonic() - since >= QUIET

        wait_until(quiet, patience, lambda: f"the daemon does not come to rest\n{self.story()}")

    def judge(self) -> None:
        """The invariant: healed and quiet, nothing is stale, everything is counted, and everybody is there once."""
        problems = list(self._problems())
        assert not problems, "\n".join([*problems, self.story()])

    def _problems(self) -> Iterator[str]:
        for rack in self.racks.values():
            for kind, keys in rack.stale().items():
                yield f"stale in {rack.name}-{kind}: {' '.join(keys)}"
        status = self.rested  # of the moment when all was quiet: on a busy machine, the next may be another one
        assert status is not None
        if status.state != "running" and not self.state_lost:
            yield f"the daemon is {status.state}: {status.troubles}"
        for (worker, backend), missing in unaccounted(status).items():
            if abs(missing) > self.kills * MOST_IN_A_BATCH:
                yield f"{worker} {backend}: {missing} targets have no end"
        pids = sorted(worker.pid or 0 for worker in status.workers)
        if pids != self.workers():
            yield f"the workers are {pids}, and the supervisor's children {self.workers()}"

    def story(self) -> str:
        """What was done, and what the daemon has said."""
        return "\n".join(["steps:", *self.steps, "daemon:", self.run.logs()[-6000:]])


def passes(seconds: float) -> None:
    """Time goes by: a deadline passes, a breaker is tried again."""
    threading.Event().wait(seconds)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder

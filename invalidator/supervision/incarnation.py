"""One process of a worker, seen from outside: whether it lives, what it says of itself, and how it is made to end."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Literal

from invalidator.channel import LONGEST_REST
from invalidator.slots import READY, alive_for, is_subscribed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprocess.context import ForkProcess

    from invalidator.logs import Logger
    from invalidator.slots import Region, Snapshot
    from invalidator.supervision.contact import Contact
    from invalidator.supervision.handover import Birth
    from invalidator.topology.models import SupervisorSettings

State = Literal["STARTING", "RUNNING", "STOPPING"]

_BEATS = 4
"""Turns of an idle loop in the time after which it is taken for hung: one that comes late is no reason to kill."""


class Incarnation:
    """A process that was forked as a worker, with the memory that it counts into and the channel that it speaks on."""

    def __init__(
        self,
        birth: Birth,
        code: object,
        process: ForkProcess,
        region: Region,
        contact: Contact,
        log: Logger,
        now: float,
    ) -> None:
        self.spec = birth.spec
        self.topology = birth.topology
        self.heard = birth.heard
        self.code = code
        """Of the plugins that it was forked with."""
        self.contact = contact
        self.region = region
        self.pid: int | None = process.pid
        self.state: State = "STARTING"
        self.began = now
        self.was_ready = False
        self.killed_as: str | None = None
        """Why we have killed it, if we have."""
        self._process = process
        self._log = log.bind(worker=birth.spec.name)
        self._heard = now
        self._stop_by = float("inf")

    @property
    def exitcode(self) -> int | None:
        """None while it lives; minus the signal's number when one has ended it."""
        code: int | None = self._process.exitcode
        return code

    def fds(self) -> Iterator[int]:
        """File descriptors that become readable when it ends, or has something to say."""
        yield self._process.sentinel
        if (fd := self.contact.fileno()) is not None:
            yield fd

    def words(self) -> Snapshot:
        """Its counters, at this moment."""
        return self.region.snapshot()

    def received(self) -> int:
        """How many messages it has had."""
        return self.region.word("received")

    def hears_as(self, other: Incarnation) -> bool:
        """Whether both are known to be subscribed at one and the same server."""
        return self.server == other.server != 0

    @property
    def server(self) -> int:
        """A word for the server that it is subscribed at; 0 if that is not known."""
        return self.region.word("server")

    def is_subscribed(self, now: float) -> bool:
        """Whether its subscription is known to be alive."""
        return is_subscribed(self.region, now)

    def is_well(self, now: float) -> bool:
        """Whether it is ready, subscribed, and was not asked to end."""
        return self.state == "RUNNING" and self.is_subscribed(now)

    def silent_for(self, now: float) -> float:
        """Seconds since it last showed that its loop turns; one that has not yet is as old as its fork."""
        return min(alive_for(self.region, now), now - self._heard)

    def excuse(self, now: float) -> None:
        """The supervisor itself was held up until now: a silence before says nothing about the worker."""
        self._heard = now

    def next_due(self, now: float, settings: SupervisorSettings) -> float:
        """Seconds until `look` has something to do, if nothing happens before."""
        if self.state == "STOPPING":
            return max(0.0, self._stop_by - now)
        return max(0.0, settings.heartbeat_timeout - self.silent_for(now)) + 0.001

    def look(self, now: float, settings: SupervisorSettings) -> None:
        """Notice what it says of itself, and kill it if it says nothing or does not stop in time."""
        self.contact.repeat()
        if self.state == "STARTING" and self.region.word("state") >= READY:
            self.state = "RUNNING"
            self.was_ready = True
        if self.state == "STOPPING" and now >= self._stop_by:
            self._log.error("worker.killed", reason="did not stop in time", pid=self.pid)
            self.kill()
            self._stop_by = float("inf")
        elif self.state != "STOPPING" and self.silent_for(now) > settings.heartbeat_timeout:
            self._log.error("worker.killed", reason="hung", pid=self.pid, silent=self.silent_for(now))
            self.kill("hung")
            self._heard = now  # one kill is enough: the kernel may take a moment

    def ask_to_end(self, deadline: float) -> None:
        """SIGTERM, once; `look` kills it at this monotonic second."""
        if self.state == "STOPPING":
            self._stop_by = min(self._stop_by, deadline)
            return
        self.state = "STOPPING"
        self._stop_by = deadline
        self._signal(signal.SIGTERM)

    def kill(self, reason: str | None = None) -> None:
        """End it at once."""
        self.killed_as = reason or self.killed_as
        self._signal(signal.SIGKILL)

    def bury(self) -> tuple[int, Snapshot]:
        """Once it has ended: its exit code, and what it had counted. To be called once."""
        # Its last words may be later than our last look.
        self.was_ready = self.was_ready or self.region.word("state") >= READY
        code, words = self._process.exitcode, self.words()
        assert code is not None  # noqa: S101  # the caller has seen that it has ended
        if code == -signal.SIGKILL and not self.killed_as and self.region.word("subscribed_until_ns"):
            # Somebody else's doing: it says nothing of a start that had come as far as this, and to wait longer for the
            # next one would leave messages unheard. Whoever kills each of them (an OOM killer, say) meets the limit on
            # restarts.
            self.was_ready = True
        self._process.join()
        self._process.close()
        self.contact.end()
        return code, words

    def reason(self, code: int) -> str:
        """Why it has ended, in one word: for a process that nobody has asked to."""
        if self.killed_as:
            return self.killed_as
        if not self.was_ready:
            return "early"
        return "signal" if code < 0 else "crash"

    def _signal(self, number: signal.Signals) -> None:
        # The process is ours and not reaped yet, so its id cannot belong to anybody else.
        if self.pid and self.exitcode is None:
            os.kill(self.pid, number)


def rest_of(settings: SupervisorSettings) -> float:
    """For how many seconds the loop of a worker may wait under these settings."""
    return min(LONGEST_REST, settings.heartbeat_timeout / _BEATS)


def exit_text(code: int) -> str:
    """How a process has ended, for a person."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"killed by signal {-code}"

"""Is a daemon of this topology here? Asks the one door that it always has: /readyz of the metrics address."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, NamedTuple

from invalidator.doctor.finding import Finding, Kind
from invalidator.doctor.wording import shown
from invalidator.errors import BackendError
from invalidator.http import Client, Request, Timeouts, parse_origin

if TYPE_CHECKING:
    from invalidator.http import Answer

READY = Kind("daemon.ready", "ok", "A daemon runs here, and is ready")
NOT_READY = Kind(
    "daemon.not_ready",
    "wrong",
    "The daemon here is not ready",
    "Not every one of its workers is proven to be subscribed: what is published now may be missed, and is flushed"
    " later.",
    "invalidator status -c {file}, and the daemon's log: redis.refused says why a subscription is refused,"
    " worker.restarting why a worker dies.",
)
AWAY = Kind(
    "daemon.away",
    "note",
    "No daemon answers here",
    "It does not run on this host, or with another topology, or is about to start. Subscriptions are judged by what"
    " Redis sees of them, wherever their daemon runs.",
    "If it should run here: invalidator run -c {file}, or systemctl status of its unit.",
)
STRANGER = Kind(
    "daemon.stranger",
    "warning",
    "Something else answers at the daemon's metrics address",
    "The daemon cannot listen there, and does not start while it cannot.",
    "Name a free address in supervisor.metrics, or end what listens there.",
)
UNSEEN = Kind(
    "daemon.unseen",
    "note",
    "Whether a daemon runs here cannot be seen",
    "supervisor.metrics is null, so that it has no door to knock at.",
    "Name an address in supervisor.metrics, like 127.0.0.1:9469.",
)
KINDS = (READY, NOT_READY, AWAY, STRANGER, UNSEEN)

State = Literal["ready", "not ready", "away", "stranger", "unseen"]
_KIND_OF: dict[State, Kind] = {
    "ready": READY,
    "not ready": NOT_READY,
    "away": AWAY,
    "stranger": STRANGER,
    "unseen": UNSEEN,
}
_PATIENCE = 2.0


class Daemon(NamedTuple):
    """What answers at the daemon's address, and what it said."""

    state: State
    said: str

    @property
    def runs(self) -> bool:
        """Whether there is one here, ready or not."""
        return self.state in ("ready", "not ready")


def ask(address: str | None) -> Daemon:
    """Knock at `address`: host:port or unix:/path."""
    if address is None:
        return Daemon("unseen", "supervisor.metrics is null")
    origin = parse_origin(address if address.startswith("unix:") else f"http://{address}")
    client = Client(origin, connections=1, timeouts=Timeouts(1.0, 1.0, _PATIENCE))
    try:
        (answer,) = client.exchange([Request("GET", "/readyz", origin.authority)], time.monotonic() + _PATIENCE)
    finally:
        client.close()
    return _judged(address, answer)


def finding(daemon: Daemon, file: str) -> Finding:
    """The finding about it."""
    return _KIND_OF[daemon.state].found("daemon", daemon.said, file=file)


def _judged(address: str, answer: Answer) -> Daemon:
    place = f"http://{address}/readyz" if not address.startswith("unix:") else f"/readyz at {address}"
    if isinstance(answer, BackendError):
        return Daemon("away", f"/readyz: {shown(answer.detail or answer.reason)}")
    said = f"{place} says {answer.status}"
    if answer.status == 200:
        return Daemon("ready", said)
    if answer.status != 503:
        return Daemon("stranger", said)
    return Daemon("not ready", f"{said}: {shown(answer.body.strip(), 200)}")

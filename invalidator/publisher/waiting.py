"""Waits for what became of messages: who hears them, and what each of those says of each of its backends."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from invalidator import presence, reply
from invalidator.journal.glob import Glob
from invalidator.publisher.sending import raised

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redis import Redis
    from redis.client import PubSub

    from invalidator.presence import Presence
    from invalidator.reply import Reply

RIGHTS = "+subscribe +zrange +mget ~invalidator:* &invalidator:reply:*"
"""What a publisher's user needs to wait."""
REPETITION = "duplicate"
"""The reason of a receipt that says only that the message has come before: what became of it is in another one."""
_READ_AT_ONCE = 500


class Patience:
    """A channel of its own on which receipts arrive. To be opened before the message is published that asks for them.

    `timeout` (seconds) is for the subscription to be confirmed.
    """

    def __init__(self, client: Redis, timeout: float) -> None:
        self.channel = f"{reply.PREFIX}{secrets.token_urlsafe(18)}"
        self._client = client
        self._timeout = timeout
        self._subscription: PubSub = client.pubsub()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        """Raises redis.RedisError or OSError when there is no such subscription."""
        try:
            self._subscription.subscribe(self.channel)
            if not self._subscription.get_message(timeout=self._timeout):
                raise OSError("the subscription to the receipts was not confirmed")  # noqa: TRY301 -- closed below
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._subscription.close()

    def audience(self, channel: str) -> list[Presence]:
        """Every worker that is there and hears this channel. Raises redis.RedisError or OSError."""
        keys: list[Any] = self._client.zrange(presence.INDEX, 0, presence.MOST_WORKERS - 1)
        found: list[Presence] = []
        for start in range(0, len(keys), _READ_AT_ONCE):
            values = raised(list(self._client.mget(keys[start : start + _READ_AT_ONCE])))
            found += [worker for value in values if (worker := presence.read(value))]
        return sorted({worker for worker in found if Glob(worker.pattern).matches(channel.encode())})

    def collect(self, expected: Roll, deadline: float) -> None:
        """Take receipts in until all are there, or this monotonic second. Raises redis.RedisError or OSError."""
        while not expected.is_complete and (left := deadline - time.monotonic()) > 0:
            # A reconnect is not silent here: the publisher's clients raise the first failure (client.py).
            message = self._subscription.get_message(ignore_subscribe_messages=True, timeout=left)  # noqa: INV004
            if message and (said := reply.read(message["data"])):
                expected.take(said)


@dataclass
class Roll:
    """Who is to answer, and who has: for each message, worker and backend. Pure."""

    audience: Sequence[Presence]
    ids: Iterable[str]
    _answers: dict[tuple[tuple[str, str, str], str, str], Reply | None] = field(init=False)
    _open: int = field(init=False)

    def __post_init__(self) -> None:
        self._answers = {
            (worker.identity, backend, message): None
            for message in self.ids
            for worker in self.audience
            for backend in worker.backends
        }
        self._open = len(self._answers)

    @property
    def is_complete(self) -> bool:
        """Whether everybody has answered, well or not."""
        return self._open == 0

    def take(self, said: Reply) -> None:
        """A receipt has come. The first word about a message counts; strangers are not listened to."""
        key = ((said.host, said.worker, said.instance), said.backend, said.id)
        if key not in self._answers:
            return
        before = self._answers[key]
        if before is None or before.reason == REPETITION:
            self._answers[key] = said
            self._open -= said.reason != REPETITION

    def receipts(self) -> tuple[Reply, ...]:
        """Those that have come."""
        return tuple(said for said in self._answers.values() if said)

    def missing(self) -> list[str]:
        """A line for each worker and backend that has not applied all of it, and why."""
        lines: dict[str, str] = {}
        for ((host, worker, _), backend, _), said in self._answers.items():
            if said is None or said.outcome not in reply.APPLIED:
                lines.setdefault(f"{host}/{worker} {backend}", _why(said))
        return [f"{who}: {why}" for who, why in lines.items()]


def _why(said: Reply | None) -> str:
    if said is None:
        return "has not answered"
    beside = ", ".join(filter(None, (said.reason, said.node)))
    return f"{said.outcome} ({beside})" if beside else said.outcome

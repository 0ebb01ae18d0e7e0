"""Receipts, as they come: what a worker says of a message, in each of its backends."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import redis

from invalidator import reply
from invalidator.doctor.session import is_denied
from invalidator.errors import UnreachableError
from invalidator.publisher.client import open_client, shown_url, user_of
from invalidator.publisher.waiting import REPETITION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.reply import Reply
    from invalidator.topology.models import RedisSettings

RIGHTS = "+subscribe &invalidator:reply:*"
_PATIENCE = 4.0
_AT_ONCE = 1_000


class Ear:
    """A reply channel of its own. Raises UnreachableError when nothing can be heard there."""

    def __init__(self, settings: RedisSettings, password: str | None) -> None:
        self.channel = f"{reply.PREFIX}{secrets.token_urlsafe(18)}"
        self._url = settings.url.reveal()
        self._server = open_client(self._url, password, _PATIENCE)

    def __enter__(self) -> Self:
        try:
            self._subscription = self._server.at("").pubsub()  # type: ignore[no-untyped-call]
            self._subscription.subscribe(self.channel)
            if not self._subscription.get_message(timeout=_PATIENCE):
                raise OSError("the subscription was not confirmed")  # noqa: TRY301 -- it is told as the others are
        except (redis.RedisError, OSError) as error:
            self._server.close()
            raise self._deaf(error) from None
        except BaseException:
            self._server.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._subscription.close()
        self._server.close()

    def take(self, seconds: float) -> list[Reply]:
        """Those that have come; waits for the first of them, for so long at most."""
        found: list[Reply] = []
        try:
            while len(found) < _AT_ONCE:
                message = self._subscription.get_message(timeout=0.0 if found else seconds)
                if message is None:
                    return found
                if message["type"] == "message" and (said := reply.read(message["data"])):
                    found.append(said)
        except (redis.RedisError, OSError) as error:
            raise self._deaf(error) from None
        return found

    def _deaf(self, error: Exception) -> UnreachableError:
        why = str(error).partition(" : <")[0] or type(error).__name__
        advice = f": ACL SETUSER {user_of(self._url)} {RIGHTS}" if is_denied(error) else ""
        return UnreachableError(f"receipts cannot be heard at {shown_url(self._url)}: {why}{advice}")


@dataclass
class Answers:
    """Of one worker, to the messages of one load: who has said what. Pure.

    `ids` gives the number of each message that asks for receipts, by its id.
    """

    host: str
    worker: str
    instance: str
    backends: tuple[str, ...]
    ids: dict[str, int]
    said: dict[tuple[str, int], Reply] = field(default_factory=dict)

    def take(self, receipts: Iterable[Reply]) -> None:
        """Receipts have come. Those of others who hear the channel are not for us, nor is a second one."""
        for one in receipts:
            number = self.ids.get(one.id)
            ours = (one.host, one.worker, one.instance) == (self.host, self.worker, self.instance)
            if ours and number is not None and one.backend in self.backends and one.reason != REPETITION:
                self.said.setdefault((one.backend, number), one)

    @property
    def is_complete(self) -> bool:
        """Whether everybody has answered everything."""
        return len(self.said) == self.expected

    @property
    def expected(self) -> int:
        """How many receipts there are to be."""
        return len(self.ids) * len(self.backends)

    def of(self, backend: str) -> dict[int, Reply]:
        """What one backend has said, by the message's number."""
        return {number: said for (name, number), said in self.said.items() if name == backend}

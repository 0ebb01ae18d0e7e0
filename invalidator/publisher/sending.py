"""How payloads go out: published, or kept in the journal and published in one step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from invalidator.journal import script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import Redis

PIPELINE = 100
"""Messages sent before their answers are read: 800 KiB at most."""


class Sent(NamedTuple):
    """What Redis said of one message: how many subscriptions got it, and the id of its entry if there is a journal."""

    receivers: int
    journal: str = ""


class Plain:
    """PUBLISH alone."""

    stream = ""

    def send(self, client: Redis, channel: str, payloads: Sequence[bytes], *, asking: bool = False) -> list[Sent]:
        """Send these in one pipeline. Raises redis.RedisError or OSError for the first that failed.

        `asking`: of a node that does not own the stream's slot yet, and takes what is said so.
        """
        del asking  # what is only published has no slot
        pipeline = client.pipeline(transaction=False)
        for payload in payloads:
            pipeline.publish(channel, payload)
        return [Sent(int(receivers)) for receivers in raised(pipeline.execute(raise_on_error=False))]


@dataclass(frozen=True, slots=True)
class Journaled:
    """The script: nothing is published that is not in the Stream."""

    stream: str
    keep: int

    def send(self, client: Redis, channel: str, payloads: Sequence[bytes], *, asking: bool = False) -> list[Sent]:
        """As `Plain.send`."""
        from redis import exceptions  # noqa: PLC0415 -- see client.py

        replies = self._run(client, ("EVALSHA", script.digest()), channel, payloads, asking)
        # Redis forgets scripts: at a restart, at a failover, when there are too many. EVAL needs no memory of it, and
        # has the last word too where only EVALSHA is not allowed.
        unknown = [
            index
            for index, reply in enumerate(replies)
            if isinstance(reply, exceptions.NoScriptError | exceptions.NoPermissionError)
        ]
        if unknown:
            left = [payloads[index] for index in unknown]
            again = self._run(client, ("EVAL", script.source()), channel, left, asking)
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return [Sent(int(receivers), _text(entry)) for entry, receivers in raised(replies)]

    def _run(
        self, client: Redis, words: tuple[str, str], channel: str, payloads: Sequence[bytes], asking: bool
    ) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        for payload in payloads:
            if asking:  # it holds for one command
                pipeline.execute_command("ASKING")  # type: ignore[no-untyped-call]
            pipeline.execute_command(*words, 1, self.stream, channel, payload, self.keep)  # type: ignore[no-untyped-call]
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies[1::2] if asking else replies


Outlet = Plain | Journaled


def slices(payloads: Sequence[bytes]) -> Iterator[list[bytes]]:
    """As many at a time as go into one pipeline."""
    rest = iter(payloads)
    while part := list(islice(rest, PIPELINE)):
        yield part


def raised(replies: list[Any]) -> list[Any]:
    """The replies; the first that is an error is raised. Without the command: it holds the whole payload."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _text(entry: object) -> str:
    return entry.decode("ascii", "replace") if isinstance(entry, bytes) else str(entry)

"""Does what a worker does at its start, on a connection like the worker's: only so is a missing right seen.

`ACL DRYRUN` would ask without doing it, but needs a right that hardly any application's user has, and Redis 7.0. A
subscription that is given up at once disturbs nobody.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING

import redis

from invalidator.doctor.facts import RightsTrial
from invalidator.doctor.session import is_denied, session, unreached
from invalidator.topology.patterns import is_glob
from invalidator.wire.identity import ECHO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.doctor.session import Session
    from invalidator.topology.models import RedisSettings, WorkerSpec

_SURE = 3
"""Times that NUMPAT has to grow by our subscription before we say that nobody else has that pattern."""


def attempt(workers: Sequence[WorkerSpec], settings: RedisSettings) -> list[RightsTrial]:
    """Connect with a name, PING, subscribe to each worker's pattern, and hang up."""
    trials: list[RightsTrial] = []
    step = "connecting, with CLIENT SETNAME"
    try:
        with ExitStack() as stack:
            asked = stack.enter_context(session(settings))
            counting = _another(stack, settings)  # whoever is subscribed may not ask for anything
            step = "PING"
            asked.ask("PING")
            for worker in workers:
                step = "subscribing"
                trials.append(_subscribe(asked, counting, worker))
            no_echo = _no_echo(asked, counting)
            trials = [trial._replace(no_echo=no_echo) for trial in trials]
    except (redis.RedisError, OSError, ValueError) as error:
        sort, why = unreached(error)
        failed = RightsTrial("", step, why, denied=is_denied(error), unknown=sort == "auth")
        trials += [failed._replace(worker=worker.name) for worker in workers[len(trials) :]]
    return trials


def _another(stack: ExitStack, settings: RedisSettings) -> Session | None:
    try:
        return stack.enter_context(session(settings))
    except (redis.RedisError, OSError, ValueError):  # a server with room for one more, say: that one matters
        return None


def _subscribe(asked: Session, counting: Session | None, worker: WorkerSpec) -> RightsTrial:
    command = "PSUBSCRIBE" if is_glob(worker.pattern) else "SUBSCRIBE"
    before = _numpat(counting)
    try:
        _answered(asked, command, worker.pattern)
    except redis.ResponseError as error:
        return RightsTrial(worker.name, f"{command} {worker.pattern}", unreached(error).why, denied=is_denied(error))
    alone = (
        command == "PSUBSCRIBE" and _has_grown(before, _numpat(counting)) and _grows(asked, counting, worker.pattern)
    )
    return RightsTrial(worker.name, "", "", alone=alone)


def _no_echo(asked: Session, publishing: Session | None) -> str:
    """Why the heartbeat of workers like this one is but a PING; empty if it is an echo, or nobody can say."""
    channel = f"{ECHO}{secrets.token_hex(16)}"
    step = "SUBSCRIBE"
    try:
        _answered(asked, "SUBSCRIBE", channel)
        step = "PUBLISH"
        if publishing:
            publishing.ask("PUBLISH", channel, "")
    except redis.ResponseError as error:
        return f"{step} {ECHO}*: {unreached(error).why}"
    return ""


def _grows(asked: Session, counting: Session | None, pattern: str) -> bool:
    """Whether it grows again and again: once may be somebody else's subscription at the same moment."""
    for _ in range(_SURE - 1):
        try:
            _answered(asked, "PUNSUBSCRIBE", pattern)
        except redis.ResponseError:  # a worker needs no right to it
            return False
        before = _numpat(counting)
        _answered(asked, "PSUBSCRIBE", pattern)
        if not _has_grown(before, _numpat(counting)):
            return False
    return True


def _has_grown(before: int | None, after: int | None) -> bool:
    return before is not None and after == before + 1


def _numpat(counting: Session | None) -> int | None:
    try:
        reply = counting.ask("PUBSUB", "NUMPAT") if counting else None
    except (redis.RedisError, OSError):  # a worker needs no right to it
        return None
    return reply if isinstance(reply, int) else None


def _answered(asked: Session, command: str, pattern: str) -> None:
    reply = asked.ask(command, pattern)
    while isinstance(reply, list) and reply[:1] in ([b"message"], [b"pmessage"]):
        reply = asked.next()  # what is published meanwhile comes to us as well

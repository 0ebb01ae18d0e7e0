"""Does what a worker does at its start, on a connection like the worker's: only so is a missing right seen.

`ACL DRYRUN` would ask without doing it, but needs a right that hardly any application's user has, and Redis 7.0. A
subscription that is given up at once disturbs nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis

from invalidator.doctor.facts import RightsTrial
from invalidator.doctor.servers import is_glob
from invalidator.doctor.session import is_denied, session, unreached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.doctor.session import Session
    from invalidator.topology.models import RedisSettings, WorkerSpec


def attempt(workers: Sequence[WorkerSpec], settings: RedisSettings) -> list[RightsTrial]:
    """Connect with a name, PING, subscribe to each worker's pattern, and hang up."""
    trials: list[RightsTrial] = []
    step = "connecting, with CLIENT SETNAME"
    try:
        with session(settings) as asked:
            step = "PING"
            asked.ask("PING")
            for worker in workers:
                step = "subscribing"
                trials.append(_subscribe(asked, worker))
    except (redis.RedisError, OSError, ValueError) as error:
        failed = RightsTrial("", step, unreached(error).why, denied=is_denied(error))
        trials += [failed._replace(worker=worker.name) for worker in workers[len(trials) :]]
    return trials


def _subscribe(asked: Session, worker: WorkerSpec) -> RightsTrial:
    command = "PSUBSCRIBE" if is_glob(worker.pattern) else "SUBSCRIBE"
    try:
        reply = asked.ask(command, worker.pattern)
        while isinstance(reply, list) and reply[:1] in ([b"message"], [b"pmessage"]):
            reply = asked.next()  # what is published meanwhile comes to us as well
    except redis.ResponseError as error:
        return RightsTrial(worker.name, f"{command} {worker.pattern}", unreached(error).why, denied=is_denied(error))
    return RightsTrial(worker.name, "", "")

"""The load: changes products and publishes that it did, a message each, at a steady rate and in the order of a seed.

Runs as `python -m chaos.writer URL CHANNEL TRUTH HOT RATE MODE SEED TICKS`, until its standard input ends. It then
finishes what it has begun: a change that was never published would be stale by its own fault.

Two rules make the oracle right. A change is committed before it is published, so that what is refilled afterwards is
newer than the message. And it is published until Redis has confirmed it, as by an application that must not lose one.
Nothing else is promised to the daemon: whoever does not hear the message has to notice that by himself.
"""

from __future__ import annotations

import random
import select
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import redis

from chaos import delivery
from invalidator.envelope import Head, envelopes
from invalidator.messages import Target
from invalidator.stage import truth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chaos.delivery import Outbox
    from invalidator.stage.truth import Truth

TICK = 0.005
LONGEST_DEBT = 0.5
"""Seconds of load that are made up for after a hold-up; more would not be a rate, but a flood."""
AT_ONCE = 200
RETRY = 0.02
GIVE_UP = 60.0
"""Seconds after the end of the input in which Redis has to take what is left."""


def changes(keys: Sequence[str], hot: int, chance: random.Random) -> Iterator[str]:
    """Which key changes next: one of the first `hot`, and one of the others in turn, alternately.

    The others change once in a run, for ever after: were they changed again, that would heal what the first time left
    stale, and the oracle would find nothing. The iterator ends when all have changed.
    """
    for key in keys[hot:]:
        yield keys[chance.randrange(hot)]
        yield key


def _write(outbox: Outbox, database: Truth, following: Iterator[str], rate: float, ticks: TextIO) -> None:
    began, done, asked_to_end = time.monotonic(), 0, False
    while not asked_to_end:
        debt = (time.monotonic() - began) * rate - done
        if debt > rate * LONGEST_DEBT:
            began += debt / rate - LONGEST_DEBT
        keys = list(islice(following, min(AT_ONCE, int(debt))))
        if keys:
            done += len(keys)
            _change(outbox, database, keys, ticks)
            asked_to_end = _has_ended(0.0)
        else:
            asked_to_end = _has_ended(TICK)


def _change(outbox: Outbox, database: Truth, keys: Sequence[str], ticks: TextIO) -> None:
    for key in keys:
        database.change(key)
    now = time.time()
    payloads = [_payload(key, now) for key in keys]
    ticks.write(f"{time.monotonic():.6f} {' '.join(keys)}\n")
    give_up = float("inf")
    while not _published(outbox, database, payloads):
        if give_up == float("inf") and _has_ended(RETRY):
            give_up = time.monotonic() + GIVE_UP
        if time.monotonic() > give_up:
            sys.exit("Redis did not take what was left to publish")
        if give_up < float("inf"):  # the input has ended, so that it is no clock any more
            threading.Event().wait(RETRY)


def _published(outbox: Outbox, database: Truth, payloads: Sequence[bytes]) -> bool:
    try:
        answers = outbox.send(payloads)
    except (redis.RedisError, OSError) as error:
        print(f"{time.time():.3f} not published: {error!r:.200}", file=sys.stderr, flush=True)
        return False
    for receivers in answers:
        database.count(receivers)
    return True


def _payload(key: str, now: float) -> bytes:
    head = Head(id=f"{random.getrandbits(64):016x}", ts=now, source="chaos")
    return envelopes([Target("key", key)], head)[0]


def _has_ended(patience: float) -> bool:
    return bool(select.select([sys.stdin], [], [], patience)[0])


def _main(url: str, channel: str, path: str, hot: str, rate: str, mode: str, seed: str, ticks: str) -> None:
    chance = random.Random(int(seed))
    with (
        truth.opened(Path(path)) as database,
        delivery.opened(url, channel, mode) as outbox,
        Path(ticks).open("a") as log,
    ):
        print("writing", flush=True)
        _write(outbox, database, changes(database.keys, int(hot), chance), float(rate), log)


if __name__ == "__main__":
    _main(*sys.argv[1:])

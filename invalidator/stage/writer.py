"""The shop's back office: changes products and publishes that it did, at a steady pace.

It runs as `python -m invalidator.stage.writer URL CHANNEL TRUTH HOT RATE SECONDS DELIVERY`, and ends by itself or with
its standard input.
"""

from __future__ import annotations

import random
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.errors import UnreachableError
from invalidator.publisher import Publisher
from invalidator.stage import truth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def changes(keys: Sequence[str], hot: int) -> Iterator[str]:
    """Which key changes next, for ever: one of the first `hot` keys, and one of the others in turn, alternately.

    The others come once in a run. Were all keys changed again and again, each change would heal what the one before it
    left stale, and the oracle would find nothing at the end.
    """
    turn = hot
    while True:
        yield keys[random.randrange(hot)]
        yield keys[turn]
        turn = turn + 1 if turn + 1 < len(keys) else hot


def _write(publisher: Publisher, channel: str, database: truth.Truth, hot: int, rate: float, seconds: float) -> None:
    began = time.monotonic()
    following = changes(database.keys, hot)
    done = 0
    while (elapsed := time.monotonic() - began) < seconds:
        while done < int(elapsed * rate):
            key = next(following)
            database.change(key)
            database.count(_publish(publisher, channel, key))
            done += 1
        if select.select([sys.stdin], [], [], 0.005)[0]:
            return


def _publish(publisher: Publisher, channel: str, key: str) -> int:
    # As an application does that must not lose one: again until Redis has it. Forgetting twice is forgetting.
    while True:
        try:
            return publisher.invalidate(channel, [key]).receivers
        except UnreachableError:
            continue


def _main(url: str, channel: str, path: str, hot: str, rate: str, seconds: str, delivery: str) -> None:
    publisher = Publisher(url, source="back-office", journal=delivery == "journal")
    with truth.opened(Path(path)) as database, publisher:
        _write(publisher, channel, database, int(hot), float(rate), float(seconds))


if __name__ == "__main__":
    _main(*sys.argv[1:])

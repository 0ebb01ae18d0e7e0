"""The process that publishes: apart from those that measure and purge, as an application is.

It runs as `python -m invalidator.bench.publishing`. Its first line says where to publish (an `Order`), each further one
what (a `Task`); the answer to each is a `Done`, and it ends with its standard input. A message has its place in time
before anything is sent: one that goes out late, because the one before took long, is late from where it should have
been. Without that, a daemon that stands still would hold up the very messages that show it (coordinated omission).
"""

from __future__ import annotations

import gc
import sys
import time
from array import array
from typing import TYPE_CHECKING, Any

import msgspec
import redis

from invalidator.journal import script
from invalidator.topology.models import RedisSettings
from invalidator.wire.route import route_to

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = "invalidator-bench"
_HEAD_START = 0.02
"""Seconds between an order and the first message: what is to be got ready is ready then."""
_AT_ONCE = 500
_UNANSWERED = 5_000
"""Messages of a burst of which Redis has not said that it has them: more would only fill buffers."""
_PATIENCE = 5.0


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Where to publish. `redis` is a topology's block, secrets in clear; without a `stream` there is no journal."""

    redis: dict[str, Any]
    channel: bytes
    reply: str
    nonce: str
    keys: int
    stream: str = ""
    keep: int = 0


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A Load, and what its messages' ids begin with."""

    name: str
    count: int
    rate: float | None
    asked: tuple[int, ...]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """All is published, or `error` says why not. Wall seconds.

    The message `n` was to go out at `began` + n / rate. `late` has by how much those that were asked
    about did later: p99, and at most. `stepped`: by how much the wall clock was set meanwhile.
    """

    began: float = 0.0
    ended: float = 0.0
    late: tuple[float, float] = (0.0, 0.0)
    stepped: float = 0.0
    error: str = ""


class Press:
    """Publishes to one channel, over one connection. Raises redis.RedisError or OSError."""

    def __init__(self, order: Order) -> None:
        settings = RedisSettings.model_validate(order.redis)
        self._order = order
        self._route = route_to(settings, key=order.stream)  # in a Cluster a journal is its owner's matter
        connection: Any = self._route.open(client_name=SOURCE)
        connection.connect()
        self._connection = connection
        self._before: tuple[Any, ...] = ("PUBLISH", order.channel)
        self._after: tuple[Any, ...] = ()
        if order.stream:
            self._before = ("EVALSHA", script.digest(), 1, order.stream, order.channel)
            self._after = (order.keep,)
        self._unanswered = 0

    def close(self) -> None:
        """Hang up."""
        self._connection.disconnect()
        self._route.close()

    def first(self, task: Task) -> Done:
        """Publish one message as no script is known yet: it is, from then on."""
        began = time.time()
        payload = self._payload(task, 0, began, asks=True)
        if self._order.stream:
            words = ("EVAL", script.source(), *self._before[2:], payload, *self._after)
            self._send(self._connection.pack_command(*words), 1)
        else:
            self._send(self._message(payload), 1)
        self._take_all()
        return Done(began=began, ended=time.time())

    def steady(self, task: Task) -> Done:
        """Each message at its time."""
        assert task.rate is not None  # noqa: S101 -- for the type checker
        asked = frozenset(task.asked)
        late = array("d")
        began, clock = time.time() + _HEAD_START, time.monotonic() + _HEAD_START
        sent = 0
        while sent < task.count:
            now = time.time()
            due = min(task.count, int((now - began) * task.rate) + 1, sent + _AT_ONCE)
            if now < began or due <= sent:
                self._take(began + sent / task.rate - now)
                continue
            numbers = range(sent, due)
            ideal = [began + number / task.rate for number in numbers]
            payloads = (self._payload(task, n, at, asks=n in asked) for n, at in zip(numbers, ideal, strict=True))
            self._send(b"".join(map(self._message, payloads)), len(numbers))
            after = time.time()
            late.extend(after - at for number, at in zip(numbers, ideal, strict=True) if number in asked)
            sent = due
        ended = time.time()
        self._take_all()
        stepped = abs((time.time() - began) - (time.monotonic() - clock))
        ordered = sorted(late) or [0.0]
        worst = (ordered[int(len(ordered) * 0.99)], ordered[-1])
        return Done(began=began, ended=ended, late=worst, stepped=stepped)

    def burst(self, task: Task) -> Done:
        """All of them, as fast as Redis takes them. They are made before, so that making them is not measured."""
        asked = frozenset(task.asked)
        now = time.time()
        chunks = [
            (b"".join(self._message(self._payload(task, n, now, asks=n in asked)) for n in numbers), len(numbers))
            for numbers in _slices(task.count)
        ]
        began = time.time()
        for data, count in chunks:
            while self._unanswered + count > _UNANSWERED:
                self._take(_PATIENCE)
            self._send(data, count)
        ended = time.time()
        self._take_all()
        return Done(began=began, ended=ended)

    def _payload(self, task: Task, number: int, at: float, *, asks: bool) -> bytes:
        order = self._order
        reply = f'"reply":"{order.reply}",' if asks else ""
        return (
            f'{{"v":1,"id":"{order.nonce}.{task.name}.{number}","ts":{at:.6f},"source":"{SOURCE}",{reply}'
            f'"keys":["invalidator:bench:{order.nonce}:{number % order.keys}"]}}'
        ).encode()

    def _message(self, payload: bytes) -> bytes:
        packed: bytes = b"".join(self._connection.pack_command(*self._before, payload, *self._after))
        return packed

    def _send(self, data: bytes | list[bytes], count: int) -> None:
        self._connection.send_packed_command(data if isinstance(data, list) else [data], check_health=False)
        self._unanswered += count

    def _take(self, seconds: float) -> None:
        """Wait for so long at most; take in the answers that have come meanwhile, and no longer than until they do."""
        if not self._connection.can_read(timeout=max(0.0, seconds)):
            return
        while self._unanswered:
            self._connection.read_response()
            self._unanswered -= 1
            if not self._connection.can_read(timeout=0):
                return

    def _take_all(self) -> None:
        while self._unanswered:
            self._connection.read_response()
            self._unanswered -= 1


def _slices(count: int) -> Iterator[range]:
    return (range(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE))


def _obey(press: Press, task: Task) -> Done:
    if task.rate is None:
        return press.burst(task)
    return press.first(task) if task.count == 1 else press.steady(task)


def _main() -> None:
    lines = iter(sys.stdin.readline, "")
    order = msgspec.json.decode(next(lines), type=Order)
    gc.disable()  # a pause of ours would look like one of the daemon's
    try:
        press = Press(order)
        _say(Done())
        for line in lines:
            _say(_obey(press, msgspec.json.decode(line, type=Task)))
            gc.collect()
        press.close()
    except (redis.RedisError, OSError) as error:
        _say(Done(error=str(error).partition(" : <")[0][:300] or type(error).__name__))


def _say(done: Done) -> None:
    print(msgspec.json.encode(done).decode(), flush=True)


if __name__ == "__main__":
    _main()

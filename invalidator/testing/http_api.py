"""What the fakes of vendors' APIs have in common: each call is recorded, and faults are played on demand."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from invalidator.testing.http_framing import Answer, MalformedRequestError, Request, html_answer
from invalidator.testing.http_server import HttpServer, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from invalidator.testing.edge import EdgeCache
    from invalidator.testing.faults import Fault

_KEPT = 100_000
"""Calls that are remembered; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request and what became of it."""

    time: float
    """When it had arrived, by the fake's clock."""
    method: str
    path: str
    """The target as it was sent, with its query. Empty where no request could be read."""
    headers: Mapping[str, str] = field(repr=False)
    """Names in small letters. They hold the token, so they are not shown."""
    body: bytes
    status: int
    """Of the answer; 0 where there was none."""
    reason: str
    """Why it was refused: empty for an accepted call, and for one that met with a fault instead of an answer."""
    kind: str
    """Of an accepted purge: `files`, `tags`, `hosts`, `prefixes`, `everything`; Fastly: `keys`, `url`, `all`."""
    count: int
    """The operations of an accepted purge: URLs, tags, keys; 1 for everything."""
    soft: bool
    fault: str
    """The name of the fault that was played, or empty."""

    @property
    def json(self) -> Any:
        """The body, decoded. Raises ValueError."""
        return json.loads(self.body)


class FakeApi:
    """Listens as soon as it is made, and ends with its `with` block; `url` is to be given as `api:` in a topology.

    A subclass says what is answered, in `respond`, for one request at a time. An exception in it is raised again at the
    end: it is an error of the fake, not of its client.
    """

    base = ""
    """The path that every call begins with, as in the vendor's own base URL."""

    def __init__(self, edge: EdgeCache, clock: Callable[[], float] = time.monotonic) -> None:
        self.edge = edge
        """What the vendor has cached: put something in, purge it, look whether it is gone."""
        self.clock = clock
        self._changed = threading.Condition()
        self._calls: deque[Call] = deque(maxlen=_KEPT)
        self._faults: deque[Fault] = deque()
        self._server = HttpServer(type(self).__name__, self._serve, self._refuse)
        self.url = f"http://127.0.0.1:{self._server.port}{self.base}"

    def respond(self, request: Request, now: float) -> Answer:
        """What the vendor would say at `now`, in seconds of `clock`; it may change `edge`. Called under a lock."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What a test asks.

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call in the order of arrival, malformed ones as well."""
        with self._changed:
            return tuple(self._calls)

    @property
    def purges(self) -> tuple[Call, ...]:
        """The calls that purged something, or would have if it had been there."""
        return tuple(call for call in self.calls if call.kind)

    @property
    def refused(self) -> tuple[Call, ...]:
        """The calls that broke one of the vendor's rules, each with its `reason`."""
        return tuple(call for call in self.calls if call.reason)

    def wait_for(self, condition: Callable[[tuple[Call, ...]], bool], timeout: float = 5.0) -> tuple[Call, ...]:
        """The calls as soon as `condition` is true of them. Raises TimeoutError, with what there was instead."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(tuple(self._calls)), timeout):
                raise TimeoutError(f"not within {timeout} s; the calls: {list(self._calls)!r}")
            return tuple(self._calls)

    # What a test does to it.

    def fail(self, *faults: Fault) -> None:
        """Each of the next calls, whatever it asks, meets with one of these; then all is well again."""
        with self._changed:
            self._faults.extend(faults)

    def suspend(self) -> None:
        """Accept and answer nothing, with all connections left open."""
        self._server.suspend()

    def resume(self) -> None:
        """Answer what has arrived meanwhile, and whatever comes."""
        self._server.resume()

    def stop(self) -> None:
        """End every connection and listen no more, as a crash would. Stopping twice is stopping."""
        self._server.stop()

    def start(self) -> None:
        """Listen again at the same address, with nothing cached and no fault left over."""
        with self._changed:
            self._faults.clear()
        self.edge.clear()
        self._server.start()

    # How it serves.

    def _serve(self, line: Line, request: Request) -> None:
        with self._changed:
            now = self.clock()
            fault = self._faults.popleft() if self._faults else None
            answer = fault.answer if fault and fault.answer is not None else self.respond(request, now)
            # Recorded before it is said: a test that has the answer finds the call.
            self._record(request, answer, now, fault.name if fault else "")
        close = request.headers.get("connection", "").lower() == "close"
        data = answer.encode(close=close)
        if fault is None:
            line.send(data)
        else:
            fault.deliver(line, data)
        line.over = line.over or close

    def _refuse(self, line: Line, error: MalformedRequestError | EOFError) -> None:
        status = error.status if isinstance(error, MalformedRequestError) else 0
        answer = html_answer(status, "Bad request", reason=f"malformed: {error}")
        with self._changed:
            self._record(Request("", "", {}), answer, self.clock(), "")
        if status:
            line.send(answer.encode(close=True))

    def _record(self, request: Request, answer: Answer, now: float, fault: str) -> None:
        self._calls.append(
            Call(
                time=now,
                method=request.method,
                path=request.target,
                headers=request.headers,
                body=request.body,
                status=answer.status,
                reason=answer.reason,
                kind=answer.kind,
                count=answer.count,
                soft=answer.soft,
                fault=fault,
            )
        )
        self._changed.notify_all()

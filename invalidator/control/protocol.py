"""What is said over the control socket: a line of JSON for each request, and for each answer. Version 1.

    → {"op": "status"}
    ← {"ok": true, "status": {…}}                              invalidator.status.Status
    → {"op": "reload", "wait": true, "timeout": 30}
    ← {"ok": false, "exit": 78, "error": "…", "problems": ["FILE:LINE:COLUMN: path: …"]}

`exit` is the code that a command ends with. After `tap`, lines of `invalidator.channel` follow its answer until the
client goes: `message`, `outcome`, and `dropped` with the number of lines that the client was too slow for. A request
is answered before the next one of the same client is looked at. Every request may say `"v": 1`, and `"file"`: the
topology that the client means; a daemon with another one refuses.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from invalidator.errors import EXIT_OK, EXIT_USAGE
from invalidator.status import Status  # noqa: TC001  msgspec reads the annotations

LONGEST_REQUEST = 64 << 10
"""Bytes of a line, its end included."""
TIMEOUT = 30.0
LONGEST_TIMEOUT = 3600.0

Timeout = Annotated[float, msgspec.Meta(gt=0, le=LONGEST_TIMEOUT)]
Names = Annotated[tuple[Annotated[str, msgspec.Meta(max_length=64)], ...], msgspec.Meta(max_length=1000)]


class Request(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="op"
):
    """What every request may say."""

    v: Literal[1] = 1
    file: str = ""


class Ping(Request, frozen=True, kw_only=True, tag="ping"):
    """Whether somebody is there."""


class GetStatus(Request, frozen=True, kw_only=True, tag="status"):
    """The daemon's Status."""


class Reload(Request, frozen=True, kw_only=True, tag="reload"):
    """Read the topology again; with `wait`, answered when what it changed has taken effect, or after `timeout`."""

    wait: bool = False
    timeout: Timeout = TIMEOUT


class Restart(Request, frozen=True, kw_only=True, tag="restart"):
    """Stop these workers and start them again; with `wait`, answered when they are subscribed."""

    workers: Names = ()
    wait: bool = False
    timeout: Timeout = TIMEOUT


class Pause(Request, frozen=True, kw_only=True, tag="pause"):
    """Stop purging, not reading, until `resume`: outlives a worker's restart and a reload, not the daemon."""

    workers: Names = ()
    all: bool = False


class Resume(Request, frozen=True, kw_only=True, tag="resume"):
    """The end of a pause."""

    workers: Names = ()
    all: bool = False


class Tap(Request, frozen=True, kw_only=True, tag="tap"):
    """Look on: what these workers hear and do, or all of them."""

    workers: Names = ()


class DeadLetters(Request, frozen=True, kw_only=True, tag="deadletters"):
    """Which dead letters there are, of one worker or of one of its backends; with `page`, what stands in one file.

    A page begins at the byte `offset`, and says where the `next` one does.
    """

    worker: str = ""
    backend: str = ""
    page: str = ""
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class RetryDeadLetters(Request, frozen=True, kw_only=True, tag="deadletter-retry"):
    """Give dead letters to their lanes again; with `wait`, answered when all of them have come to an end."""

    worker: str = ""
    backend: str = ""
    wait: bool = False
    timeout: Timeout = TIMEOUT


AnyRequest = Ping | GetStatus | Reload | Restart | Pause | Resume | Tap | DeadLetters | RetryDeadLetters
OPS = ("ping", "status", "reload", "restart", "pause", "resume", "tap", "deadletters", "deadletter-retry")
_REQUESTS = msgspec.json.Decoder(AnyRequest)


class DeadLetterBox(msgspec.Struct, frozen=True, kw_only=True):
    """A file with dead letters of one lane. `part`: empty, `retry` (being tried again), or `garbage` (no letters)."""

    file: str
    worker: str
    backend: str
    node: str = ""
    part: str = ""
    bytes: int = 0


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some lines of such a file, and the byte at which the next page begins; None if this is the last."""

    lines: tuple[str, ...]
    next: int | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What becomes of a request. `text`: what was done, for a person; `problems`: everything wrong with a file."""

    ok: bool
    exit: int = EXIT_OK
    error: str = ""
    problems: tuple[str, ...] = ()
    text: str = ""
    status: Status | None = None
    boxes: tuple[DeadLetterBox, ...] = ()
    page: DeadLetterPage | None = None


class RequestError(Exception):
    """A line that is no request. Its text says what is."""


def decode_request(line: bytes) -> AnyRequest:
    """What a line asks for. Raises RequestError, and nothing else, whatever the line is."""
    try:
        request: AnyRequest = _REQUESTS.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        said = f"{error}"[:300] or type(error).__name__
        raise RequestError(f'no request: {said}; it is {{"op": "…"}} on one line, with {", ".join(OPS)}') from None
    return request


def refused(error: str, exit_code: int = EXIT_USAGE) -> Answer:
    """The answer to what cannot be done."""
    return Answer(ok=False, exit=exit_code, error=error)


def done(text: str = "", status: Status | None = None) -> Answer:
    """The answer to what has been done."""
    return Answer(ok=True, text=text, status=status)


def encode(value: msgspec.Struct) -> bytes:
    """A line, its end included."""
    return msgspec.json.encode(value) + b"\n"

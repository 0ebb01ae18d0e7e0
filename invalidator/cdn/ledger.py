"""What is left in a vendor's buckets, as all workers of this host see it: one small file, locked for each look.

A vendor counts by account. Workers that each kept a bucket of their own would together ask for as many times too much.
The file holds one record, written by one pwrite under flock: a process that is killed leaves the old record or the new
one, and its lock goes with it. Whoever holds the lock does nothing but read and write, so that nobody waits for long.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.cdn.bucket import Cost, Grant, Limit, grant
from invalidator.cdn.record import State, decode, encode, record_size
from invalidator.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_LOCK = 0.25
"""Seconds to wait for the lock. Ours hold it for microseconds: a stopped process, or a stranger, holds it for longer,
and purges would wait for it without a word."""
_LOCK_TICK = 0.001


@dataclass(slots=True)
class _Page:
    """The state, while it is looked at. A new one is kept."""

    state: State


class Ledger:
    """The buckets of one account. `path` None: of this process alone. Never raises: without its file it is private."""

    def __init__(self, limits: Iterable[Limit], path: Path | None = None) -> None:
        self.limits = tuple(limits)
        self._path = path
        self._boot = _boot_id()
        self._private: State | None = None
        self._locked_out = False

    def take(self, wishes: Iterable[Cost]) -> Grant:
        """Take tokens for as many of these calls as there are tokens for."""
        asked = tuple(wishes)
        with self._open() as page:
            state = page.state
            if state.before > state.at:
                return Grant((False,) * len(asked), state.before - state.at, state.tokens)
            granted = grant(self.limits, state.tokens, asked)
            page.state = state._replace(tokens=granted.tokens)
            return granted

    def shares(self) -> tuple[float, ...]:
        """The share that is left of each bucket, 0 to 1."""
        with self._open() as page:
            pairs = zip(page.state.tokens, self.limits, strict=True)
            return tuple(tokens / limit.burst for tokens, limit in pairs)

    def refused(self, seconds: float) -> None:
        """The vendor has said "too many": nobody asks for so long, and what we thought was left is not."""
        with self._open() as page:
            state = page.state
            before = max(state.before, state.at + seconds)
            page.state = state._replace(tokens=(0.0,) * len(self.limits), before=before)

    @contextmanager
    def _open(self) -> Iterator[_Page]:
        descriptor = self._locked()
        try:
            page = _Page(self._own() if descriptor is None else self._read(descriptor))
            before = page.state
            yield page
            if page.state is not before:
                self._write(descriptor, page.state)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _locked(self) -> int | None:
        if self._path is None:
            return None
        try:
            # The daemon makes this folder when it has something to keep, and this may be the first.
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            self._alone(error)
            return None
        try:
            _lock(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            self._wait_no_longer()
            return None
        except OSError as error:
            os.close(descriptor)
            self._alone(error)
            return None
        self._locked_out = False
        return descriptor

    def _own(self) -> State:
        """The state as this process knows it. While others have a file, nothing of their taking is known here."""
        return self._now(self._private, new=self._path is None)

    def _read(self, descriptor: int) -> State:
        now, wall = time.monotonic(), time.time()
        count = len(self.limits)
        try:
            data = os.pread(descriptor, record_size(count) + 1, 0)
        except OSError:
            data = b"?"
        # A file that we have written to, and that is empty, was taken away: what others took is not known.
        return self._now(decode(data, count, self._boot, now, wall), new=not data and self._private is None)

    def _write(self, descriptor: int | None, state: State) -> None:
        self._private = state
        if descriptor is None:
            return
        record = encode(state, self._boot)
        try:
            os.pwrite(descriptor, record, 0)
            os.ftruncate(descriptor, len(record))
        except OSError as error:  # no space is left, say: what cannot be shared is still counted
            self._alone(error)

    def _now(self, known: State | None, *, new: bool) -> State:
        """The state as of now. `new`: nobody has asked for anything yet."""
        now, wall = time.monotonic(), time.time()
        if known is None:
            # A file that holds something else says nothing of what was asked for: better late than refused.
            return State(tuple(limit.burst if new else 0.0 for limit in self.limits), now, wall)
        pairs = zip(known.tokens, self.limits, strict=True)
        return State(tuple(limit.refilled(tokens, now - known.at) for tokens, limit in pairs), now, wall, known.before)

    def _alone(self, error: OSError) -> None:
        self._warn(error.strerror or str(error))
        self._path = None

    def _wait_no_longer(self) -> None:
        """Count for ourselves this time, and say so once for as long as that lasts."""
        if not self._locked_out:
            self._warn(f"locked by another process for more than {LONGEST_LOCK} s")
        self._locked_out = True

    def _warn(self, error: str) -> None:
        get_logger("cdn").warning(
            "cdn.limits_not_shared",
            path=str(self._path),
            error=error,
            consequence="each worker counts the vendor's limit for itself",
        )


def _lock(descriptor: int) -> None:
    """Lock the file. Raises BlockingIOError when somebody else keeps it."""
    end = time.monotonic() + LONGEST_LOCK
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
            time.sleep(_LOCK_TICK)  # flock knows no deadline
        else:
            return


def shared(folder: Path | None, limits: Iterable[Limit], *identity: str) -> Ledger:
    """The ledger for whatever `identity` names: all who give the same words and limits share it, given a `folder`.

    The words are only kept as a digest: a token may be among them.
    """
    known = tuple(limits)
    if folder is None:
        return Ledger(known)
    words = repr((identity, [(limit.rate, limit.burst) for limit in known]))
    digest = hashlib.blake2b(words.encode("utf-8", "backslashreplace"), digest_size=12, person=b"invalidator-cdn")
    return Ledger(known, folder / f"cdn-{digest.hexdigest()}.limits")


def _boot_id() -> bytes:
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return bytes.fromhex(text.replace("-", "")).ljust(16, b"\0")[:16]
    except (OSError, ValueError):
        return bytes(16)

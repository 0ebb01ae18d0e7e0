"""Waiting for a condition, and for a time only where nothing is to happen: the ways in which a test may wait."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_EPHEMERAL = 32_768  # from here up the kernel hands ports out to connections
_LOWEST, _SHARE = 20_000, 120
_start = _LOWEST + os.getpid() % ((_EPHEMERAL - _LOWEST) // _SHARE) * _SHARE
_ports = itertools.cycle(range(_start, _start + _SHARE))


def wait_until(condition: Callable[[], T], deadline: float = 10.0, why: str | Callable[[], str] = "") -> T:
    """The first true answer of `condition`. AssertionError after `deadline` seconds, saying `why` and the last answer.

    `why` may be a function: it is then asked at the end, say for the log of the process that did not do its part.
    """
    end = time.monotonic() + deadline
    clock = threading.Event()
    while not (answer := condition()):
        if time.monotonic() >= end:
            text = why() if callable(why) else why
            raise AssertionError(f"not so after {deadline:g} s (the last answer was {answer!r}): {text}")
        clock.wait(0.005)
    return answer


def wait_past(moment: float) -> None:
    """Until this second of the monotonic clock: for what must not have happened by then, or takes its time on purpose.

    The one wait that is for no condition; whoever calls it says what it is that takes so long.
    """
    wait_until(lambda: time.monotonic() > moment, max(0.0, moment - time.monotonic()) + 10)


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens.

    It lies below the kernel's ephemeral range, or a passing connection could take it while the server of a test is
    down and about to return; and in this process's own share, or tests that run in parallel could take it.
    """
    for port in itertools.islice(_ports, _SHARE):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port from {_start} to {_start + _SHARE}")

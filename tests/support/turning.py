"""An endpoint with a loop of its own, as the supervisor turns it."""

from __future__ import annotations

import select
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.doors.endpoint import Endpoint


@contextmanager
def turning(server: Endpoint) -> Iterator[Endpoint]:
    """Turn it in a thread, and close it at the end."""
    done = threading.Event()

    def loop() -> None:
        while not done.is_set():
            poll = select.poll()
            for fd, events in server.fds(time.monotonic()):
                poll.register(fd, events)
            ready = {fd for fd, _ in poll.poll(20)}
            server.turn(ready, time.monotonic())

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield server
    finally:
        done.set()
        thread.join()
        server.close()

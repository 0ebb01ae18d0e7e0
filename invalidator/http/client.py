"""The client's face: one origin, a few connections, and `exchange`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.http.connection import Timeouts
from invalidator.http.exchange import Answer, Exchange
from invalidator.http.glance import Glance
from invalidator.http.pool import Pool
from invalidator.http.response import Limits

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from pathlib import Path

    from invalidator.http.origin import Origin
    from invalidator.http.request import Request


class Client:
    """Sends requests to one origin. For one thread at a time; nothing is contacted before the first exchange."""

    def __init__(
        self,
        origin: Origin,
        *,
        connections: int = 8,
        pipeline: int = 1,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """`pipeline`: how many requests without a body may wait for their answers on one connection.

        `ca_file`: trust these certificates instead of the system's. Raises OSError if it cannot be read.
        """
        self.origin = origin
        self._pool = Pool(
            origin,
            size=connections,
            pipeline=pipeline,
            timeouts=timeouts or Timeouts(),
            glance=Glance(limits or Limits()),
            context=_tls(ca_file) if origin.scheme == "https" else None,
        )

    def exchange(self, requests: Sequence[Request], deadline: float) -> list[Answer]:
        """Send all requests and wait for the answer of each, by `deadline` (monotonic seconds); in their order.

        A request that cannot be encoded safely is not sent: its answer is a BackendError `unsafe`. Requests may reach
        the server in any order, and again if a kept connection turns out to be stale, or ends before their turn came:
        they must be idempotent.
        """
        return Exchange(self._pool, requests, deadline).run()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - 10 ms that plain http does not pay

    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context

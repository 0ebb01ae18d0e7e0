"""What the metrics port shows, path by path. Each page is made when it is asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator.doors.endpoint import Page
from invalidator.doors.looks import HEADERS
from invalidator.doors.page import page
from invalidator.slots import clock
from invalidator.supervision import metrics
from invalidator.supervision.report import report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from invalidator.status import Status
    from invalidator.supervision.fleet import Fleet
    from invalidator.supervision.report import Daemon


class Pages:
    """The pages of one daemon."""

    def __init__(self, daemon: Daemon, fleet: Fleet) -> None:
        self._daemon = daemon
        self._fleet = fleet

    def paths(self) -> Mapping[str, Callable[[], Page]]:
        """Each path, and what makes its page."""
        return {"/": self._page, "/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}

    def status(self) -> Status:
        """The whole daemon, now."""
        return report(self._daemon, self._fleet, clock(), time.time())

    def _page(self) -> Page:
        return Page(200, page(self.status()), "text/html; charset=utf-8", HEADERS)

    def _metrics(self) -> Page:
        now = clock()
        views = [child.view(now) for child in self._fleet.workers.values()]
        text = metrics.render(views, reload_ok=self._daemon.reload.ok, version=self._daemon.version)
        return Page(200, text, "text/plain; version=0.0.4; charset=utf-8")

    def _healthz(self) -> Page:
        return Page(200, "ok\n")

    def _readyz(self) -> Page:
        unready = self._fleet.unready(clock())
        if self._daemon.stopping:
            return Page(503, "stopping\n")
        return Page(503, f"not subscribed: {', '.join(unready)}\n") if unready else Page(200, "ready\n")

"""The whole examination: asks everybody at once, waits no longer than it may, and judges what came back."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from invalidator.doctor import backends, buffers, headroom, journals, layout, rights, slowlog, standing, subscriptions
from invalidator.doctor import daemon as daemons
from invalidator.doctor.candidates import candidates
from invalidator.doctor.daemon import Daemon
from invalidator.doctor.reading import read
from invalidator.doctor.servers import servers
from invalidator.doctor.session import Unreached
from invalidator.topology.state import remark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from invalidator.doctor.facts import Facts
    from invalidator.doctor.finding import Finding
    from invalidator.doctor.servers import Server
    from invalidator.topology.load import Loaded

PATIENCE = 8.0
"""Seconds for all questions together. DNS and TLS can each take longer, and neither can be cancelled."""
PATIENT_FOR = 1.0
"""Seconds after which whoever waits is told for what."""


@dataclass(slots=True)
class _Question:
    """Something to ask, and the answer: what it is to be taken for until there is one."""

    about: str
    ask: Callable[[], Any]
    answer: Any
    error: Exception | None = None

    def run(self) -> None:
        try:
            self.answer = self.ask()
        except Exception as error:  # noqa: BLE001  raised again where it can be seen
            self.error = error


def examine(loaded: Loaded, waiting: Callable[[list[str]], None], patience: float = PATIENCE) -> list[Finding]:
    """Every finding, by subject. Returns within about `patience` seconds; `waiting` is told once whom it waits for."""
    topology = loaded.topology
    everywhere = servers(topology)
    silence = Unreached("silent", f"no answer within {patience:g} s")
    asked_servers = [_Question(f"redis {server.name}", partial(read, server), silence) for server in everywhere]
    tried, broken = candidates(topology, loaded.plugins)
    asked_backends = [
        _Question(f"backend {each.blank.backend} {each.blank.node}".rstrip(), each.attempt, each.blank)
        for each in tried
    ]
    address = topology.supervisor.metrics
    away = Daemon("away", f"{address}: no answer within {patience:g} s")
    asked_daemon = _Question("the daemon", partial(daemons.ask, address), away)
    _all_at_once([*asked_servers, *asked_backends, asked_daemon], waiting, patience)
    found: list[Finding] = []
    for server, asked in zip(everywhere, asked_servers, strict=True):
        found += _about(server, asked.answer, asked_daemon.answer, str(topology.file))
    found += [backends.finding(trial, patience) for trial in (*broken, *(asked.answer for asked in asked_backends))]
    found += layout.findings(topology, (*loaded.warnings, *remark(loaded)))
    found.append(daemons.finding(asked_daemon.answer, str(topology.file)))
    return [_redacted(each, loaded) for each in found]


def _redacted(finding: Finding, loaded: Loaded) -> Finding:
    subject, evidence, fix = map(loaded.redacted, (finding.subject, finding.evidence, finding.fix))
    return replace(finding, subject=subject, evidence=evidence, fix=fix)


def _about(server: Server, answer: Facts | Unreached, daemon: Daemon, file: str) -> Iterator[Finding]:
    if isinstance(answer, Unreached):
        yield standing.unreached(server, answer)
        return
    yield from standing.findings(server, answer)
    yield from subscriptions.findings(server, answer, daemon, file)
    yield from rights.findings(server, answer)
    yield from journals.findings(server, answer)
    yield from buffers.findings(server, answer)
    yield from headroom.findings(server, answer)
    yield from slowlog.findings(server, answer, slowlog.server_time(answer, time.time()))


def _all_at_once(questions: Sequence[_Question], waiting: Callable[[list[str]], None], patience: float) -> None:
    threads = [threading.Thread(target=question.run, name=question.about, daemon=True) for question in questions]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    _join(threads, began + min(PATIENT_FOR, patience))
    if late := [thread.name for thread in threads if thread.is_alive()]:
        waiting(late)
        _join(threads, began + patience)
    for question in questions:
        if question.error is not None:
            raise question.error


def _join(threads: Sequence[threading.Thread], until: float) -> None:
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))

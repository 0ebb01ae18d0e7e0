"""Where it was measured: a figure without it says nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hiredis
import redis

import invalidator
from invalidator.doctor.facts import info_of
from invalidator.doctor.session import session
from invalidator.publisher.client import shown_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.bench.subjects import Subject


def environment(subjects: Iterable[Subject]) -> dict[str, Any]:
    """This host, what runs on it, and the servers that carry the messages."""
    servers = {shown_url(subject.settings.url.reveal()): subject for subject in subjects}
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "invalidator": invalidator.__version__,
        "redis_py": redis.__version__,
        "hiredis": hiredis.__version__,
        "redis": {url: _version(subject) for url, subject in servers.items()},
    }


def processor_seconds(pid: int | None) -> float | None:
    """What a process and its threads have used of the processors since it began."""
    try:
        after_the_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has gone, or there is no /proc
        return None
    return (int(after_the_name[11]) + int(after_the_name[12])) / os.sysconf("SC_CLK_TCK")


def _version(subject: Subject) -> str | None:
    """None: it does not tell us."""
    try:
        with session(subject.settings) as asked:
            told = info_of(asked.ask("INFO", "server"))
    except (redis.RedisError, OSError):  # it takes a right that nothing else here needs
        return None
    return told.get("valkey_version") or told.get("redis_version")

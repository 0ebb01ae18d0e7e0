"""The drill, with a path that is 100 ms ± 20 ms late each way: `invalidator drill --faults slow`, and its exit code.

The drill's own proxy holds up what passes, in both ways of delivery. It takes no rights and no kernel with netem, so
that the gate is the same everywhere. Packets instead of chunks are late in `make chaos ARGS="--only stale.delay"`.
(`tc ... delay 100ms jitter 20ms`, as one finds it in an article, is no syntax of tc's: it is `delay 100ms 20ms`.)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gates.commands import done, end_of
from gates.gate import Verdict
from invalidator.embedded import find_redis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FAULT = "slow"
WAYS = 2
"""Of delivery: pubsub, and journal."""
_PATIENCE = 120.0


def judged(code: int, report: Mapping[str, Any], trouble: str) -> Verdict:
    """Pure. What was not tried is no promise kept, whatever the exit code."""
    outcomes = report.get("outcomes", [])
    promises = [promise for outcome in outcomes for promise in outcome["promises"]]
    broken = [f"{one['promise']}: {one['evidence']}" for one in promises if not one["kept"]]
    entries = sum(outcome["entries"] for outcome in outcomes)
    published = sum(outcome["published"] for outcome in outcomes)
    said = (
        f"{len(promises) - len(broken)} of {len(promises)} promises kept; stale: {report.get('stale')} of {entries:,}"
    )
    figures = {"code": code, "entries": entries, "published": published, "broken": broken}
    if broken:
        return Verdict("failed", f"{said}; {'; '.join(broken)}", figures)
    if code:
        return Verdict("failed", f"exit code {code}: {trouble}", figures)
    if len(outcomes) < WAYS or not (entries and published):
        return Verdict("failed", f"shows nothing: {len(outcomes)} of {WAYS} ways, {published} messages", figures)
    return Verdict("passed", f"{said} entries after {published:,} messages", figures)


def drill(folder: Path) -> Verdict:
    """Both ways of delivery, one after the other."""
    del folder  # it makes its own
    said = done(["invalidator", "drill", "--faults", FAULT, "--json"], _PATIENCE)
    return judged(said.returncode, json.loads(said.stdout) if said.stdout else {}, end_of(said.stderr))


def missing() -> str:
    """The server that it takes; the caches it takes where they are."""
    return "" if find_redis() else "redis-server is not on this machine"

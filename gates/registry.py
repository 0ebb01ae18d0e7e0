"""All gates, in the order in which they are judged: the cheap ones first."""

from __future__ import annotations

from functools import partial

from gates import chaos, load, propagation, rules
from gates.gate import Gate

ATTEMPTS = 3
_SECONDS = 5.0

GATES = (
    Gate("rules", "flake8 with the rules for subscriptions, here and on bad snippets", rules.rules),
    Gate(
        "propagation.1k",
        "publish to purged, 1,000 a second: p99 < 50 ms",
        partial(propagation.propagation, 1_000, _SECONDS),
        propagation.missing,
        ATTEMPTS,
    ),
    Gate(
        "propagation.10k",
        "publish to purged, 10,000 a second: p99 < 50 ms",
        partial(propagation.propagation, 10_000, _SECONDS),
        propagation.missing,
        ATTEMPTS,
    ),
    Gate(
        "load",
        "500 clients publish 100,000 messages: omem below a tenth of its limit, nothing missing",
        load.load,
        load.missing,
        ATTEMPTS,
    ),
    Gate("chaos", "the drill, 100 ms ± 20 ms on the path: every promise kept", chaos.drill, chaos.missing),
)

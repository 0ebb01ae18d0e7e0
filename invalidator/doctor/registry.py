"""Every kind of finding that there is, in the order in which a person reads of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.doctor import (
    backends,
    buffers,
    daemon,
    headroom,
    journals,
    layout,
    rights,
    slowlog,
    standing,
    subscriptions,
)

if TYPE_CHECKING:
    from invalidator.doctor.finding import Kind

SECTIONS: tuple[tuple[str, tuple[Kind, ...]], ...] = (
    ("Redis", standing.KINDS),
    ("Subscriptions", subscriptions.KINDS),
    ("Rights", rights.KINDS),
    ("Journal", journals.KINDS),
    ("Output buffers", buffers.KINDS),
    ("Clients and memory", headroom.KINDS),
    ("Slow log", slowlog.KINDS),
    ("Backends", backends.KINDS),
    ("Topology", layout.KINDS),
    ("Daemon", daemon.KINDS),
)

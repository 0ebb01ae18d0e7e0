"""What workers share of the supervisor's memory. A page that a worker writes to becomes its own, and reading an object
is writing too: it is counted. So what every worker would work out is worked out once, before the fork."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from invalidator.pipeline.assembly import foresee

if TYPE_CHECKING:
    from invalidator.topology.models import Topology, WorkerSpec


def settle() -> None:
    """What is here now stays for good: a worker's collector need not look at it, which would copy its pages."""
    gc.collect()
    gc.freeze()


def prepare(topology: Topology, spec: WorkerSpec) -> None:
    """Before each fork."""
    foresee(topology, spec)
    forget_lookups()


def forget_lookups() -> None:
    """Have Python forget which attributes of which types it has found.

    It remembers some thousand of them. A worker finds others, and for each that it puts in the place of one of ours it
    would let go of that one's name, somewhere in our memory: more than half a megabyte in the end.
    """
    forget = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache  # noqa: SLF001  the older name
    forget()

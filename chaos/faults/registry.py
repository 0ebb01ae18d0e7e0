"""All faults by their names, in the order in which they are tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.faults.broker import ClosedSubscription, FullOutputBuffer, KilledRedis, NoRoom, StoppedRedis
from chaos.faults.caches import (
    AwayDuringCrash,
    Failing,
    HalfDone,
    HangingMemcached,
    HangingReplica,
    Silent,
    TooMany,
    UnreachableMemcached,
)
from chaos.faults.network import Delayed, Dropped, Lossy, Reset
from chaos.faults.operator import Reload, SetClock
from chaos.faults.processes import KilledSupervisor, KilledWorker, StoppedWorker
from chaos.faults.way import (
    ChangedPassword,
    IdleProxy,
    KilledMaster,
    StoppedMaster,
    SwitchedProxy,
    TakenRight,
    TrimmedStream,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.faults.fault import Fault

FAULTS: Mapping[str, type[Fault]] = {
    fault.name: fault
    for fault in (
        KilledWorker,
        KilledSupervisor,
        StoppedWorker,
        KilledRedis,
        StoppedRedis,
        ClosedSubscription,
        NoRoom,
        FullOutputBuffer,
        Dropped,
        Delayed,
        Lossy,
        Reset,
        TakenRight,
        ChangedPassword,
        KilledMaster,
        StoppedMaster,
        TrimmedStream,
        IdleProxy,
        SwitchedProxy,
        HangingMemcached,
        HangingReplica,
        UnreachableMemcached,
        AwayDuringCrash,
        TooMany,
        Failing,
        HalfDone,
        Silent,
        SetClock,
        Reload,
    )
}

"""The records of a table: who feeds it, and whose word is taken back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from invalidator_lru.table import (
    CHANGES,
    HEARTBEAT,
    NAME,
    OWNER,
    PROOF,
    RECORD_WORDS,
    UNTIL,
    Table,
    name_hash,
    stamps,
)

if TYPE_CHECKING:
    from collections.abc import Collection


def feeder_name(worker: str, backend: str = "") -> str:
    """Under which name a worker feeds. Each of its backends counts: one may owe work that another has done."""
    return f"{worker}\0{backend}"


def announce(table: Table) -> None:
    """Have every reader look at the records again."""
    table.words[PROOF] = table.words[CHANGES] = stamps.next()


def set_feeders(table: Table, feeders: Collection[str]) -> None:
    """Make these the table's feeders: those that stay keep their proof, a new one has none yet."""
    set_names(table, {name_hash(feeder) for feeder in feeders})


def set_names(table: Table, wanted: Collection[int]) -> None:
    """The same, with the names as they are in the records: hashed."""
    words = table.words
    free = [record for record in table.records() if not words[record + NAME]]
    gone = [record for record in table.records() if words[record + NAME] and words[record + NAME] not in wanted]
    for record in gone:
        # From the last word to the first: a record that is half cleared must not vouch for anything.
        for word in reversed(range(RECORD_WORDS)):
            words[record + word] = 0
    missing = sorted(set(wanted) - {words[record + NAME] for record in table.records()})
    # The ones that were just given back come last: whoever had them may be about to write its last heartbeat.
    for name, record in zip(missing, [*free, *gone], strict=False):
        words[record + UNTIL] = words[record + HEARTBEAT] = words[record + OWNER] = 0
        words[record + NAME] = name
    if gone or missing:
        announce(table)


def retract_dead(table: Table, feeder: str) -> None:
    """Take back what this feeder vouched for, if the process that did is no more. Its successor may vouch already."""
    record = table.record_of(feeder)
    if record is not None and table.words[record + UNTIL] and not _is_alive(table.words[record + OWNER]):
        table.words[record + UNTIL] = table.words[record + HEARTBEAT] = table.words[record + OWNER] = 0
        announce(table)


def _is_alive(pid: int) -> bool:
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""A table whose file is gone, or its folder with it, made again by a worker: the supervisor does not look."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from invalidator_lru.draft import write_new
from invalidator_lru.records import set_feeders, set_names
from invalidator_lru.table import Table, TableError, file_identity, open_table

if TYPE_CHECKING:
    from invalidator_lru.draft import Plan
    from invalidator_lru.roster import Roster


def remake(plan: Plan, roster: Roster) -> bool:
    """Make the table that is missing at the plan's path. False: not now, or not we. Raises TableError.

    Several workers may do so at the same time, and the supervisor may apply another topology meanwhile:

    - A file is linked to the path, not renamed: that fails if there is one already, so one worker is the first.
    - Whom the new table lists, the roster says. If the supervisor has begun to change it before our file was there, it
      has not seen that, and the list may be an old one; then we withdraw it. Nobody can have trusted it: we are on it,
      and have not vouched there.
    - If the supervisor begins afterwards, it finds our file, as it finds any.

    The workers then move to it one by one, as to any other file, and none vouches for two.
    """
    read = roster.read()
    if read is None or not read[1]:
        return False
    version, names = read
    try:
        new = write_new(plan)
        try:
            table = open_table(new, writable=True)
            set_names(table, names)
            os.link(new, plan.path)
        finally:
            new.unlink(missing_ok=True)
    except FileExistsError:
        return False
    except OSError as error:
        raise TableError(f"cannot make {plan.path}: {error.strerror}") from error
    if roster.is_still(version):
        return True
    _withdraw(plan, table)
    return False


def _withdraw(plan: Plan, table: Table) -> None:
    set_feeders(table, ())  # first: whoever finds it here does not trust it
    if file_identity(plan.path) == table.identity:
        plan.path.unlink(missing_ok=True)

"""`invalidator reload`: have the daemon read its topology again, and learn what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from invalidator.commands.addressing import addressed, limited, named, order
from invalidator.control.protocol import Reload

if TYPE_CHECKING:
    from pathlib import Path

READING = 25.0
"""Seconds that a daemon may take to read its file, plugins and all."""


@click.command("reload")
@addressed
@click.option("--wait", is_flag=True, help="Until every worker that it changes is subscribed.")
@limited("With --wait: seconds.")
def command(*, file: Path | None, path: Path | None, wait: bool, timeout: float) -> None:
    """Have the daemon read its topology again. Workers that are as they were keep running.

    Exit code 78: the file is wrong, and nothing has changed; 69: an address in it cannot be had, or no daemon answers;
    1: with --wait, a worker did not come up in time, and which.
    """
    request = Reload(file=named(file), wait=wait, timeout=timeout)
    order(file, path, request, READING + (timeout if wait else 0.0))

"""`invalidator pause`: stop purging for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from invalidator.commands.addressing import addressed, named, order
from invalidator.control.protocol import Pause

if TYPE_CHECKING:
    from pathlib import Path


@click.command("pause")
@click.argument("workers", metavar="[WORKER]...", nargs=-1)
@addressed
@click.option("--all", "everybody", is_flag=True, help="Every worker of the daemon.")
def command(*, workers: tuple[str, ...], file: Path | None, path: Path | None, everybody: bool) -> None:
    """Stop purging, and go on reading: what arrives waits, within the bounds of each lane.

    A pause outlives the worker's restart and a reload, and ends with `resume` or with the daemon.
    """
    if everybody == bool(workers):
        raise click.UsageError("name a WORKER, or say --all")
    order(file, path, Pause(file=named(file), workers=workers, all=everybody), 0.0)

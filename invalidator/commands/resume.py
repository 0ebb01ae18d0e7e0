"""`invalidator resume`: purge again after a pause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from invalidator.commands.addressing import addressed, named, order
from invalidator.control.protocol import Resume

if TYPE_CHECKING:
    from pathlib import Path


@click.command("resume")
@click.argument("workers", metavar="[WORKER]...", nargs=-1)
@addressed
@click.option("--all", "everybody", is_flag=True, help="Every worker of the daemon.")
def command(*, workers: tuple[str, ...], file: Path | None, path: Path | None, everybody: bool) -> None:
    """Purge again, and first what has waited."""
    if everybody == bool(workers):
        raise click.UsageError("name a WORKER, or say --all")
    order(file, path, Resume(file=named(file), workers=workers, all=everybody), 0.0)

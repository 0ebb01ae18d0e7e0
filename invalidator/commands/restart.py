"""`invalidator restart`: replace a worker's process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from invalidator.commands.addressing import addressed, limited, named, order
from invalidator.control.protocol import Restart

if TYPE_CHECKING:
    from pathlib import Path


@click.command("restart")
@click.argument("workers", metavar="WORKER...", nargs=-1, required=True)
@addressed
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until it is subscribed again.")
@limited()
def command(*, workers: tuple[str, ...], file: Path | None, path: Path | None, wait: bool, timeout: float) -> None:
    """Replace the processes of WORKERs. Each goes on until its successor is ready: nothing is missed.

    Exit code 1: one was not subscribed in time, and which.
    """
    request = Restart(file=named(file), workers=workers, wait=wait, timeout=timeout)
    order(file, path, request, timeout if wait else 0.0)

"""`invalidator run`: the daemon, in the foreground."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import click

from invalidator import logs, signals
from invalidator.commands.topology_file import topology_file

if TYPE_CHECKING:
    from pathlib import Path


@click.command("run")
@topology_file
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "text", "json"]),
    default="auto",
    show_default=True,
    help="auto: text on a terminal, one JSON object a line elsewhere.",
)
def command(file: Path, log_level: logs.Level, log_format: logs.Format) -> None:
    """Run the daemon in the foreground, until TERM or INT. HUP reads the topology again."""
    held: tuple[signal.Signals, ...] = (signal.SIGHUP,)
    if os.getpid() == 1:
        # The kernel drops what process 1 has no handler for: a container that is told to end while it starts would not.
        held = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    for number in held:
        signals.hold_back(number)  # until there is a handler; what follows takes a while
    from invalidator.supervision.supervisor import Supervisor  # noqa: PLC0415  # --help need not wait for it
    from invalidator.topology.load import Loaded, load  # noqa: PLC0415
    from invalidator.topology.state import prepare  # noqa: PLC0415

    logs.configure(log_level, log_format)
    log = logs.get_logger()
    file = file.absolute()

    def read() -> Loaded:
        loaded = load(file)
        directory = loaded.topology.supervisor.state_dir
        if error := prepare(directory):
            log.warning("state_dir.unusable", path=str(directory), error=error, detail="dead letters would be lost")
        return loaded

    loaded = read()
    for warning in loaded.warnings:
        log.warning("topology.warning", text=str(warning))
    supervisor = Supervisor(loaded, read)
    for number in held:
        signals.let_through(number)
    sys.exit(supervisor.run())

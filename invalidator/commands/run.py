"""`invalidator run`: the daemon, in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from invalidator import logs


@click.command("run")
@click.option(
    "-c", "--config", "file", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The topology."
)
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
    from invalidator.supervision.supervisor import Supervisor  # noqa: PLC0415  # --help need not wait for it
    from invalidator.topology.load import load  # noqa: PLC0415

    logs.configure(log_level, log_format)
    file = file.absolute()
    loaded = load(file)
    for warning in loaded.warnings:
        logs.get_logger().warning("topology.warning", text=str(warning))
    sys.exit(Supervisor(loaded, lambda: load(file)).run())

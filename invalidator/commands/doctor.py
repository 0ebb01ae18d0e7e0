"""`invalidator doctor`: what is wrong with this Redis, these backends and this topology."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from invalidator.commands.topology_file import topology_file
from invalidator.errors import EXIT_CONFIG, EXIT_OK, EXIT_VERDICT_NO, ConfigError
from invalidator.topology.load import load

if TYPE_CHECKING:
    from pathlib import Path


@click.command("doctor")
@topology_file
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one JSON object.")
@click.pass_context
def command(ctx: click.Context, file: Path, *, as_json: bool) -> None:
    """Find what is wrong with this Redis, these backends and this topology.

    Each finding has its evidence, what it means, and a fix. Nothing of yours is purged. Exit code 1: something is
    wrong; 78: the topology cannot be read.
    """
    try:
        loaded = load(file)
    except ConfigError as error:
        click.echo(str(error), err=True)
        if as_json:
            problems = [problem._asdict() for problem in error.problems]
            click.echo(json.dumps({"ok": False, "file": str(file), "problems": problems, "findings": []}))
        ctx.exit(EXIT_CONFIG)
    from invalidator.doctor import report  # noqa: PLC0415  brings redis: only once there is something to ask
    from invalidator.doctor.examination import examine  # noqa: PLC0415

    findings = examine(loaded, _tell_whom_we_wait_for)
    if as_json:
        click.echo(json.dumps(report.as_dict(findings, str(file))))
    else:
        for line in report.text(findings, str(file)):
            click.echo(line)
    ctx.exit(EXIT_VERDICT_NO if report.is_wrong(findings) else EXIT_OK)


def _tell_whom_we_wait_for(late: list[str]) -> None:
    if sys.stderr.isatty():
        click.echo(f"waiting for {', '.join(late)}", err=True)

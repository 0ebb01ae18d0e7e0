"""`invalidator status`: what the daemon says of itself, for a person or a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from invalidator.commands.addressing import addressed, connect, fail, named
from invalidator.commands.terminal import columns, echo
from invalidator.control.protocol import GetStatus
from invalidator.errors import EXIT_OK, EXIT_VERDICT_NO, InvalidatorError
from invalidator.screen.status_text import drawn

if TYPE_CHECKING:
    from pathlib import Path


@click.command("status")
@addressed
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.pass_context
def command(ctx: click.Context, *, file: Path | None, path: Path | None, as_json: bool) -> None:
    """Show the daemon's workers, their lanes, and what is wrong with them.

    Exit code 1: something is wrong, and the first lines say what; 69: no daemon answers.
    """
    with connect(file, path) as client:
        answer = client.ask(GetStatus(file=named(file)))
    if not answer.ok:
        fail(answer)
    status = answer.status
    if status is None:
        raise InvalidatorError("the daemon has answered without a status")
    if as_json:
        click.echo(msgspec.json.encode(status).decode())
    else:
        echo(drawn(status, columns()))
    ctx.exit(EXIT_OK if status.state == "running" else EXIT_VERDICT_NO)

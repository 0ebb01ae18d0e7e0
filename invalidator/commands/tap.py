"""`invalidator tap`: what the workers hear, live, and what becomes of it. Each message is then taken by itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import msgspec

from invalidator.channel import Dropped, Heard, Outcome
from invalidator.commands.addressing import addressed, connect, fail, named
from invalidator.commands.terminal import echo
from invalidator.control.protocol import Tap
from invalidator.errors import UnreachableError
from invalidator.screen.tap_text import event_line

if TYPE_CHECKING:
    from pathlib import Path

_EVENTS = msgspec.json.Decoder(Heard | Outcome | Dropped)


@click.command("tap")
@click.argument("workers", metavar="[WORKER]...", nargs=-1)
@addressed
@click.option("--json", "as_json", is_flag=True, help="Print each event as one JSON object.")
def command(*, workers: tuple[str, ...], file: Path | None, path: Path | None, as_json: bool) -> None:
    """Show what WORKERs hear and what becomes of it, or what all do. Ctrl-C ends it.

    What comes faster than it can be shown is left out, and counted. Exit code 69: the daemon has gone.
    """
    width = None if sys.stdout.isatty() else 0
    with connect(file, path) as client:
        answer = client.ask(Tap(file=named(file), workers=workers))
        if not answer.ok:
            fail(answer)
        for encoded in client.lines():
            if as_json:
                click.echo(encoded.decode(errors="replace"))
            else:
                echo([event_line(_event(encoded))], width)


def _event(encoded: bytes) -> Heard | Outcome | Dropped:
    try:
        event: Heard | Outcome | Dropped = _EVENTS.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # a daemon that runs on after an upgrade, say
        raise UnreachableError(f"what answers is no daemon of this version: {error}") from None
    return event

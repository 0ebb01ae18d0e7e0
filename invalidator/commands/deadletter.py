"""`invalidator deadletter`: what nobody will purge, and having it tried again."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from invalidator.commands.addressing import addressed, connect, fail, limited, named, order
from invalidator.commands.terminal import echo
from invalidator.control.protocol import DeadLetters, RetryDeadLetters
from invalidator.screen.letters_text import Pile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from invalidator.control.client import Client
    from invalidator.control.protocol import Answer, DeadLetterBox


@click.group("deadletter", no_args_is_help=True)
def command() -> None:
    """What nobody will purge any more: targets that a backend never takes, or that a lane had no room for."""


@command.command("list")
@click.argument("worker", default="")
@click.argument("backend", default="")
@addressed
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON array.")
def list_(*, worker: str, backend: str, file: Path | None, path: Path | None, as_json: bool) -> None:
    """Show the dead letters of each lane: how many, why, since when, and the latest."""
    with connect(file, path) as client:
        answer = _asked(client, DeadLetters(file=named(file), worker=worker, backend=backend))
        piles = _piles(client, answer.boxes, named(file))
    if as_json:
        click.echo(json.dumps([pile.as_json() for pile in piles]))
    elif piles:
        echo(line for pile in piles for line in pile.lines(time.time()))
    else:
        click.echo("there are no dead letters")


@command.command("retry")
@click.argument("worker", default="")
@click.argument("backend", default="")
@addressed
@click.option("--wait/--no-wait", default=False, show_default=True, help="Until all of them have come to an end.")
@limited()
def retry(*, worker: str, backend: str, file: Path | None, path: Path | None, wait: bool, timeout: float) -> None:
    """Give dead letters to their lanes once more: all, or those of a WORKER, or of one of its BACKENDs.

    None is lost by that, whatever dies in between: those that are not purged are dead letters again. With --wait, exit
    code 1: some have died again, or were not done in time.
    """
    request = RetryDeadLetters(file=named(file), worker=worker, backend=backend, wait=wait, timeout=timeout)
    order(file, path, request, timeout if wait else 0.0)


def _piles(client: Client, boxes: tuple[DeadLetterBox, ...], file: str) -> list[Pile]:
    piles: dict[tuple[str, str, str], Pile] = {}
    for box in boxes:
        pile = piles.setdefault((box.worker, box.backend, box.node), Pile(box.worker, box.backend, box.node))
        pile.bytes += box.bytes
        pile.trying |= box.part == "retry"
        for lines in _pages(client, box, file):
            pile.add(lines)
    return list(piles.values())


def _pages(client: Client, box: DeadLetterBox, file: str) -> Iterator[tuple[str, ...]]:
    offset: int | None = 0
    while offset is not None:
        answer = client.ask(DeadLetters(file=file, page=box.file, offset=offset))
        if answer.page is None:
            return  # it has gone meanwhile: its letters have been tried again, or are about to be
        yield answer.page.lines
        offset = answer.page.next


def _asked(client: Client, request: DeadLetters) -> Answer:
    answer = client.ask(request)
    if not answer.ok:
        fail(answer)
    return answer

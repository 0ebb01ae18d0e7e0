"""How the commands for a running daemon find it: by its topology, by its socket, or where it is by default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from invalidator import logs
from invalidator.control.client import Client
from invalidator.control.protocol import LONGEST_TIMEOUT, TIMEOUT, Ping
from invalidator.screen.text import visible
from invalidator.topology import places

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.control.protocol import Answer, AnyRequest

F = TypeVar("F", bound="Callable[..., Any]")


def addressed(command: F) -> F:
    """Gives a command the options -c and --socket, as the arguments `file` and `path`."""
    config = click.option(
        "-c",
        "--config",
        "file",
        type=click.Path(path_type=Path, dir_okay=False, readable=False),
        help="Ask the daemon of this topology.",
    )
    path = click.option(
        "--socket",
        "path",
        # Whether it may be read is for us to say, with the exit code for it: to click it would be a mistake of usage.
        type=click.Path(path_type=Path, readable=False),
        help="Ask the daemon at this control socket.",
    )
    return config(path(command))


def limited(text: str = "Seconds to wait.") -> Callable[[F], F]:
    """Gives a command the option --timeout, within what the daemon lets anybody wait."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, max=LONGEST_TIMEOUT, min_open=True),
        default=TIMEOUT,
        show_default=True,
        help=text,
    )


def connect(file: Path | None, path: Path | None) -> Client:
    """A connection to that daemon. Raises UnreachableError, and ConfigError for a file that cannot be read."""
    if file is not None and path is not None:
        raise click.UsageError("say -c FILE or --socket PATH, not both")
    if file is not None:
        from invalidator.control.where import find  # noqa: PLC0415  brings the reader of YAML

        return find(file)
    return Client(path or places.control_socket())


def named(file: Path | None) -> str:
    """What a request says of the topology that is meant, so that no other daemon obeys it."""
    return "" if file is None else str(file.resolve())


def order(file: Path | None, path: Path | None, request: AnyRequest, wait: float) -> None:
    """Have something done, say what was done, and end with the exit code that the daemon answers with."""
    with connect(file, path) as client:
        client.ask(Ping())  # a daemon that hangs is found at once, and not after the wait
        answer = client.ask(request, wait)
    if not answer.ok:
        fail(answer)
    click.echo(visible(answer.text))


def fail(answer: Answer) -> NoReturn:
    """Say why something was not done, and end."""
    for text in (*answer.problems, *answer.error.splitlines()):
        # It may quote what stands in a file, or come from no daemon of ours.
        click.echo(logs.as_error(visible(text)), err=True)
    click.get_current_context().exit(answer.exit or 1)

"""`invalidator demo`: the daemon's whole job on this machine, with faults, and a verdict."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import click

from invalidator.errors import EXIT_OK, EXIT_VERDICT_NO

if TYPE_CHECKING:
    from types import FrameType


@click.command("demo")
@click.option(
    "--seconds", type=click.FloatRange(min=1, max=3600), default=10.0, show_default=True, help="How long it publishes."
)
@click.option(
    "--without-guards", is_flag=True, hidden=True, help="Ignore gaps: the oracle must then find stale entries."
)
def command(seconds: float, *, without_guards: bool) -> None:
    """Show the whole job: real servers, real caches, a worker killed, the subscription cut, and what is stale then.

    Everything runs on loopback and in a temporary directory, and is gone afterwards. Exit code 0 says that no entry of
    any cache is stale.
    """
    from invalidator.demo.show import run  # noqa: PLC0415 -- --help need not wait for it

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    verdict = run(seconds, guards=not without_guards)
    for line in verdict.lines():
        click.echo(line)
    sys.exit(EXIT_OK if verdict.good else EXIT_VERDICT_NO)


def _leave(number: int, frame: FrameType | None) -> None:
    del frame
    sys.exit(128 + number)  # through every `with`: nothing that we started stays behind

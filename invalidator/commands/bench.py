"""`invalidator bench`: how long it takes from publish to purged, and how much goes through, in one's own topology."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invalidator.commands import terminal
from invalidator.errors import EXIT_OK, EXIT_VERDICT_NO
from invalidator.screen.text import COLUMNS

if TYPE_CHECKING:
    from types import FrameType

    from invalidator.bench.bench import Daemon

RATES = (1_000.0, 10_000.0)
_FRAME = 0.2


def _duration(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    del ctx, parameter
    if value is None:
        return None
    from invalidator.options import parse_duration  # noqa: PLC0415 -- brings pydantic

    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from None
    if not seconds:
        raise click.BadParameter("must be more than 0")
    return seconds


@click.command("bench")
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, readable=False),
    help="Measure the daemon that runs this topology.",
)
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path, readable=False),
    help="Its control socket, if FILE does not lead there.",
)
@click.option("--url", help="Measure a small daemon of the bench's own, on this Redis.")
@click.option("--worker", "workers", metavar="NAME", multiple=True, help="Only this one; may be repeated.")
@click.option(
    "--rate",
    "rates",
    type=click.FloatRange(1, 200_000),
    multiple=True,
    help="Messages a second; may be repeated.  [default: 1000 and 10000]",
)
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=5.0, show_default=True, help="Of each rate.")
@click.option(
    "--burst",
    type=click.IntRange(0, 50_000),
    default=20_000,
    show_default=True,
    help="Distinct keys published at full speed, three times; 0: none.",
)
@click.option("--assert-p99", "limit", callback=_duration, metavar="DURATION", help="Exit 1 if any p99 is longer.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object.")
@click.pass_context
def command(ctx: click.Context, /, file: Path | None, path: Path | None, url: str | None, **options: Any) -> None:
    """Measure how long it takes from publish to purged, and how much goes through, in a topology of yours.

    Another process publishes keys that nobody has (invalidator:bench:…) on channels that the workers hear; whoever
    else is subscribed there hears them too. Workers are measured one after the other. Those with a journal, and those
    whose purges may cost money, only if --worker names them.

    Exit code 1: a p99 is beyond --assert-p99, a message is lost, or there was a gap; 69: it cannot be measured.
    """
    target = _target(file, path, url)
    from invalidator.bench import bench, report, results  # noqa: PLC0415 -- --help need not wait for it
    from invalidator.bench.environment import environment  # noqa: PLC0415

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    plan = bench.Plan(options["rates"] or RATES, options["seconds"], options["burst"], options["workers"])
    progress = Progress()
    try:
        found = bench.run(target, plan, progress.tell)
        where = environment(found.subjects)
    finally:
        progress.clear()
    wrong = results.objections(found.results, options["limit"], plan.patience)
    if options["as_json"]:
        click.echo(json.dumps(report.as_dict(found, where, wrong, options["limit"])))
    elif sys.stdout.isatty():
        terminal.echo(report.drawn(found, where, wrong, terminal.columns()))
    else:
        terminal.echo(report.logged(found, where, wrong), width=0)
    ctx.exit(EXIT_VERDICT_NO if wrong else EXIT_OK)


class Progress:
    """On stderr: one line that changes, on a terminal; elsewhere one for each step."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._step = ""
        self._width = 0
        self._due = 0.0

    def tell(self, step: str, text: str) -> None:
        """What is being done, and how far it is."""
        if self._live:
            if step == self._step and time.monotonic() < self._due:
                return  # told of each receipt, it would take a part of the processor that is measured
            self._due = time.monotonic() + _FRAME
            shown = f"{step}: {text}"[: COLUMNS - 1]
            click.echo("\r" + shown.ljust(self._width), nl=False, err=True)
            self._width = len(shown)
        elif step != self._step:
            click.echo(step, err=True)
        self._step = step

    def clear(self) -> None:
        """Take the line away again."""
        if self._live and self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False, err=True)


def _target(file: Path | None, path: Path | None, url: str | None) -> Daemon | str:
    if (file is None) == (url is None):
        raise click.UsageError("say -c FILE, for a daemon that runs, or --url URL, for one of the bench's own")
    if url is not None:
        _check(url)
        return url
    assert file is not None  # noqa: S101 -- for the type checker
    from invalidator.bench.bench import Daemon  # noqa: PLC0415 -- see below

    return Daemon(file, path)


def _check(url: str) -> None:
    from pydantic import ValidationError  # noqa: PLC0415 -- see above

    from invalidator.topology.settings import RedisSettings  # noqa: PLC0415

    try:
        RedisSettings.model_validate({"url": url})
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"], param_hint="--url") from None


def _leave(number: int, frame: FrameType | None) -> None:
    del frame
    sys.exit(128 + number)  # through every `with`: nothing that we started stays behind

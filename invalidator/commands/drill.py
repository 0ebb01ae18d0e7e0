"""`invalidator drill`: faults on this machine, one after the other, and whether the daemon keeps its promises."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from invalidator.commands import terminal
from invalidator.errors import EXIT_OK, EXIT_VERDICT_NO

if TYPE_CHECKING:
    from types import FrameType

    from invalidator.drill.drill import Watcher
    from invalidator.drill.fault import Fault
    from invalidator.drill.promises import Outcome
    from invalidator.stage.building import Stage

DELIVERIES = {"pubsub": ("pubsub",), "journal": ("journal",), "both": ("pubsub", "journal")}
_SEEDS = 1 << 32


def _faults(ctx: click.Context, parameter: click.Parameter, names: str) -> tuple[Fault, ...]:
    del ctx, parameter
    from invalidator.drill.drill import FAULTS  # noqa: PLC0415 -- --help need not wait for it
    from invalidator.plugins import suggestion  # noqa: PLC0415

    known = {fault.name: fault for fault in FAULTS}
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip())) or list(known)
    for name in wanted:
        if name not in known:
            raise click.BadParameter(f"there is no fault '{name}'{suggestion(name, known)}; --list shows them")
    return tuple(known[name] for name in wanted)


@click.command("drill")
@click.option("--faults", default="", callback=_faults, metavar="NAME,…", help="Only these, in this order.")
@click.option("--delivery", type=click.Choice(list(DELIVERIES)), default="both", show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Of load before each fault."
)
@click.option(
    "--rate", type=click.FloatRange(1, 20_000), default=500.0, show_default=True, help="Changes published in a second."
)
@click.option("--seed", type=click.IntRange(0, _SEEDS - 1), help="Of the moment at which each fault strikes.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcomes as one JSON object.")
@click.option("--list", "listed", is_flag=True, help="List the faults, and do nothing.")
@click.option("--without-guards", is_flag=True, hidden=True, help="Ignore gaps: promises must then be broken.")
@click.pass_context
def command(ctx: click.Context, /, faults: tuple[Fault, ...], **options: Any) -> None:
    """Break things on this machine, one after the other and under load, and see whether every promise is kept.

    Redis, the caches and the daemon are the drill's own, on loopback and in a temporary directory; nothing of yours is
    touched. Exit code 0: every promise was kept; 1: one was not; 69: a server that it needs cannot be had.
    """
    from invalidator.drill import report  # noqa: PLC0415 -- see above
    from invalidator.drill.drill import Plan, run  # noqa: PLC0415

    if options["listed"]:
        terminal.echo(report.listing(faults))
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    seed = random.randrange(_SEEDS) if options["seed"] is None else options["seed"]
    plan = Plan(
        DELIVERIES[options["delivery"]],
        faults,
        options["rate"],
        options["seconds"],
        seed,
        guards=not options["without_guards"],
    )
    outcomes = run(plan, _silent() if options["as_json"] else _talkative())
    if options["as_json"]:
        click.echo(json.dumps(report.as_dict(outcomes, seed)))
    else:
        click.echo()
        terminal.echo(report.verdict(outcomes, seed))
    ctx.exit(EXIT_OK if outcomes and all(outcome.kept for outcome in outcomes) else EXIT_VERDICT_NO)


def _silent() -> Watcher:
    from invalidator.drill.drill import Watcher  # noqa: PLC0415 -- see above

    return Watcher(stage=lambda *_: None, begins=lambda _: None, ended=lambda _: None)


def _talkative() -> Watcher:
    from invalidator.drill import report  # noqa: PLC0415 -- see above
    from invalidator.drill.drill import Watcher  # noqa: PLC0415

    live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def stage(delivery: str, built: Stage) -> None:
        click.echo(f"delivery {delivery}; caches: {', '.join(built.addresses)}")
        for absent in built.caches.absent:
            click.echo(f"without {absent}")
        terminal.echo([report.heading(terminal.columns())])

    def begins(fault: Fault) -> None:
        if live:  # gone again when its outcome is there
            click.echo(report.under_way(fault, terminal.columns()), nl=False)

    def ended(outcome: Outcome) -> None:
        if live:
            click.echo(f"\r{' ' * (terminal.columns() - 1)}\r", nl=False)  # an escape would go the way of colours
        terminal.echo(report.row(outcome, terminal.columns()))

    return Watcher(stage, begins, ended)


def _leave(number: int, frame: FrameType | None) -> None:
    del frame
    sys.exit(128 + number)  # through every `with`: nothing that we started stays behind

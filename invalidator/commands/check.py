"""`invalidator check`: everything that is wrong with a topology, before anything is started."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from invalidator.commands.topology_file import topology_file
from invalidator.errors import EXIT_CONFIG, EXIT_OK, EXIT_UNREACHABLE, ConfigError
from invalidator.screen.text import plural
from invalidator.topology.load import load
from invalidator.topology.state import remark

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from invalidator.errors import Problem
    from invalidator.probe import Probe
    from invalidator.topology.load import Loaded


@click.command("check")
@topology_file
@click.option("--connect", is_flag=True, help="Try Redis and every backend as well; nothing is purged.")
@click.option("--print", "show", is_flag=True, help="Print the topology with every default, secrets as ***.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.pass_context
def command(ctx: click.Context, file: Path, *, connect: bool, show: bool, as_json: bool) -> None:
    """Find everything that is wrong with a topology, all at once.

    Contacts nothing without --connect. Exit code 78: the topology is wrong; 69: something does not answer.
    """
    report: dict[str, Any] = {"ok": False, "file": str(file), "problems": [], "warnings": []}
    try:
        loaded = load(file)
    except ConfigError as error:
        click.echo(str(error), err=True)
        report["problems"] = _as_dicts(error.problems)
        if as_json:
            click.echo(json.dumps(report))
        ctx.exit(EXIT_CONFIG)
    loaded = replace(loaded, warnings=(*loaded.warnings, *remark(loaded)))
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    probes = _probes(loaded) if connect else []
    reached = all(not tried.error for tried in probes)
    if as_json:
        report |= _as_dict(loaded, probes, show=show) | {"ok": reached}
        click.echo(json.dumps(report))
    else:
        _tell(file, loaded, probes, show=show, reached=reached)
    ctx.exit(EXIT_OK if reached else EXIT_UNREACHABLE)


def _tell(file: Path, loaded: Loaded, probes: Sequence[Probe], *, show: bool, reached: bool) -> None:
    # With --print, stdout is the topology and nothing else.
    if show:
        from invalidator.topology.printing import normalised, to_yaml  # noqa: PLC0415

        click.echo(to_yaml(normalised(loaded)), nl=False)
    for tried in probes:
        click.echo(str(tried), err=show)
    if reached:
        click.echo(f"{file}: ok: {_counted(loaded)}", err=show)


def _probes(loaded: Loaded) -> list[Probe]:
    from invalidator.probe import probe  # noqa: PLC0415  brings redis: only for who asks for it

    return probe(loaded)


def _counted(loaded: Loaded) -> str:
    workers, backends = len(loaded.topology.workers), len(loaded.topology.backends)
    said = [plural(workers, "worker"), plural(backends, "backend")]
    if loaded.warnings:
        said.append(plural(len(loaded.warnings), "warning"))
    return ", ".join(said)


def _as_dict(loaded: Loaded, probes: Sequence[Probe], *, show: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "warnings": _as_dicts(loaded.warnings),
        "workers": len(loaded.topology.workers),
        "backends": len(loaded.topology.backends),
        "connections": [
            {"what": tried.what, "name": tried.name, "where": tried.where, "ok": not tried.error, "error": tried.error}
            for tried in probes
        ],
    }
    if show:
        from invalidator.topology.printing import normalised  # noqa: PLC0415

        shown["topology"] = normalised(loaded)
    return shown


def _as_dicts(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    return [problem._asdict() for problem in problems]

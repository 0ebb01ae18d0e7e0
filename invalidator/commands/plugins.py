"""`invalidator plugins`: what is installed, and what its options are."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from invalidator.plugins import Installed, Plugins, installed, load_installed, suggestion
from invalidator.topology.describe import Row, described, kinds_text

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command("plugins")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(name: str | None, *, as_json: bool) -> None:
    """List the installed plugins, or with NAME the options of a plugin's types.

    This imports every one of them; a daemon imports those alone that its topology names.
    """
    found = installed()
    if name is not None:
        known = {plugin.name for plugin in found} | {type_name for plugin in found for type_name in plugin.types}
        if name not in known:
            raise click.UsageError(f"no plugin '{name}' is installed{suggestion(name, known)}")
        found = [plugin for plugin in found if name == plugin.name or name in plugin.types]
    loaded = load_installed()[0]
    if as_json:
        click.echo(json.dumps([_as_dict(plugin, loaded) for plugin in found]))
    elif name is None:
        click.echo(_table(found))
    else:
        click.echo("\n\n".join(_in_full(plugin, loaded) for plugin in found))


def _as_dict(plugin: Installed, loaded: Plugins) -> dict[str, Any]:
    options = {name: [row._asdict() for row in described(loaded.types[name])] for name in plugin.types}
    return asdict(plugin) | {"options": options}


def _in_full(plugin: Installed, loaded: Plugins) -> str:
    parts = [f"{plugin.name}: {plugin.distribution} {plugin.version}: {plugin.error or 'ok'}"]
    for name in plugin.types:
        model = loaded.types[name]
        parts += ["", f"type: {name}", kinds_text(model), _columns([Row._fields, *described(model)])]
    return "\n".join(parts)


def _table(found: Sequence[Installed]) -> str:
    rows = [("name", "distribution", "version", "types", "state")]
    for plugin in found:
        types = ", ".join(plugin.types) or "-"
        rows.append((plugin.name, plugin.distribution, plugin.version, types, plugin.error or "ok"))
    return _columns(rows)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join("  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in rows)

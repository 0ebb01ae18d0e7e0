"""`invalidator schema`: the JSON Schema of topologies, for editors and for whoever writes them by program."""

from __future__ import annotations

import json

import click

from invalidator.plugins import load_installed
from invalidator.topology.schema import schema


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of topologies, with the options of every installed plugin."""
    plugins, problems = load_installed()
    for problem in problems:
        click.echo(f"warning: {problem.name}: {problem.text}", err=True)
    click.echo(json.dumps(schema(plugins.types), indent=2, ensure_ascii=False))

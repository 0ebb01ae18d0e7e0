"""The option -c of the commands that work on a topology, and cannot without one."""

from __future__ import annotations

from pathlib import Path

import click

topology_file = click.option(
    "-c",
    "--config",
    "file",
    required=True,
    # Whether it may be read is for us to say, with 78: to click it would be a mistake of usage, and a service that
    # ends with that is started again for ever.
    type=click.Path(path_type=Path, dir_okay=False, readable=False),
    help="The topology.",
)
"""Gives a command the option, as the argument `file`."""

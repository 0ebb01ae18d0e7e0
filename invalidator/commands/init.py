"""`invalidator init`: a topology to start from."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

STARTER = """\
# A topology of invalidator. `invalidator check -c FILE` finds what is wrong with it, `invalidator doctor -c FILE` what
# is wrong with its Redis and its caches, and `invalidator run -c FILE` runs it.
# Every setting: `invalidator schema`; a backend's: `invalidator plugins TYPE`.
redis:
  url: redis://127.0.0.1:6379/0             # where messages arrive
backends:
  seen: {type: log}                         # logs what it would purge; for real caches see `invalidator plugins`
  # objects: {type: memcached, servers: ["127.0.0.1:11211"]}
workers:
  - name: users
    pattern: "cache:invalidate:users:*"     # the channels that it hears
    backends: [seen]
    flush: {prefix: "users:"}               # what to forget when messages may have been missed
    # delivery: journal                     # or read again what was missed, where publishers use `publish --journal`
"""


@click.command("init")
@click.argument("path", default=None, required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--systemd",
    "folder",
    is_flag=False,
    flag_value=".",
    metavar="[DIR]",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the systemd units to DIR instead (by default to this folder).",
)
def command(path: Path | None, folder: Path | None) -> None:
    """Write a topology to start from to PATH (invalidator.yaml). What is there already is never overwritten."""
    if folder is None:
        path = path or Path("invalidator.yaml")
        _write({path: STARTER})
        click.echo(f"wrote {path}; next: invalidator check -c {path}", err=True)
    elif path is not None:
        raise click.UsageError("one at a time: a topology to PATH, or the units with --systemd")
    else:
        _write_units(folder)


def _write_units(folder: Path) -> None:
    from invalidator.units import hidden, units  # noqa: PLC0415  # brings the models: not for a topology to start from

    program = _own_program()
    try:
        texts = units(program)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    _write({folder / name: text for name, text in texts.items()})
    click.echo(f"wrote {' and '.join(str(folder / name) for name in texts)}, for {program}", err=True)
    if why := hidden(program):
        click.echo(f"warning: {why}", err=True)
    click.echo("next: groupadd --system invalidator-readers; systemctl enable --now invalidator", err=True)


def _own_program() -> str:
    """The script `invalidator` that we are, or that lies beside the interpreter that runs us."""
    called, beside = Path(sys.argv[0]), Path(sysconfig.get_path("scripts"), "invalidator")
    for path in (called, beside):
        if path.name == "invalidator" and path.is_absolute() and path.is_file():
            return str(path)
    raise click.UsageError(f"there is no {beside} for the units to start: install invalidator with pip")


def _write(texts: Mapping[Path, str]) -> None:
    """Write all of them, or none if one is there already."""
    for path in texts:
        if path.exists() or path.is_symlink():
            raise click.UsageError(f"{path} is there already, and stays as it is")
    for path, text in texts.items():
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise click.UsageError(f"{path} cannot be written: {error.strerror}") from None

"""`invalidator init`: a topology to start from."""

from __future__ import annotations

from pathlib import Path

import click

STARTER = """\
# A topology of invalidator. `invalidator check -c FILE` finds what is wrong with it, `invalidator run -c FILE` runs it.
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
"""


@click.command("init")
@click.argument("path", default="invalidator.yaml", type=click.Path(path_type=Path, dir_okay=False))
def command(path: Path) -> None:
    """Write a topology to start from to PATH (invalidator.yaml). What is there already is never overwritten."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError:
        raise click.UsageError(f"{path} is there already, and stays as it is") from None
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"wrote {path}; next: invalidator check -c {path}", err=True)

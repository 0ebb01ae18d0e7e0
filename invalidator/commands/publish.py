"""`invalidator publish`: say from a shell what became stale."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invalidator.envelope import MAX_PAYLOAD
from invalidator.errors import InvalidatorError, PublishError
from invalidator.publisher import Published, Publisher
from invalidator.screen.text import plural
from invalidator.secret_file import read_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

DEFAULT_URL = "redis://127.0.0.1:6379/0"
_BLOCK = 64 * 1024


@click.command("publish")
@click.argument("channel")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option(
    "--url", envvar="INVALIDATOR_URL", help=f"The Redis to publish to.  [default: FILE's, else {DEFAULT_URL}]"
)
@click.option(
    "-c", "--config", "file", type=click.Path(path_type=Path, readable=False), help="Take the Redis of this topology."
)
@click.option(
    "--tag", "tags", metavar="T", multiple=True, help="Everything tagged T; may be repeated, as the next two."
)
@click.option("--prefix", "prefixes", metavar="P", multiple=True, help="Every key that begins with P.")
@click.option("--url-target", "urls", metavar="U", multiple=True, help="What HTTP caches and CDNs hold for the URL U.")
@click.option("--all", "everything", is_flag=True, help="Everything. A worker obeys only if its topology grants it.")
@click.option("--soft", is_flag=True, help="Mark as stale instead of removing, where a cache can.")
@click.option("--stdin", "from_stdin", is_flag=True, help="More keys from standard input, one a line, as they come.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(  # noqa: PLR0913 -- one parameter for each option
    *,
    channel: str,
    keys: tuple[str, ...],
    url: str | None,
    file: Path | None,
    tags: tuple[str, ...],
    prefixes: tuple[str, ...],
    urls: tuple[str, ...],
    everything: bool,
    soft: bool,
    from_stdin: bool,
    as_json: bool,
) -> None:
    """Publish that the KEYs are stale: on CHANNEL, to every worker whose pattern matches it.

    Exit code 0 says that Redis took it, not that a cache has forgotten it.
    """
    named: dict[str, Any] = {"keys": keys, "tags": tags, "prefixes": prefixes, "urls": urls, "all": everything}
    tally = Tally(channel)
    with _publisher(url, file) as publisher:
        if keys or tags or prefixes or urls or everything:
            tally.add(publisher.invalidate(channel, **named, soft=soft))
        if from_stdin:
            _publish_lines(publisher, tally, soft=soft)
    if not tally.ids:
        raise PublishError("there is nothing to invalidate: name a KEY, a --tag, a --prefix, a --url-target or --all")
    click.echo(tally.as_json() if as_json else tally.as_text())


def _publish_lines(publisher: Publisher, tally: Tally, *, soft: bool) -> None:
    try:
        for lines in _blocks_of_lines(sys.stdin.buffer):
            tally.add(publisher.invalidate(tally.channel, lines, soft=soft))
    except InvalidatorError:
        click.echo(f"before the error, {plural(tally.targets, 'target')} had been published", err=True)
        raise


@dataclass
class Tally:
    """What was published in all. `receivers` is how many subscriptions got every message."""

    channel: str
    ids: list[str]
    targets: int = 0
    messages: int = 0
    receivers: int = 0

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.ids = []

    def add(self, sent: Published) -> None:
        """Count one call to the publisher."""
        self.receivers = min(self.receivers, sent.receivers) if self.ids else sent.receivers
        self.ids.append(sent.id)
        self.targets += sent.targets
        self.messages += sent.messages

    def as_text(self) -> str:
        """One line for a person."""
        what, parcels = plural(self.targets, "target"), plural(self.messages, "message")
        return f"published {what} in {parcels} to {self.channel} ({plural(self.receivers, 'receiver')})"

    def as_json(self) -> str:
        """One line for a program."""
        counts = {"targets": self.targets, "messages": self.messages, "receivers": self.receivers}
        return json.dumps({"channel": self.channel, "ids": self.ids, **counts})


def _publisher(url: str | None, file: Path | None) -> Publisher:
    source = click.get_current_context().get_parameter_source("url")
    if file is None or (url and source is click.core.ParameterSource.COMMANDLINE):
        return Publisher(url or DEFAULT_URL)
    from invalidator.topology.load import load  # noqa: PLC0415 -- brings pydantic and every plugin that FILE names

    redis = load(file).topology.redis
    if redis is None:
        raise PublishError(f"{file} names no redis for all of its workers: say which one with --url")
    password = read_secret(redis.password_file).decode().strip("\r\n") if redis.password_file else None
    return Publisher(redis.url.reveal(), password=password)


def _blocks_of_lines(stream: BinaryIO) -> Iterator[list[str]]:
    """The lines of a stream, as many at a time as have arrived: a pipe that stays open is obeyed while it does."""
    number = 0
    rest = b""
    while block := stream.read1(_BLOCK):  # type: ignore[attr-defined]
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > MAX_PAYLOAD:
            raise PublishError(f"line {number + len(lines) + 1} of the standard input is longer than a message")
        if keys := _keys(lines, number):
            yield keys
        number += len(lines)
    if keys := _keys([rest], number):
        yield keys


def _keys(lines: list[bytes], before: int) -> list[str]:
    keys = []
    for number, line in enumerate(lines, before + 1):
        try:
            keys.append(line.rstrip(b"\r").decode())
        except UnicodeDecodeError:
            raise PublishError(f"line {number} of the standard input is not UTF-8") from None
    return [key for key in keys if key]

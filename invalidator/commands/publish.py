"""`invalidator publish`: say from a shell what became stale."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invalidator import reply
from invalidator.envelope import MAX_PAYLOAD
from invalidator.errors import InvalidatorError, PublishError
from invalidator.journal import script
from invalidator.publisher import NotAppliedError, Published, Publisher
from invalidator.screen.text import plural
from invalidator.secret_file import read_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from invalidator.reply import Reply

DEFAULT_URL = "redis://127.0.0.1:6379/0"
_BLOCK = 64 * 1024


@click.command("publish")
@click.argument("channel", required=False)
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
@click.option("--journal", is_flag=True, help="Keep it in the journal too, for workers with delivery: journal.")
@click.option(
    "--wait",
    type=float,
    metavar="SECONDS",
    help="Wait until every worker that hears CHANNEL has applied it in all of its caches; else exit 1, and say who.",
)
@click.option("--print-script", is_flag=True, help="Print the script that publishes with a journal, for any language.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(  # noqa: PLR0913 -- one parameter for each option
    *,
    channel: str | None,
    keys: tuple[str, ...],
    url: str | None,
    file: Path | None,
    tags: tuple[str, ...],
    prefixes: tuple[str, ...],
    urls: tuple[str, ...],
    everything: bool,
    soft: bool,
    from_stdin: bool,
    journal: bool,
    wait: float | None,
    print_script: bool,
    as_json: bool,
) -> None:
    """Publish that the KEYs are stale: on CHANNEL, to every worker whose pattern matches it.

    Exit code 0 says that Redis took it; with --wait, that every cache has forgotten it.
    """
    if print_script:
        click.echo(script.source(), nl=False)
        return
    if channel is None:
        raise click.UsageError("Missing argument 'CHANNEL'.")
    named: dict[str, Any] = {"keys": keys, "tags": tags, "prefixes": prefixes, "urls": urls, "all": everything}
    tally = Tally(channel, waited=wait is not None)
    with _publisher(url, file, journal=journal) as publisher:
        if keys or tags or prefixes or urls or everything:
            tally.add(partial(publisher.invalidate, channel, **named, soft=soft, wait=wait))
        if from_stdin:
            _publish_lines(publisher, tally, soft=soft, wait=wait)
    if not tally.ids:
        raise PublishError("there is nothing to invalidate: name a KEY, a --tag, a --prefix, a --url-target or --all")
    click.echo(tally.as_json() if as_json else tally.as_text())
    if tally.refusal:
        raise tally.refusal


def _publish_lines(publisher: Publisher, tally: Tally, *, soft: bool, wait: float | None) -> None:
    try:
        for lines in _blocks_of_lines(sys.stdin.buffer):
            tally.add(partial(publisher.invalidate, tally.channel, lines, soft=soft, wait=wait))
    except InvalidatorError:
        click.echo(f"before the error, {plural(tally.targets, 'target')} had been published", err=True)
        raise


@dataclass
class Tally:
    """What was published in all. `receivers` is how many subscriptions got every message.

    `refusal` is the first reason for which not all of it is known to be applied.
    """

    channel: str
    waited: bool = False
    ids: list[str] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)
    receipts: list[Reply] = field(default_factory=list)
    refusal: NotAppliedError | None = None
    targets: int = 0
    messages: int = 0
    receivers: int = 0

    def add(self, publish: Callable[[], Published]) -> None:
        """Make one call to the publisher, and count what it has published."""
        try:
            sent = publish()
        except NotAppliedError as error:
            sent, self.refusal = error.published, self.refusal or error
        self.receivers = min(self.receivers, sent.receivers) if self.ids else sent.receivers
        self.ids.append(sent.id)
        self.journal += sent.journal
        self.receipts += sent.receipts
        self.targets += sent.targets
        self.messages += sent.messages

    def as_text(self) -> str:
        """One line for a person."""
        what, parcels = plural(self.targets, "target"), plural(self.messages, "message")
        applied = f", applied by {self._everybody()}" if self.waited and not self.refusal else ""
        return f"published {what} in {parcels} to {self.channel} ({plural(self.receivers, 'receiver')}){applied}"

    def as_json(self) -> str:
        """One line for a program."""
        counts: dict[str, Any] = {"targets": self.targets, "messages": self.messages, "receivers": self.receivers}
        if self.journal:
            counts["journal"] = self.journal
        if self.waited:
            receipts = [json.loads(reply.written(said)) for said in self.receipts]
            missing = list(self.refusal.missing) if self.refusal else []
            counts |= {"applied": self.refusal is None, "missing": missing, "receipts": receipts}
        return json.dumps({"channel": self.channel, "ids": self.ids, **counts})

    def _everybody(self) -> str:
        workers = {(said.host, said.worker, said.instance) for said in self.receipts}
        backends = {(said.host, said.worker, said.instance, said.backend) for said in self.receipts}
        return f"{plural(len(workers), 'worker')} in {plural(len(backends), 'backend')}"


def _publisher(url: str | None, file: Path | None, *, journal: bool) -> Publisher:
    source = click.get_current_context().get_parameter_source("url")
    given = url if file is None or source is click.core.ParameterSource.COMMANDLINE else None
    if file is None:
        return Publisher(given or DEFAULT_URL, journal=journal)
    if given and not journal:
        return Publisher(given)
    from invalidator.topology.load import load  # noqa: PLC0415 -- brings pydantic and every plugin that FILE names

    topology = load(file).topology
    kept: dict[str, Any] = {"journal": journal, "stream": topology.journal.stream, "keep": topology.journal.keep}
    if given:
        return Publisher(given, **kept)
    redis = topology.redis
    if redis is None:
        raise PublishError(f"{file} names no redis for all of its workers: say which one with --url")
    password = read_password(redis.password_file) if redis.password_file else None
    return Publisher(redis.url.reveal(), password=password, **kept)


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

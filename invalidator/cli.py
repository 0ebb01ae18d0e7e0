"""The command line: finds the command that was asked for, imports it alone, and gives every error its exit code."""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from contextlib import suppress
from importlib import import_module, metadata

import click

from invalidator import __version__, logs
from invalidator.errors import EXIT_BUG, EXIT_OK, InvalidatorError, PluginError

GROUP = "invalidator.commands"
"""The entry points of further commands. They are listed by name, and imported when one is used."""

EXIT_INTERRUPTED = 128 + 2
EXIT_BROKEN_PIPE = 128 + 13

COMMANDS = {
    "run": "The daemon, in the foreground.",
    "check": "Find everything that is wrong with a topology.",
    "demo": "See the whole job done, faults included, and a verdict.",
    "drill": "Break things on purpose, and see every promise kept.",
    "init": "Write a topology to start from.",
    "schema": "Print the JSON Schema of topologies.",
    "plugins": "List the installed plugins, or one's options.",
    "publish": "Publish an invalidation.",
    "status": "Show a running daemon's workers, and what is wrong.",
    "reload": "Have the daemon read its topology again.",
    "restart": "Replace the process of a worker.",
    "pause": "Stop purging for a while.",
    "resume": "Purge again.",
    "tap": "Watch messages, and what becomes of them.",
    "top": "Watch the whole daemon, live.",
    "deadletter": "List what nobody will purge, or have it tried again.",
    "doctor": "Find what is wrong with Redis, the backends and the topology.",
    "bench": "Measure latency and throughput, from publish to purged.",
}
"""Each in the module of its name, as `command`; with its line in --help, which then needs no import."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Our own in the order of the table, then those of plugins."""
        del ctx
        return [*COMMANDS, *sorted(set(_plugin_commands()) - set(COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None if there is none of this name. Raises PluginError for one that is broken."""
        del ctx
        if cmd_name in COMMANDS:
            command: click.Command = import_module(f"invalidator.commands.{cmd_name}").command
            return command
        point = _plugin_commands().get(cmd_name)
        return None if point is None else _loaded(point)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for a name that is nearly one."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            ctx.fail(f"no such command '{name}'" + (f" — did you mean '{close[0]}'?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in --help, from the table and the entry points' names."""
        points = _plugin_commands()
        rows = [(name, COMMANDS.get(name) or _brought_by(points[name])) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Keeps caches coherent across services: Redis Pub/Sub in, purged caches out."""


def main(args: list[str] | None = None) -> int:
    """Run one command and return its exit code; messages go to stderr."""
    _open_what_is_closed()
    try:
        code = _run(sys.argv[1:] if args is None else args)
        if sys.stdout is not None:  # as after `>&-`
            sys.stdout.flush()  # here, where a reader that has gone can still be told from an error of ours
    except BrokenPipeError:
        # The interpreter flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    return code


def _open_what_is_closed() -> None:
    # After `2>&-` the next thing that is opened is 2: a pipe of ours, a connection to Redis. Log lines would go there.
    with suppress(OSError):
        while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(fd, True)
        os.close(fd)


def _run(args: list[str]) -> int:
    try:
        return _exit_code(args)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except InvalidatorError as error:
        click.echo(logs.as_error(str(error)), err=True)
        return error.exit_code
    except Exception as error:  # noqa: BLE001  a bug of ours must say so, and never look like a wrong configuration
        _show_bug(error)
        return EXIT_BUG


def _exit_code(args: list[str]) -> int:
    # Not cli.main(): it ends with 1 when the reader of stdout has gone, and 1 is our word for "the verdict is no".
    try:
        with cli.make_context("invalidator", args, color=_colour()) as ctx:
            cli.invoke(ctx)
    except click.exceptions.Exit as wanted:
        return wanted.exit_code
    return EXIT_OK


def _show_bug(error: Exception) -> None:
    click.echo(logs.as_error(f"a bug in invalidator: {type(error).__name__}: {error}"), err=True)
    if os.environ.get("INVALIDATOR_DEBUG") == "1":
        traceback.print_exception(error)
    else:
        click.echo("set INVALIDATOR_DEBUG=1 for the traceback", err=True)


def _colour() -> bool | None:
    return False if os.environ.get("NO_COLOR") else None


def _plugin_commands() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=GROUP)}


def _brought_by(point: metadata.EntryPoint) -> str:
    return f"Brought by {point.dist.name}." if point.dist else "Brought by a plugin."


def _loaded(point: metadata.EntryPoint) -> click.Command:
    try:
        command = point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"the command '{point.name}' is broken: {type(error).__name__}: {error}") from error
    if not isinstance(command, click.Command):
        raise PluginError(f"the command '{point.name}' is broken: {point.value} is no click command")
    return command

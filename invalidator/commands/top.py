"""`invalidator top`: the whole daemon, live on a terminal; a line for each worker at each interval elsewhere."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click

from invalidator.commands.addressing import addressed, connect, fail, named
from invalidator.commands.fullscreen import Fullscreen, plainer, speaks_utf8
from invalidator.control.protocol import GetStatus
from invalidator.errors import EXIT_OK, InvalidatorError
from invalidator.options import parse_duration
from invalidator.screen.paint import painted
from invalidator.screen.text import visible
from invalidator.screen.top import frame, log_lines
from invalidator.signals import Signals, Waker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from invalidator.control.client import Client
    from invalidator.control.protocol import Answer
    from invalidator.status import Status

_SHORTEST, _LONGEST = 0.1, 3600.0
_QUIT = b"qQ\x03\x04"
_ENDING = (signal.SIGTERM, signal.SIGHUP)


def _interval(ctx: click.Context, param: click.Parameter, value: str) -> float:
    del ctx, param
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not _SHORTEST <= seconds <= _LONGEST:
        raise click.BadParameter(f"{value} is not between 100ms and 1h")
    return seconds


@click.command("top")
@addressed
@click.option("--interval", default="1s", show_default=True, callback=_interval, help="How often to look.")
@click.pass_context
def command(ctx: click.Context, *, file: Path | None, path: Path | None, interval: float) -> None:
    """Watch the daemon's workers and their lanes. `q` quits.

    Where standard output is no terminal: a line for each worker, again and again.
    A daemon that goes away is waited for; exit code 69: there is none to begin with.
    """
    watch = Watch(partial(connect, file, path), named(file), interval)
    answer = watch.ask()
    if answer.status is None:
        fail(answer)
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        ctx.exit(_live(watch, answer.status, colour=ctx.color is not False))
    _lines(watch, answer.status)


class Sight(NamedTuple):
    """What was seen last: the status, and why there is no newer one."""

    status: Status
    silence: str = ""


class Watch:
    """Asks the daemon again and again, on one connection as long as it lasts."""

    def __init__(self, dial: Callable[[], Client], file: str, interval: float) -> None:
        self._dial = dial
        self._request = GetStatus(file=file)
        self._client: Client | None = None
        self.interval = interval

    def ask(self) -> Answer:
        """What the daemon answers now. Raises UnreachableError, or ConfigError for a topology that cannot be read."""
        try:
            self._client = self._client or self._dial()
            return self._client.ask(self._request)
        except BaseException:
            self.close()
            raise

    def look(self, before: Sight) -> Sight:
        """What is to be seen now: what was seen before, if nobody answers."""
        try:
            answer = self.ask()
            why = answer.error
        except InvalidatorError as error:
            answer, why = None, str(error)
        if answer is not None and answer.status is not None:
            return Sight(answer.status)
        return Sight(
            before.status, f"no answer since {time.strftime('%H:%M:%S', time.localtime(before.status.now))}: {why}"
        )

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _lines(watch: Watch, status: Status) -> None:
    """For ever. Text of strangers is made harmless here too: who reads a file of it may do so on a terminal."""
    sight = Sight(status)
    simple = not speaks_utf8(os.environ)
    pause = threading.Event()
    try:
        while True:
            for text in [visible(sight.silence)] if sight.silence else map(visible, log_lines(sight.status)):
                click.echo(plainer(text) if simple else text)
            sys.stdout.flush()
            pause.wait(watch.interval)
            sight = watch.look(sight)
    except KeyboardInterrupt:
        return  # it is how one ends it
    finally:
        watch.close()


def _live(watch: Watch, status: Status, *, colour: bool) -> int:
    """Until `q` or a signal. The daemon is asked on a thread: a key is obeyed while one that hangs is waited for."""
    waker = Waker()
    signals = Signals(waker, [*_ENDING, signal.SIGINT, signal.SIGTSTP, signal.SIGWINCH])
    watching = _Watching(watch, Sight(status), waker)
    watching.start()
    with Fullscreen() as screen:
        while True:
            try:
                _show(screen, watching.sight, colour=colour)
                quits = _is_to_quit(screen, waker)
            except OSError:
                return 128 + signal.SIGHUP  # the terminal has gone
            if quits:
                return EXIT_OK
            for number in signals.take():
                if number == signal.SIGTSTP:
                    _stop(screen, number)
                elif number != signal.SIGWINCH:
                    return EXIT_OK if number == signal.SIGINT else 128 + number


def _show(screen: Fullscreen, sight: Sight, *, colour: bool) -> None:
    columns, rows = screen.size()
    screen.draw(painted(frame(sight.status, columns, rows, sight.silence), columns, colour=colour))


class _Watching(threading.Thread):
    def __init__(self, watch: Watch, sight: Sight, waker: Waker) -> None:
        super().__init__(daemon=True)
        self.sight = sight
        self._watch = watch
        self._waker = waker

    def run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._watch.interval):
            self.sight = self._watch.look(self.sight)
            self._waker.wake()


def _is_to_quit(screen: Fullscreen, waker: Waker) -> bool:
    """Wait until something has happened; whether it was a key to quit by, or the end of all keys."""
    keys = screen.keys()
    waiting = [waker.fileno()] if keys is None else [waker.fileno(), keys]
    ready, _, _ = select.select(waiting, [], [])
    if waker.fileno() in ready:
        waker.drain()
    if keys not in ready or keys is None:
        return False
    pressed = os.read(keys, 64)
    return not pressed or any(key in _QUIT for key in pressed)


def _stop(screen: Fullscreen, number: signal.Signals) -> None:
    """Be stopped as Ctrl-Z wants it, with the terminal as the shell knows it; and go on from here when continued."""
    screen.leave()
    noting = signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    signal.signal(number, noting)
    screen.enter()

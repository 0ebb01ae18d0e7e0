"""`invalidator top`: the picture is pure; the terminal is a real one, and is given back whatever happens."""

from __future__ import annotations

import itertools
import os
import re
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.screen.paint import painted
from invalidator.screen.text import width
from invalidator.screen.top import frame, log_lines, sparkline
from tests.support import statuses
from tests.support.terminal import Terminal
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from invalidator.status import Status
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon

HOSTILE = "\x1b[2J\x1b]0;taken\x07\r\n\u202e\ud800" + "界" * 50
LEFT = "\x1b[?1049l"
ENTERED = "\x1b[?1049h"


def drawn(status: Status, columns: int = 80, rows: int = 24, silence: str = "") -> list[str]:
    return painted(frame(status, columns, rows, silence), columns, colour=False)


def test_a_healthy_daemon_at_80_columns() -> None:
    shown = drawn(statuses.healthy())

    assert len(shown) == 24
    assert re.fullmatch(r"RUNNING  web-3  up 3 h  pid 4711 +\d\d:\d\d:04", shown[0])
    assert shown[1] == "2 of 2 workers subscribed, 1,204 messages/s, 0 targets pending"
    assert shown[3] == "worker               pending   purged      p50      p99  last"
    assert re.fullmatch(r"users +RUNNING +[▁▂▃▄▅▆▇█]+  1,204/s", shown[4])
    assert shown[5] == "  near                     0  1,204/s   0.2 ms   1.1 ms  purged now"
    assert shown[-1] == "q quits"


def test_what_is_wrong_comes_first() -> None:
    shown = "\n".join(drawn(statuses.degraded()))

    assert shown.startswith("DEGRADED")
    for expected in (
        "! users → edge: breaker open since 12:50",
        "! the last reload failed: /etc/invalidator/shop.yaml:14:5:",
        "RUNNING, not subscribed",
        "BACKOFF, next try in 12 s",
        "RUNNING, paused",
    ):
        assert expected in shown, expected


def test_of_more_workers_than_lines_those_in_trouble_are_shown_with_their_lanes() -> None:
    good = [statuses.worker(f"good-{number}") for number in range(40)]
    failed = statuses.lane("edge", breaker="open", breaker_since=statuses.NOW)
    shown = drawn(statuses.status(*good, statuses.worker("bad", failed)))

    assert len(shown) == 24
    assert shown[4].startswith("bad ")
    assert shown[5].startswith("  edge ")
    assert shown[-2] == "… and 24 more"


@pytest.mark.parametrize("status", [statuses.healthy(), statuses.degraded(), statuses.large(30, 3), statuses.large()])
def test_it_never_leaves_its_window(status: Status) -> None:
    for columns, rows in itertools.product((20, 40, 80, 200), (2, 5, 24, 60)):
        shown = drawn(status, columns, rows)
        assert len(shown) <= rows, (columns, rows)
        assert [text for text in shown if width(text) > columns] == []


def test_a_hostile_text_never_reaches_the_terminal_raw() -> None:
    status = statuses.saying(itertools.repeat(HOSTILE))
    for shown in (drawn(status), drawn(status, silence=HOSTILE)):
        assert [text for text in shown if not text.isprintable() or width(text) > 80] == []
    assert not HOSTILE.isprintable(), "the control"


@given(st.lists(st.text(), min_size=1, max_size=20), st.integers(20, 120), st.integers(2, 40))
def test_no_text_breaks_a_line(texts: list[str], columns: int, rows: int) -> None:
    shown = drawn(statuses.saying(itertools.cycle(texts)), columns, rows)

    assert len(shown) <= rows
    assert [text for text in shown if not text.isprintable() or width(text) > columns] == []


def test_a_sparkline_has_eight_heights_and_a_blank_for_nothing() -> None:
    assert sparkline((0.0, 1.0, 4.0, 8.0), 10) == " ▂▅█"
    assert sparkline((9.0, 0.0, 0.0), 2) == "  "
    assert sparkline((float("nan"), float("inf"), -3.0, 2.0), 4) == "   █"
    assert sparkline((1.0,), 0) == ""


def test_each_worker_has_a_line_where_there_is_no_terminal() -> None:
    lines = list(log_lines(statuses.degraded()))

    assert re.fullmatch(
        r"\S+  users  RUNNING  1,204/s  pending 12.3k  edge: breaker open for 3 min, refused: .*", lines[0]
    )
    assert len(lines) == 4


@pytest.fixture
def run(redis_server: MakeRedis, daemon: MakeDaemon) -> Daemon:
    worker = {"name": "users", "pattern": "cache:users:*", "backends": [{"backend": "said", "on_gap": "ignore"}]}
    topology = {"redis": {"url": redis_server().url}, "backends": {"said": {"type": "log"}}, "workers": [worker]}
    return daemon(topology)


def top(run: Daemon, **options: object) -> Terminal:
    return Terminal("top", "--socket", str(run.control), "--interval", "100ms", **options)  # type: ignore[arg-type]


def wait_shown(terminal: Terminal, text: str) -> None:
    wait_until(lambda: any(text in line for line in terminal.shows()), 15, lambda: terminal.read()[-2000:])


def test_it_fills_the_terminal_and_q_gives_it_back(run: Daemon) -> None:
    with top(run) as terminal:
        wait_shown(terminal, "1 of 1 worker subscribed")
        assert len(terminal.shows()) == 24
        assert terminal.settings() != terminal.before
        assert terminal.read().startswith(ENTERED)

        terminal.press("x")
        terminal.press("q")
        assert terminal.wait() == 0
        assert terminal.read().endswith(LEFT)
        assert terminal.settings() == terminal.before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_and_the_terminal_is_given_back(run: Daemon, number: int, code: int) -> None:
    with top(run) as terminal:
        wait_shown(terminal, "RUNNING")
        terminal.signal(number)

        assert terminal.wait() == code
        assert terminal.read().endswith(LEFT)
        assert terminal.settings() == terminal.before


def test_a_kill_leaves_the_terminal_as_it_is_so_that_the_others_were_seen_to_restore_it(run: Daemon) -> None:
    with top(run) as terminal:
        wait_shown(terminal, "RUNNING")
        terminal.signal(signal.SIGKILL)

        assert terminal.wait() == -signal.SIGKILL
        assert LEFT not in terminal.read()
        assert terminal.settings() != terminal.before


def test_while_it_is_stopped_the_terminal_is_the_shells(run: Daemon) -> None:
    with top(run) as terminal:
        wait_shown(terminal, "RUNNING")
        terminal.signal(signal.SIGTSTP)
        wait_until(terminal.is_stopped)
        assert terminal.read().endswith(LEFT)
        assert terminal.settings() == terminal.before

        terminal.signal(signal.SIGCONT)
        wait_until(lambda: ENTERED in terminal.read().rpartition(LEFT)[2])
        wait_until(lambda: terminal.settings() != terminal.before)
        terminal.press("q")
        assert terminal.wait() == 0
        assert terminal.settings() == terminal.before


def test_it_follows_its_window(run: Daemon) -> None:
    with top(run) as terminal:
        wait_shown(terminal, "RUNNING")
        terminal.resize(40, 10)
        terminal.signal(signal.SIGWINCH)
        wait_until(lambda: len(terminal.shows()) == 10)
        assert max(map(width, terminal.shows())) <= 40


def test_a_daemon_that_goes_away_is_waited_for_and_comes_back_by_itself(run: Daemon) -> None:
    with top(run) as terminal:
        wait_shown(terminal, "RUNNING")
        run.stop()
        wait_shown(terminal, "no answer since ")
        run.start()
        wait_until(lambda: terminal.shows()[0].startswith("RUNNING"))
        terminal.press("q")
        assert terminal.wait() == 0


def test_q_quits_even_while_a_daemon_that_hangs_is_waited_for(run: Daemon) -> None:
    with top(run) as terminal:
        wait_shown(terminal, "RUNNING")
        run.signal(signal.SIGSTOP)
        try:
            terminal.press("q")
            assert terminal.wait(2) == 0
        finally:
            run.signal(signal.SIGCONT)


def test_a_locale_without_utf8_gets_ascii(run: Daemon) -> None:
    with top(run, environ={"LC_ALL": "C"}) as terminal:
        wait_shown(terminal, "RUNNING")
        assert terminal.read().isascii()


def test_without_colours_there_is_no_style(run: Daemon) -> None:
    with top(run, environ={"NO_COLOR": "1"}) as terminal:
        wait_shown(terminal, "RUNNING")
        assert "\x1b[32m" not in terminal.read()
    with top(run) as terminal:
        wait_shown(terminal, "RUNNING")
        assert "\x1b[32m" in terminal.read()


def test_it_writes_plain_lines_where_there_is_no_terminal(run: Daemon) -> None:
    command = [sys.executable, "-m", "invalidator", "top", "-c", str(run.file), "--interval", "100ms"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = b""
        while said.count(b"\n") < 3:
            assert select.select([process.stdout], [], [], 15)[0], said
            said += os.read(process.stdout.fileno(), 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert b"\x1b" not in said
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d  users  RUNNING  0/s  pending 0", said.decode().splitlines()[0]
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--socket", "nowhere.sock"], 69, "no daemon has a socket at nowhere.sock"),
        (["--interval", "1"], 2, "write a number with its unit"),
        (["--interval", "1ms"], 2, "is not between"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_terminal_is_touched(arguments: list[str], code: int, said: str) -> None:
    with Terminal("top", *arguments) as terminal:
        assert terminal.wait() == code
        assert said in terminal.read().replace("\r\n", " ")
        assert ENTERED not in terminal.read()

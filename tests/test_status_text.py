"""What `status` and `tap` print: short, within its columns, and nothing of it drives a terminal."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.channel import Dropped, Heard, Outcome
from invalidator.journal import stream
from invalidator.pipeline import attendance
from invalidator.screen.paint import Piece, line, painted
from invalidator.screen.status_text import drawn, lane_height
from invalidator.screen.tap_text import event_line
from invalidator.screen.text import (
    ago,
    by,
    clip,
    count,
    duration,
    fit,
    latency,
    left,
    moment,
    rate,
    right,
    visible,
    width,
)
from invalidator.screen.top import frame
from invalidator.screen.words import outcome, sentences, shortcomings
from invalidator.status import Failure, Handover
from invalidator.supervision.report import troubles_of
from tests.support import statuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.status import Status

HOSTILE = [
    "\033[2J\033[31m",
    "\u202egnp.exe",
    "a\nb\r\tc",
    "\x9b31m",
    "漢字" * 40,
    "e\u0301" * 90,
    "\ud800",
    "\u200b",
    "x" * 500,
]


def shown(status: Status, columns: int = 80) -> list[str]:
    return painted(drawn(status, columns), columns, colour=False)


def test_a_daemon_that_does_well_is_told_in_a_few_lines() -> None:
    assert shown(statuses.healthy()) == [
        "running  up 3 h  pid 4711  /etc/invalidator/shop.yaml  read 1 h ago",
        "",
        "users  RUNNING  pid 4712  up 3 h  subscribed 3 h  1,204/s",
        "  last message now  gaps 1 (start 1), 20 ms in all",
        "  lane               pending   purged      p50      p99  last",
        "  near                     0  1,204/s   0.2 ms   1.1 ms  purged now",
        "  objects                  0  1,204/s   1.2 ms   9.1 ms  purged now",
        "  edge                     0  1,204/s   1.2 ms   9.1 ms  purged now",
        "",
        "prices  RUNNING  pid 4713  up 3 h  subscribed 3 h  0.4/s",
        "  last message now  gaps 1 (start 1), 20 ms in all",
        "  lane               pending   purged      p50      p99  last",
        "  near                     0  1,204/s   0.2 ms   1.1 ms  purged now",
        "  cdn                      0  1,204/s   1.2 ms   9.1 ms  dry run, 20.0k skipped",
    ]


@pytest.mark.parametrize(
    ("replaced", "text"),
    [
        (Handover(state="waiting", reason="reload"), "waits to be replaced"),
        (Handover(state="starting", reason="reload", pid=7), "successor starting"),
        (Handover(state="draining", reason="", pid=7), "predecessor draining"),
        (Handover(state="backoff", reason="reload", next_try=3.0), "successor failed"),
    ],
)
def test_a_worker_that_is_being_replaced_says_how_far_that_is(replaced: Handover, text: str) -> None:
    lines = shown(statuses.status(statuses.worker("users", handover=replaced)), 120)

    assert f"  last message now  gaps 1 (start 1), 20 ms in all  {text}" in lines


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {
                "heartbeat": "ping",
                "heartbeat_detail": "SUBSCRIBE invalidator:echo:*: NOPERM User poor has no permissions to access the"
                " 'invalidator:echo:7e1' channel",
            },
            [
                "! heartbeat ping only: SUBSCRIBE invalidator:echo:*: NOPERM User poor has no",
                "  permissions to access the 'invalidator:echo:7e1' channel",
            ],
        ),
        (
            {
                "unheard": "publish --wait does not see this worker: User poor has no permissions to run the 'set'"
                f" command; grant {attendance.RIGHTS}"
            },
            [
                "! publish --wait does not see this worker: User poor has no permissions to run",
                "  the 'set' command; grant +set +del +zadd +zrem +zremrangebyscore +expire +time",
                "  ~invalidator:*",
            ],
        ),
    ],
)
def test_what_a_worker_lacks_is_said_to_its_end_with_what_helps(fields: dict[str, Any], said: list[str]) -> None:
    poor = statuses.worker("poor", **fields)
    lines = shown(statuses.status(poor, poor))
    assert [text for text in lines if text in said] == said * 2
    assert not any(text.endswith("…") for text in lines)
    assert shortcomings(statuses.worker("rich", heartbeat="echo")) == []


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_lane_that_is_behind_says_by_how_much_whatever_else_there_is_to_say(columns: int) -> None:
    away = {"breaker": "open", "breaker_since": statuses.NOW - 5}
    one, two = (
        statuses.lane("objects", node=f"10.0.0.{n}:11211", behind=behind) for n, behind in ((7, 700.0), (8, None))
    )
    worker = statuses.worker("users", statuses.lane("edge", behind=0.0, **away), one, two, delivery="journal")
    lines = shown(statuses.status(worker), columns)

    at = next(number for number, text in enumerate(lines) if text.startswith("  edge "))
    assert "open since" in lines[at]
    assert lines[at + 1] == "    0 ms of the journal are still to come"
    assert lines[at + 4] == "    11 min of the journal are still to come"
    assert lines[at + 3].startswith("    10.0.0")
    assert len(lines) == at + 6
    assert lane_height(worker) == 6


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_on_a_usual_screen_nothing_that_matters_is_cut_off(columns: int) -> None:
    why = "the journal invalidator:journal cannot be read: User blind has no permissions to run the 'xrange' command"
    blind = Failure(at=statuses.NOW - 9, reason="denied", detail=f"{why}; grant {stream.RIGHTS}")
    replaced = Handover(state="backoff", reason="reload", trouble=blind, next_try=3.0)
    away = statuses.worker("blind", delivery="journal", subscribed=False, trouble=blind)
    users = statuses.worker("users", delivery="journal", handover=replaced)
    told = tuple(text for one in (away, users) for text in troubles_of(one, statuses.NOW))
    whole = statuses.status(away, users, state="degraded", troubles=told)
    lines = shown(whole, columns)
    said = " ".join(text.removeprefix("! ").strip() for text in lines[: lines.index("")])

    assert said.count("grant +xrange +xrevrange +xinfo|stream)") == 2
    assert "users: its successor has not become ready (denied: " in said
    assert "next try in 3.0 s" in said
    assert "…" not in said.partition("blind is")[2]
    drawn = [painted([line], columns, colour=False)[0] for line in frame(whole, columns, 24)]
    assert sum("RUNNING, successor failed" in text for text in drawn) == 1


def test_what_is_wrong_comes_first_and_in_whole_sentences() -> None:
    lines = shown(statuses.degraded())

    assert lines[0] == "degraded  up 3 h  pid 4711  /etc/invalidator/shop.yaml  REFUSED 10 min ago"
    assert lines[1:3] == [
        "! users → edge: breaker open since 12:50 (refused: 10.0.0.9:6081: connection",
        "  refused)",
    ]
    assert [text for text in lines[1:8] if text.startswith("! ")][-1].startswith("! not reloaded at ")
    assert "assets  BACKOFF  next try in 12 s  not subscribed  1,204/s" in lines
    assert "carts  RUNNING  paused  pid 4712  up 3 h  subscribed 3 h  1,204/s" in lines
    assert any(
        text.startswith("  edge                 12.3k      0/s        -        -  open since ") for text in lines
    )
    at = next(number for number, text in enumerate(lines) if text.startswith("    10.0.0.8:11211  "))
    assert any(text.startswith("  objects  ") for text in lines[at - 3 : at]), "counted for all of its servers, above"
    assert lines[at].split() == ["10.0.0.8:11211", "0", "purged", "now"], "and not for one of them"


@pytest.mark.parametrize("make", [statuses.healthy, statuses.degraded, statuses.large])
@pytest.mark.parametrize("columns", [40, 60, 80, 132])
def test_no_line_is_wider_than_the_screen(make: Callable[[], Status], columns: int) -> None:
    assert max(map(width, shown(make(), columns))) <= columns


def test_on_a_narrow_screen_what_does_not_fit_has_a_line_of_its_own() -> None:
    users = statuses.worker("users-of-the-shop", statuses.lane("objects"), restarts={"crash": 1})

    assert shown(statuses.status(users), 40) == [
        "running  up 3 h  pid 4711",
        "  /etc/invalid…r/shop.yaml  read 1 h ago",
        "",
        "users-of-the-shop  RUNNING",
        "  pid 4712  up 3 h  subscribed 3 h",
        "  1,204/s",
        "  last message now",
        "  gaps 1 (start 1), 20 ms in all",
        "  restarts 1 (crash 1)",
        "  lane      pending  last",
        "  objects         0  purged now",
    ]


@pytest.mark.parametrize(
    ("fields", "last", "page"),
    [
        ({"ends": {"skipped": 20_000}, "dry_run": True}, "dry run, 20.0k skipped", "dry run, 20.0k skipped"),
        ({"ends": {"purged": 9, "skipped": 2}, "dry_run": True}, "dry run, 2 skipped", "dry run, 2 skipped"),
        ({"ends": {"skipped": 20_000}, "last_purge": 0.0}, "20.0k skipped", "20.0k skipped"),
        ({"ends": {"skipped": 9, "flushed": 1}}, "9 skipped", "9 skipped"),
        ({"ends": {"skipped": 9, "purged": 1}}, "purged now", "purged now"),
        ({"ends": {}, "last_purge": 0.0}, "nothing yet", "nothing purged yet"),
        ({"ends": {}, "flush_owed": True}, "flush owed", "flush owed"),
    ],
)
def test_a_lane_that_only_skips_says_so(fields: dict[str, Any], last: str, page: str) -> None:
    lane = statuses.lane("edge", **fields)
    lines = shown(statuses.status(statuses.worker("users", lane)))

    assert lines[-1].endswith(f"9.1 ms  {last}")
    assert outcome(lane, statuses.NOW) == page


def test_what_will_not_be_purged_any_more_has_a_line_of_its_own() -> None:
    given_up = statuses.lane("edge", ends={"purged": 1, "dead": 100_420, "lost": 3}, dead_letters=1)
    lines = shown(statuses.status(statuses.worker("users", given_up)))

    assert lines[-1] == "    3 lost, 100,420 dead: see invalidator deadletter list"


def test_nobody_is_sent_to_look_at_letters_that_are_gone() -> None:
    tried_again = statuses.lane("edge", ends={"purged": 1, "dead": 3_000}, dead_letters=0)
    lines = shown(statuses.status(statuses.worker("users", tried_again)))

    assert lines[-1] == "    3,000 dead; no dead letters are left"


@pytest.mark.parametrize(("seconds", "said"), [(287.4, True), (4.0, False), (None, False)])
def test_a_backend_that_wants_to_be_left_alone_for_long_has_a_line_of_its_own(
    seconds: float | None, said: bool
) -> None:
    worker = statuses.worker("users", statuses.lane("edge", next_try=seconds))
    lines = shown(statuses.status(worker))

    assert (lines[-1] == "    asked again in 287 s") is said
    assert lane_height(worker) == 1 + said
    assert not any("dead" in line for line in shown(statuses.status(statuses.worker("users"))))


@given(st.lists(st.text() | st.sampled_from(HOSTILE), min_size=1))
def test_whatever_a_status_holds_it_fits_and_drives_no_terminal(texts: list[str]) -> None:
    for text in shown(statuses.saying(cycle(texts))):
        assert text.isprintable()
        assert width(text) <= 80


def test_what_several_workers_have_in_common_is_said_once() -> None:
    shared = "edge: breaker open since 12:50 (refused)"
    told = statuses.status(state="degraded", troubles=(f"users → {shared}", "carts is BACKOFF", f"orders → {shared}"))
    assert sentences(told) == [f"{shared}, in 2 workers", "carts is BACKOFF"]
    alone = statuses.status(state="degraded", troubles=told.troubles[:2])
    assert sentences(alone) == list(alone.troubles)


def test_what_is_bad_is_red_where_there_are_colours_and_no_colour_is_without() -> None:
    assert painted([line("a", Piece("b", "bad"))], 80, colour=True) == ["a\033[31mb\033[0m"]
    assert painted([line("a", Piece("b", "bad"))], 80, colour=False) == ["ab"]


TARGETS = (("key", "users:42"), ("key", "users:43"), ("tag", "vip"), ("all", ""))


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            Heard(at=0.125, worker="users", channel="cache:users:x", targets=TARGETS, more=3, source="shop"),
            "users        cache:users:x  key users:42, users:43, tag vip, all +3  from shop",
        ),
        (
            Outcome(
                at=0.125, worker="users", backend="edge", node="a:1", end="purged", targets=TARGETS[:1], seconds=0.0012
            ),
            "users        → edge a:1  purged 1.2 ms  key users:42",
        ),
        (
            Outcome(at=0.125, worker="users", backend="edge", end="failed", reason="timeout", targets=TARGETS[:1]),
            "users        → edge  failed timeout  key users:42",
        ),
        (
            Heard(at=0.125, worker="users", channel="cache:x", targets=TARGETS[:1], rejected=("control", "empty")),
            "users        cache:x  rejected: control, empty  key users:42",
        ),
        (
            Heard(at=0.125, worker="users", channel="cache:x", targets=TARGETS[:1], rejected=("ignored: hops",)),
            "users        cache:x  ignored: hops  key users:42",
        ),
    ],
)
def test_each_event_is_a_line(event: Heard | Outcome, said: str) -> None:
    (text,) = painted([event_line(event)], 120, colour=False)
    clock, _, rest = text.partition(" ")

    assert clock.endswith(":00.125")
    assert rest == said


def test_what_was_too_fast_is_said() -> None:
    (text,) = painted([event_line(Dropped(worker="users", count=1200))], 80, colour=False)

    assert text == "… 1,200 lines of users were too fast for this tap, and are not shown"


@given(st.text() | st.sampled_from(HOSTILE), st.text() | st.sampled_from(HOSTILE))
def test_whatever_a_publisher_sends_its_line_fits_and_drives_no_terminal(one: str, other: str) -> None:
    events: list[Heard | Outcome | Dropped] = [
        Heard(at=0.0, worker=one, channel=other, targets=((one, other),), id=one, source=other),
        Outcome(at=0.0, worker=one, backend=one, node=other, end=one, reason=other, cause=one, targets=((other, one),)),
        Dropped(worker=one, count=3),
    ]
    for text in painted(map(event_line, events), 80, colour=False):
        assert text.isprintable()
        assert width(text) <= 80


def test_an_escape_that_is_not_written_out_would_reach_the_terminal() -> None:
    # The control for the two tests above: it is `visible` that keeps it away.
    assert not "\033[31m".isprintable()
    assert visible("\033[31m\u202e") == "\\x1b[31m\\u202e"


@given(st.text(), st.integers(0, 40))
def test_what_is_fitted_is_as_wide_as_it_may_be(text: str, columns: int) -> None:
    assert width(fit(text, columns)) <= columns
    assert width(clip(text, columns)) <= columns
    assert width(left(text, columns)) == width(right(text, columns)) == columns


def test_a_long_name_is_shortened_in_its_middle() -> None:
    assert fit("http://10.0.0.1:6081", 12) == "http:/…:6081"
    assert clip("a long sentence", 6) == "a lon…"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.35, "350 ms"),
        (0.9999, "999 ms"),
        (1.0, "1 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (7200, "2 h"),
        (9e6, "104 d"),
    ],
)
def test_a_duration_is_one_number_with_its_unit(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_time_is_told_as_a_person_would() -> None:
    assert (ago(0.0, 1e9), ago(1e9, 1e9), ago(1e9 - 90, 1e9)) == ("never", "now", "1 min ago")
    assert moment(1e9, 1e9).count(":") == 1
    assert len(moment(1e9 - 9e4, 1e9).split()) == 3


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0"), (9_999, "9,999"), (9_999.7, "10.0k"), (12_345, "12.3k"), (999_990, "1.0M"), (4e12, "4T")],
)
def test_a_count_stays_short(number: float, said: str) -> None:
    assert count(number) == said


@given(st.floats(0, 1e12))
def test_rates_and_latencies_fit_their_columns(value: float) -> None:
    assert len(rate(value)) <= 8
    assert len(latency(value)) <= 8
    assert len(count(value)) <= 7


def test_a_sum_says_what_it_is_made_of() -> None:
    assert by({"crash": 1, "reload": 2, "early": 0}) == "3 (crash 1, reload 2)"
    assert (by({}), rate(0.25), latency(None)) == ("0", "0.2/s", "-")

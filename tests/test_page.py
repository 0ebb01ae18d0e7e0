"""page.py: the status page, from a value. Whatever a status carries may be hostile; how much it carries, too."""

from __future__ import annotations

import itertools
import re
import time
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.doors import looks, page
from invalidator.doors.looks import HEADERS, sparkline
from tests.support import statuses

if TYPE_CHECKING:
    from invalidator.status import Status

VOID = {"meta", "link", "br", "img"}
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\x1b[31m\u202e\ud800"


class Outline(HTMLParser):
    """Every element of a document, with its path; fails when one is not closed where it must be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, tuple[str, ...], dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(self.open), dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(self.open), dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data


def outline(document: str) -> Outline:
    parsed = Outline()
    parsed.feed(document)
    parsed.close()
    assert parsed.open == []
    return parsed


def skeleton(document: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, path) for tag, path, _ in outline(document).found]


def said(document: str) -> str:
    return re.sub(r"\s+", " ", outline(document).text)


@pytest.mark.parametrize("status", [statuses.healthy(), statuses.degraded(), statuses.large()])
def test_it_is_one_well_formed_document_that_asks_for_nothing_outside(status: Status) -> None:
    found = outline(page.page(status)).found

    assert [tag for tag, _, _ in found].count("main") == 1
    addresses = [value or "" for _, _, attrs in found for name, value in attrs.items() if name in ("href", "src")]
    assert [address.partition(",")[0] for address in addresses] == ["data:image/svg+xml"]
    assert not [name for _, _, attrs in found for name in attrs if name.startswith("on") or name == "style"]


def test_it_says_what_a_person_comes_for() -> None:
    document = page.page(statuses.degraded())
    text = said(document)

    assert "<title>degraded · web-3 · invalidator</title>" in document
    for expected in (
        "Degraded",
        "2 of 4 workers subscribed",
        "users → edge: breaker open since 12:50 (refused: 10.0.0.9:6081: connection refused)",
        "breaker open for 3 min · failed 3 s ago: refused: 10.0.0.9:6081: connection refused",
        "RUNNING, not subscribed",
        "BACKOFF, next try in 12 s",
        "RUNNING, paused",
        "5 (start 1, disconnect 4)",
        "3 (crash 1, reload 2)",
        "3 lost, 12 dead",
        "workers[1].patern: unknown key",
        "prices: lost its subscription",
        "invalidator 0.1.0, pid 4711, up 3 h",
    ):
        assert expected in text, expected


def test_a_healthy_daemon_has_no_list_of_troubles() -> None:
    document = page.page(statuses.healthy())

    assert "Troubles" not in document
    assert "dry run, 20.0k skipped · nothing is sent" in said(document)
    assert "None since the start." in said(document)


def test_every_hostile_text_is_escaped_wherever_it_stands() -> None:
    document = page.page(statuses.saying(itertools.repeat(HOSTILE)))

    assert skeleton(document) == skeleton(page.page(statuses.saying(itertools.repeat("x"))))
    assert not set(document) & {"\x1b", "\u202e", "\ud800"}
    assert said(document).count("<script>alert(1)</script>") > 15
    document.encode()


def test_without_escaping_a_hostile_text_would_become_an_element(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "escape", str)
    document = page.page(statuses.saying(itertools.repeat("<img src=x onerror=alert(2)>")))

    assert [attrs for tag, _, attrs in outline(document).found if tag == "img"]


@given(
    st.lists(st.text() | st.sampled_from([HOSTILE, "", "]]>", "<!--", "</title>", "</main>"]), min_size=1, max_size=30)
)
def test_no_text_changes_what_the_document_is_made_of(texts: list[str]) -> None:
    # A text that is empty leaves out what it would have stood in: it is given something to say.
    document = page.page(statuses.saying(itertools.cycle(text or "-" for text in texts)))

    assert skeleton(document) == skeleton(page.page(statuses.saying(itertools.repeat("x"))))
    document.encode()


def test_however_many_workers_there_are_it_is_made_at_once_and_says_what_it_leaves_out() -> None:
    status = statuses.large(workers=400, lanes=20)
    begun = time.process_time()
    document = page.page(status)
    seconds = time.process_time() - begun

    assert seconds < 0.05
    assert len(document.encode()) < 512 * 1024
    text = said(document)
    for expected in (
        "376 more workers in brief",
        "… and 176 more workers",
        "… and 8 more backends",
        "388 more troubles",
    ):
        assert expected in text, expected


def test_without_its_bounds_it_would_hold_up_the_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("MOST_WORKERS", "MOST_LANES", "MOST_TROUBLES", "MOST_EVENTS"):
        monkeypatch.setattr(page, bound, 100_000)

    assert len(page.page(statuses.large(workers=400, lanes=20)).encode()) > 2 * 1024 * 1024


def test_the_text_of_an_error_is_cut_before_anything_is_done_with_it() -> None:
    begun = time.process_time()
    document = page.page(statuses.saying(itertools.repeat("<\x1b" * 1_000_000)))

    assert time.process_time() - begun < 0.05
    assert len(document) < 100_000


def test_of_too_many_workers_those_in_trouble_come_first() -> None:
    good = [statuses.worker(f"good-{number}") for number in range(page.MOST_WORKERS)]
    document = page.page(statuses.status(*good, statuses.worker("bad", subscribed=False)))

    assert document.index(">bad ") < document.index(">good-0 ")


@pytest.mark.parametrize("rates", [(), (1.0,), (0.0, 0.0), (float("nan"), float("inf"), -1.0), tuple([1e300] * 5000)])
def test_a_history_of_any_kind_can_be_drawn(rates: tuple[float, ...]) -> None:
    drawing = sparkline(rates)

    assert "nan" not in drawing
    assert "inf" not in drawing
    assert len(drawing) < 8000
    outline(page.page(statuses.with_rates(rates)))


def test_a_sparkline_says_in_words_what_it_shows() -> None:
    assert 'aria-label="3 seconds of messages: from 0/s to 12/s"' in sparkline((0.0, 12.0, 3.0))


def test_the_policy_names_the_style_and_the_script_that_are_in_the_page() -> None:
    policy = dict(HEADERS)["Content-Security-Policy"]
    document = page.page(statuses.healthy())

    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag, text in (("style", looks.STYLE), ("script", looks.SCRIPT)):
        assert f"<{tag}>{text}</{tag}>" in document
        assert f"</{tag}" not in text

"""The status page in a real browser: on a phone and on a desk, by day and by night, with scripts and without."""

from __future__ import annotations

import os
import re
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest
import redis

from invalidator.doors import page
from invalidator.doors.endpoint import Endpoint, Page
from invalidator.doors.looks import HEADERS
from invalidator.status import Event
from tests.support import statuses
from tests.support.browser import Browser
from tests.support.screenshot import LARGEST, PICTURE
from tests.support.turning import turning
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.status import Status
    from tests.conftest import MakeDaemon, MakeRedis

CONTRAST = """
(() => {
  const parts = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const light = (colour) => parts(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    const colour = getComputedStyle(element).backgroundColor, [, , , alpha = 1] = parts(colour);
    return alpha > 0 || !element.parentElement ? colour : ground(element.parentElement);
  };
  const walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT), found = [];
  while (walk.nextNode()) {
    if (!walk.currentNode.data.trim() || walk.currentNode.parentElement.closest("svg")) continue;
    const element = walk.currentNode.parentElement;
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), walk.currentNode.data]);
  }
  return found.sort((x, y) => x[0] - y[0]);
})()
"""
AA = 4.5
LONG = statuses.status(
    statuses.worker(
        "w" * 80, statuses.lane("b" * 60, node="n" * 80), pattern="p" * 200, redis="r" * 200, gaps={"g" * 99: 9}
    ),
    host="h" * 200,
    troubles=("t" * 500,),
    errors=(Event(at=1.0, worker="w" * 80, backend="b" * 80, what="x" * 99, detail="d" * 999),),
)


class Shown:
    """A status at an address, until it is another one. None: whoever asks is answered with an error."""

    def __init__(self, status: Status) -> None:
        self.status: Status | None = status
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}/"

    def page(self) -> Page:
        if self.status is None:
            return Page(503, "away")
        return Page(200, page.page(self.status), "text/html; charset=utf-8", HEADERS)


@contextmanager
def shown(status: Status) -> Iterator[Shown]:
    made = Shown(status)
    with turning(Endpoint(made.address, {"/": made.page})):
        yield made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize(
    "status",
    [statuses.healthy(), statuses.degraded(), statuses.large(300), LONG],
    ids=["healthy", "degraded", "large", "long"],
)
def test_it_fits_a_phone_and_a_desk_and_asks_nobody_else(browser: Browser, status: Status, width: int) -> None:
    with shown(status) as server, browser.tab(width=width) as tab:
        tab.open(server.url)

        assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.run("document.documentElement.clientWidth") == width
        assert tab.complaints() == []
        assert {url.partition(",")[0] for url in tab.requests()} <= {server.url, "data:image/svg+xml"}


def test_what_does_not_fit_would_be_noticed(browser: Browser) -> None:
    with shown(statuses.healthy()) as server, browser.tab(width=360) as tab:
        tab.open(server.url)
        tab.run("document.querySelector('code').style.whiteSpace = 'nowrap'")
        tab.run("document.querySelector('code').textContent = 'x'.repeat(200)")

        assert tab.run("document.documentElement.scrollWidth") > 360


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("status", [statuses.healthy(), statuses.degraded()], ids=["healthy", "degraded"])
def test_every_word_stands_out_from_its_ground(browser: Browser, status: Status, *, dark: bool) -> None:
    with shown(status) as server, browser.tab(width=1280, dark=dark) as tab:
        tab.open(server.url)
        words = tab.run(CONTRAST)
        assert len(words) > 40
        assert [word for word in words if word[0] < AA] == []

        tab.run(f"document.querySelector('h1').style.color = '{'#555' if dark else '#aaa'}'")
        assert [word for word in tab.run(CONTRAST) if word[0] < AA], "the measure has to find what is faint"


def test_without_scripts_it_says_the_same_and_reloads_itself(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "EVERY", 1)
    with shown(statuses.degraded()) as server:
        with browser.tab(width=1280) as tab:
            tab.open(server.url)
            with_scripts = tab.main()
        with browser.tab(width=1280, scripts=False) as tab:
            tab.open(server.url)
            assert tab.main() == with_scripts

            server.status = statuses.healthy()
            wait_until(lambda: "Running" in tab.main(), why="it did not reload itself")
            assert tab.complaints() == []


def test_with_scripts_it_changes_what_has_changed_and_leaves_the_rest_alone(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "EVERY", 0.1)
    with shown(statuses.healthy()) as server, browser.tab(width=360, height=500) as tab:
        tab.open(server.url)
        tab.run(
            "document.querySelector('table').mine = getSelection().selectAllChildren(document.querySelector('code'))"
        )
        tab.run("document.querySelector('table').mine = true; scrollTo(0, 400)")
        loads = tab.loads()

        server.status = msgspec.structs.replace(statuses.healthy(), state="stopping", host="elsewhere")
        wait_until(lambda: tab.run("document.title") == "stopping · elsewhere · invalidator")
        assert "Stopping" in tab.main()
        assert tab.loads() == loads
        assert tab.run("document.querySelector('table').mine") is True
        assert tab.run("scrollY") == 400
        assert tab.run("getSelection().toString()") == "cache:invalidate:users:*"
        assert tab.complaints() == []


def test_a_daemon_that_does_not_answer_is_not_said_to_be_running(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "EVERY", 0.1)
    with shown(statuses.healthy()) as server, browser.tab(width=360) as tab:
        tab.open(server.url)
        assert not tab.run("document.getElementById('silence').checkVisibility()")

        server.status = None
        wait_until(lambda: tab.run("document.getElementById('silence').checkVisibility()"))
        assert re.match(
            "No answer from the daemon since [0-9]", tab.run("document.getElementById('silence').innerText")
        )
        assert tab.run("document.title").startswith("no answer · ")

        server.status = statuses.healthy()
        wait_until(lambda: not tab.run("document.getElementById('silence').checkVisibility()"))
        assert tab.run("document.title") == "running · web-3 · invalidator"


def test_even_if_a_text_were_not_escaped_no_browser_would_run_it(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "escape", str)
    hostile = "<script>document.title='taken'</script><img src=/x onerror=\"document.title='taken'\">"
    with shown(statuses.status(statuses.worker("users", pattern=hostile))) as server, browser.tab(width=360) as tab:
        tab.open(server.url)
        assert tab.run("document.title") == "running · web-3 · invalidator"
        assert "Content Security Policy" in " ".join(tab.complaints())

        monkeypatch.setattr("tests.test_page_browser.HEADERS", ())
        tab.open(server.url)
        assert tab.run("document.title") == "taken", "without the policy the script would run"


def test_the_picture_of_it_is_there_and_small() -> None:
    assert PICTURE.read_bytes().startswith(b"\x89PNG")
    assert PICTURE.stat().st_size < LARGEST


def test_it_shows_a_real_daemon_and_soon_that_a_worker_was_killed(
    browser: Browser, redis_server: MakeRedis, daemon: MakeDaemon
) -> None:
    broker = redis_server()
    run = daemon(
        {
            "redis": {"url": broker.url},
            "backends": {"said": {"type": "log"}},
            "workers": [
                {"name": "users", "pattern": "cache:users:*", "backends": [{"backend": "said", "on_gap": "ignore"}]}
            ],
        }
    )
    with redis.Redis.from_url(broker.url) as client:
        client.publish("cache:users:x", "users:42")
    run.wait_metric("invalidator_targets_total", 1, end="purged")
    with browser.tab(width=360) as tab:
        tab.open(f"http://{run.address}/")
        assert tab.run("document.querySelector('h1').innerText") == "Running"
        assert "cache:users:*" in tab.main()

        os.kill(run.pids()[0], signal.SIGKILL)
        wait_until(lambda: "1 (signal 1)" in tab.main(), page.EVERY + 5, "it did not refresh itself")
        assert tab.complaints() == []

"""A headless Chromium, driven over its own debugging pipe: what a page looks like, says and asks for in a real browser.

with Browser(folder) as browser, browser.tab(width=360) as tab:
    tab.open(url)
    assert tab.run("document.title") == "…"
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from tests.support.required import require
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # it does not start as root otherwise, and visits our own page alone
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    # It asks nobody for anything of its own accord:
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_DEADLINE = 30.0


class Browser:
    """One Chromium with a profile of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        program = require("chromium")
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        # It reads commands from 3 and writes answers to 4, whatever numbers our ends have.
        script = "import os, sys; os.dup2({}, 3); os.dup2({}, 4); os.execv(sys.argv[1], sys.argv[1:])"
        own = [sys.executable, "-S", "-c", script.format(to_read, to_write)]
        self._process = subprocess.Popen(
            [*own, str(program), *_FLAGS, f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest = b""
        self._count = 0
        self._events: dict[str, list[dict[str, Any]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.ask("Browser.close")
            self._process.wait(_DEADLINE)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            os.close(self._out)
            os.close(self._in)

    @contextmanager
    def tab(self, *, width: int, height: int = 900, dark: bool = False, scripts: bool = True) -> Iterator[Tab]:
        """An empty tab of a profile of its own, as wide as this."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.ask(f"{domain}.enable")
        tab.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.ask("Emulation.setEmulatedMedia", features=[scheme])
        tab.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        try:
            yield tab
        finally:
            self.ask("Target.disposeBrowserContext", browserContextId=context)

    def ask(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + _DEADLINE
        while (answer := self._next(end)).get("id") != self._count:
            self._keep(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def events(self, session: str) -> list[dict[str, Any]]:
        """What this tab has reported so far."""
        while b"\0" in self._rest or select.select([self._in], [], [], 0)[0]:
            self._keep(self._next(time.monotonic() + _DEADLINE))
        return self._events.get(session, [])

    def _keep(self, event: dict[str, Any]) -> None:
        self._events.setdefault(event.get("sessionId", ""), []).append(event)

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._in, 1 << 20) if ready else b""
            assert data, "Chromium does not answer"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol for this tab."""
        return self._browser.ask(method, self._session, **params)

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        before = self.loads()
        self.ask("Page.navigate", url=url)
        wait_until(lambda: self.loads() > before, _DEADLINE, f"{url} was not loaded")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; also where the page itself may run none."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def main(self) -> str:
        """The markup of its main part as it is now; none while it is being loaded."""
        answer = self.run("document.querySelector('main')?.outerHTML ?? ''")
        return str(answer)

    def loads(self) -> int:
        """How often a document was loaded."""
        return len(self._named("Page.loadEventFired"))

    def complaints(self) -> list[str]:
        """Errors and warnings on its console: exceptions, violations of the policy, failed requests."""
        logged = [event["entry"]["text"] for event in self._named("Log.entryAdded")]
        thrown = [event["exceptionDetails"]["text"] for event in self._named("Runtime.exceptionThrown")]
        said = [str(event["args"]) for event in self._named("Runtime.consoleAPICalled")]
        return logged + thrown + said

    def requests(self) -> list[str]:
        """Every address that it has asked for."""
        return [event["request"]["url"] for event in self._named("Network.requestWillBeSent")]

    def screenshot(self, *, whole: bool = True) -> bytes:
        """A PNG of the whole page, or of what fits the window."""
        answer = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def _named(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self._browser.events(self._session) if event["method"] == method]

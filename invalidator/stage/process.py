"""A process of ours, with a pipe to talk through; and the children of any process."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invalidator.embedded import tied
from invalidator.errors import UnreachableError

if TYPE_CHECKING:
    import signal


class Child:
    """A process of ours that ends with its standard input, and with us at the latest. Talks in lines of JSON."""

    def __init__(self, argv: list[str], log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter and modules
                tied([sys.executable, "-m", *argv]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def ask(self, command: str) -> Any:
        """Say one line, and wait for the answer."""
        self.say(command)
        return json.loads(self.listen())

    def say(self, command: str) -> None:
        """Say one line. When it has ended, `listen` tells."""
        assert self._process.stdin is not None  # noqa: S101 -- for the type checker: it was asked for above
        with suppress(BrokenPipeError):
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()

    @property
    def has_answered(self) -> bool:
        """Whether `listen` need not wait. Only for who has taken the answers to all but the last line."""
        assert self._process.stdout is not None  # noqa: S101 -- see above
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def listen(self) -> str:
        """Its next line. Raises UnreachableError with the end of its log when it has ended instead."""
        assert self._process.stdout is not None  # noqa: S101 -- see above
        if line := self._process.stdout.readline():
            return line.strip()
        raise UnreachableError(f"a process of ours has ended: {self.last_words()}")

    def check_end(self) -> None:
        """Raises UnreachableError with the end of its log when it has ended with an error."""
        if self._process.poll():
            raise UnreachableError(f"a process of ours has failed: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-2000:].strip() or "it said nothing"

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended."""
        self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Its exit code; it is killed after `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def terminate(self, timeout: float) -> int:
        """SIGTERM, and SIGKILL after `timeout` seconds; the exit code."""
        self._process.terminate()
        return self.wait(timeout)

    def finish(self, timeout: float) -> int:
        """Let it end of its own accord, as its standard input does; SIGKILL after `timeout` seconds; the exit code."""
        assert self._process.stdin is not None  # noqa: S101 -- see above
        self._process.stdin.close()
        return self.wait(timeout)

    def close(self) -> None:
        """Kill it; it holds nothing that anybody needs."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):  # what it was told last, it has not read
                assert pipe is not None  # noqa: S101 -- see above
                pipe.close()
        self._process.wait()


def children(pid: int) -> list[int]:
    """The direct children of a process, oldest first."""
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607 -- macOS
    return [int(child) for child in found.stdout.split()]

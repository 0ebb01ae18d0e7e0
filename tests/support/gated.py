"""A backend whose processes start, and purge, only while a test lets them: a plugin file, and the gates it looks at."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stores import RedisServer

_PLUGIN = '''
    """While the file `start` exists in this folder, no process gets beyond its start; with `purge`, no purge ends."""

    import pathlib
    import time

    from invalidator import Backend, BackendOptions, PurgeResult, hookimpl

    FOLDER = pathlib.Path(__file__).parent
    {more}

    def wait_for(name):
        while (FOLDER / name).exists():
            time.sleep(0.005)


    class Options(BackendOptions):
        number: int = 0

        def kinds(self):
            return frozenset({{"key", "all"}})


    class Gated(Backend):
        def purge(self, batch):
            wait_for("purge")
            with (FOLDER / "purged").open("a") as file:
                file.write("".join(f"{{key}}\\n" for key in batch.keys))
            return PurgeResult()


    @hookimpl
    def backend_types():
        return {{"gated": Options}}


    @hookimpl
    def make_backend(options):
        if isinstance(options, Options):
            wait_for("start")
            if options.number < 0:
                raise RuntimeError("no such number")
            return Gated()
'''


class Gates:
    """A folder with the plugin in it. `more` is code of the test's own, at the top of the plugin."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.plugin = folder / "gated.py"
        code = textwrap.dedent(_PLUGIN).format(more=textwrap.dedent(more).strip())
        self.plugin.write_text(code)
        self._folder = folder

    def close(self, name: str) -> None:
        """Hold up every `start`, or every `purge`, from now on."""
        (self._folder / name).touch()

    def open(self, name: str) -> None:
        """Let them through again."""
        (self._folder / name).unlink()

    def purged(self) -> list[str]:
        """The keys, in the order in which they were purged."""
        file = self._folder / "purged"
        return file.read_text().split() if file.exists() else []

    def topology(self, server: RedisServer, *names: str, **supervisor: object) -> dict[str, Any]:
        """Workers of these names, each for its own channels, with one such backend, which a Gap flushes."""
        return {
            "redis": {"url": server.url, "backoff": {"first": "10ms", "longest": "200ms"}},
            "supervisor": {"restart": {"first": "50ms", "longest": "200ms"}, **supervisor},
            "plugins": [str(self.plugin), "log"],
            "backends": {"gated": {"type": "gated"}},
            "workers": [
                {"name": name, "pattern": f"cache:{name}:*", "backends": ["gated"], "flush": {"all": True}}
                for name in names
            ],
        }

"""A backend that never answers, as a plugin file, in a topology of its own."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from tests.support.topologies import logging

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stores import RedisServer

HANGING = """
    import threading
    from invalidator import Backend, BackendOptions, hookimpl

    class Options(BackendOptions):
        pass

    class Hanging(Backend):
        def purge(self, batch):
            threading.Event().wait()

    @hookimpl
    def backend_types():
        return {"hanging": Options}

    @hookimpl
    def make_backend(type):
        return Hanging() if type == "hanging" else None
"""


def hanging(server: RedisServer, tmp_path: Path, **supervisor: Any) -> dict[str, Any]:
    """A worker with that backend, and one that does well. The plugin is the file `hanging.py` in `tmp_path`."""
    plugin = tmp_path / "hanging.py"
    plugin.write_text(textwrap.dedent(HANGING))
    wanted = logging(server, "a", **supervisor)
    wanted["plugins"] = [str(plugin)]
    wanted["backends"]["stuck"] = {"type": "hanging"}
    wanted["workers"][0]["backends"] = ["stuck", "said"]
    return wanted

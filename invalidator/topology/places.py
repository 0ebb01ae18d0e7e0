"""Where the daemon keeps its things when the topology does not say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "invalidator"


def control_socket() -> Path:
    """The default of `supervisor.control_socket`."""
    return runtime_directory(os.environ, root=os.geteuid() == 0) / "control.sock"


def state_dir() -> Path:
    """The default of `supervisor.state_dir`."""
    return state_directory(os.environ, root=os.geteuid() == 0)


def runtime_directory(environ: Mapping[str, str], *, root: bool) -> Path:
    """systemd's RuntimeDirectory=, else the user's own, else the host's."""
    if given := environ.get("RUNTIME_DIRECTORY"):
        return Path(given.split(":")[0])  # systemd lists all of a service's, ours first
    if (own := environ.get("XDG_RUNTIME_DIR")) and not root:
        return Path(own, NAME)
    return Path("/run", NAME)


def state_directory(environ: Mapping[str, str], *, root: bool) -> Path:
    """systemd's StateDirectory=, else the user's own, else the host's."""
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if own := environ.get("XDG_STATE_HOME"):
        return Path(own, NAME)
    if not root and (home := environ.get("HOME")):
        return Path(home, ".local", "state", NAME)
    return Path("/var/lib", NAME)

"""Where the daemon keeps its things when the topology does not say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "invalidator"
_SOCKET = "control.sock"
LONGEST_SOCKET_PATH = 107
"""Bytes, on Linux."""


def control_socket() -> Path:
    """The default of `supervisor.control_socket`."""
    return runtime_directory(os.environ, root=os.geteuid() == 0) / _SOCKET


def control_sockets(file: Path, environ: Mapping[str, str], *, root: bool) -> tuple[Path, ...]:
    """Where the daemon of this topology may listen if it names no socket; for root, in the template unit's too.

    An instance has a runtime directory of its own, and root's shell is not told of it.
    """
    usual = runtime_directory(environ, root=root) / _SOCKET
    return (usual, Path("/run", f"{NAME}-{file.stem}", _SOCKET)) if root else (usual,)


def state_dir() -> Path:
    """The default of `supervisor.state_dir`."""
    return state_directory(os.environ, root=os.geteuid() == 0)


def check_socket_path(path: str | Path) -> None:
    """Raises ValueError for a path that is too long for a socket."""
    if (length := len(os.fsencode(path))) > LONGEST_SOCKET_PATH:
        raise ValueError(f"the path of a socket may have {LONGEST_SOCKET_PATH} bytes, and this one has {length}")


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

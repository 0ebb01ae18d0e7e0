"""HAProxy between the daemon and its Redis: a line that it ends when it is idle, and a backend that it can change."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from chaos import programs
from invalidator.embedded import Server

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONFIG = """global
    stats socket {folder}/proxy.sock level admin
defaults
    mode tcp
    timeout connect 1s
    timeout client {idle}
    timeout server {idle}
listen redis
    bind 127.0.0.1:{port}
{servers}
"""


class Proxy(Server):
    """`use("second")` sends every new connection there; those that stand stay where they are, as HAProxy has it."""

    name = "haproxy"

    def __init__(self, folder: Path, port: int, servers: Mapping[str, int]) -> None:
        found = programs.find("haproxy")
        assert found is not None, "haproxy is not on this machine"
        super().__init__(Path(found), folder, (), unix=False)
        self.port = port
        self._servers = servers
        self.chosen = next(iter(servers.values()))
        """The port of the server that new connections go to."""
        self._file = folder / "haproxy.cfg"
        self._write("1h")

    def end_idle_lines(self, after: str) -> None:
        """From now on, end each line on which nothing has come for so long; those that stand end now."""
        self._write(after)
        self.restart()

    def use(self, chosen: str) -> None:
        """Send what is new to this one of the servers."""
        self.chosen = self._servers[chosen]
        for name in self._servers:
            self._order(f"set server redis/{name} state {'ready' if name == chosen else 'maint'}")

    def _write(self, idle: str) -> None:
        lines = (
            f"    server {name} 127.0.0.1:{port}{'' if port == self.chosen else ' disabled'}"
            for name, port in self._servers.items()
        )
        self._file.write_text(
            _CONFIG.format(folder=self.directory, idle=idle, port=self.port, servers="\n".join(lines))
        )

    def _order(self, command: str) -> None:
        with closing(socket.socket(socket.AF_UNIX)) as line:
            line.settimeout(2.0)
            line.connect(str(self.directory / "proxy.sock"))
            line.sendall(f"{command}\n".encode())
            line.recv(4096)

    def _arguments(self) -> list[str]:
        return ["-db", "-f", str(self._file)]

    def _pid_that_answers(self) -> int:
        with closing(self.connect()) as line:
            line.sendall(b"PING\r\n")
            return self.pid if line.recv(64).startswith(b"+PONG") else 0

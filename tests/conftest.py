"""Fixtures for black-box tests: real servers and the daemon itself. Most are factories; each ends what it made.

    def test_…(redis_server, memcached_server, daemon):
        redis, objects = redis_server(), memcached_server()
        run = daemon({"redis": {"url": redis.url}, "backends": …, "workers": …})

Each server can be killed, stopped (SIGSTOP), continued and started again where it was.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest
import redis

from invalidator.cli import main
from tests.support.available import Watched
from tests.support.caches import Nginx, Varnish
from tests.support.daemon import Daemon
from tests.support.exact import Process, started
from tests.support.gated import Gates
from tests.support.journals import Publisher
from tests.support.origin import Origin
from tests.support.shop import Opener
from tests.support.stores import MemcachedServer, RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from invalidator.embedded import Server
    from tests.support.operating import Tell

S = TypeVar("S", bound="Server")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sequences", type=int, default=20, help="how many sequences of faults test_stateful.py tries")
    parser.addoption("--every-benchmark", action="store_true", help="do each run of `make bench` in small")
    parser.addoption("--every-fault", action="store_true", help="show each fault of the drill without its guards, too")


class MakeRedis(Protocol):
    def __call__(self, *config: str, password: str = "", unix: bool = False) -> RedisServer: ...


class MakeMemcached(Protocol):
    def __call__(self, *options: str, unix: bool = False) -> MemcachedServer: ...


class MakeDaemon(Protocol):
    def __call__(
        self,
        topology: Mapping[str, Any],
        *,
        ready: bool = True,
        environment: Mapping[str, str] | None = None,
        closed: str = "",
    ) -> Daemon: ...


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """What a test starts is ended here, the last first: the daemon before the servers it talks to."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A new folder with a short path: that of a unix socket may have 107 bytes, and a test's name is a sentence."""
    return tmp_path_factory.mktemp


@pytest.fixture
def redis_server(cleanup: ExitStack, folder: Callable[[str], Path]) -> MakeRedis:
    def make(*config: str, password: str = "", unix: bool = False) -> RedisServer:
        return _started(cleanup, RedisServer(folder("redis"), *config, password=password, unix=unix))

    return make


@pytest.fixture
def source(redis_server: MakeRedis) -> RedisServer:
    """Where messages are published."""
    return redis_server()


@pytest.fixture
def publisher(source: RedisServer) -> Iterator[Publisher]:
    with closing(Publisher(source)) as publisher:
        yield publisher


@pytest.fixture
def server(redis_server: MakeRedis) -> RedisServer:
    """The one Redis of a test that needs no daemon, or no other server."""
    return redis_server()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def watched(cleanup: ExitStack, folder: Callable[[str], Path]) -> Watched:
    return cleanup.enter_context(Watched(folder("watched")))


@pytest.fixture
def memcached_server(cleanup: ExitStack, folder: Callable[[str], Path]) -> MakeMemcached:
    def make(*options: str, unix: bool = False) -> MemcachedServer:
        return _started(cleanup, MemcachedServer(folder("memcached"), *options, unix=unix))

    return make


@pytest.fixture
def origin(cleanup: ExitStack) -> Origin:
    origin = Origin()
    cleanup.callback(origin.close)
    return origin


@pytest.fixture
def varnish(cleanup: ExitStack, folder: Callable[[str], Path], origin: Origin) -> Callable[[], Varnish]:
    return lambda: _started(cleanup, Varnish(folder("varnish"), origin.address))


@pytest.fixture
def nginx_cache(cleanup: ExitStack, folder: Callable[[str], Path], origin: Origin) -> Callable[[], Nginx]:
    return lambda: _started(cleanup, Nginx(folder("nginx"), origin.address))


@pytest.fixture
def daemon(cleanup: ExitStack, folder: Callable[[str], Path]) -> MakeDaemon:
    def make(
        topology: Mapping[str, Any],
        *,
        ready: bool = True,
        environment: Mapping[str, str] | None = None,
        closed: str = "",
    ) -> Daemon:
        run = Daemon(folder("daemon"), topology, environment)
        cleanup.callback(run.close)
        return run.start(ready=ready, closed=closed)

    return make


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """A command in this process: to start another one takes longer than all the rest."""

    def run(daemon: Daemon, *arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "-c", str(daemon.file)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    return Gates(tmp_path)


@pytest.fixture
def process(source: RedisServer, tmp_path: Path, cleanup: ExitStack) -> Callable[..., Process]:
    """One process's delivery from the journal of `source`, turned by hand."""
    return lambda *backends, limit=100: started(cleanup, Process(source, tmp_path, *backends, limit=limit))


@pytest.fixture
def open_shop(
    redis_server: MakeRedis,
    memcached_server: MakeMemcached,
    daemon: MakeDaemon,
    folder: Callable[[str], Path],
    cleanup: ExitStack,
) -> Opener:
    return Opener(redis_server, memcached_server, daemon, folder, cleanup)


def _started(cleanup: ExitStack, server: S) -> S:
    cleanup.callback(server.kill)
    server.start()
    return server

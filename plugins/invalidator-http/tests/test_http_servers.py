"""The http backend against real caches, set up from the very files that the README shows."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import invalidator_http
from invalidator import embedded
from invalidator.http import encode
from invalidator.testing import BackendConformance, CacheUnderTest
from invalidator.testing.rig import purge
from tests.support import required
from tests.support.origin import Origin, Response, fetch
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


HERE = Path(__file__).parent.parent
HOST = "shop.example"


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_stopped(pid: int) -> bool:
    states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


class HttpCache(embedded.Server):
    """A cache in front of `origin`, as its README configures it."""

    def __init__(self, program: Path, folder: Path, origin: Origin) -> None:
        super().__init__(program, folder, (), unix=False)
        self.port = free_port()
        self.origin = origin

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def get(self, path: str, host: str = HOST) -> Response:
        return fetch(self.url + path, headers={"Host": host})

    def write(self, name: str, text: str) -> str:
        (self.directory / name).write_text(text)
        return str(self.directory / name)

    def serving(self) -> list[int]:
        """The processes that answer."""
        return [self.pid]

    def stop(self) -> None:
        for pid in self.serving():
            _signal(pid, signal.SIGSTOP)
            # A thread that is running elsewhere goes on until it notices, and may still answer.
            wait_until(lambda pid=pid: _is_stopped(pid))  # type: ignore[misc]

    def cont(self) -> None:
        for pid in self.serving():
            _signal(pid, signal.SIGCONT)

    def _pid_that_answers(self) -> int:
        fetch(f"{self.url}/-/alive")
        return self.pid


class Varnish(HttpCache):
    name = "varnish"

    def __init__(self, folder: Path, origin: Origin) -> None:
        super().__init__(required.require("varnishd"), folder, origin)
        required.require("vmod_xkey")
        host, _, port = origin.address.rpartition(":")
        self._vcl = self.write(
            "cache.vcl",
            f'vcl 4.1; backend application {{ .host = "{host}"; .port = "{port}"; }}'
            f'include "{HERE / "varnish" / "purge.vcl"}";'
            "sub vcl_backend_response { set beresp.grace = 1h; } sub vcl_deliver { set resp.http.x-ttl = obj.ttl; }",
        )

    def kill(self) -> None:
        children = self.serving()
        super().kill()
        for child in children:
            _signal(child, signal.SIGKILL)
        wait_until(self._is_silent, why="varnish's child goes on without its parent")

    def serving(self) -> list[int]:
        # The process that we started only watches over the one that answers.
        with suppress(FileNotFoundError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def _is_silent(self) -> bool:
        try:
            self.connect().close()
        except OSError:
            return True
        return False

    def _arguments(self) -> list[str]:
        work = ["-j", "none", "-F", "-n", str(self.directory / "varnish"), "-s", "malloc,16m"]
        return [*work, "-a", self.address, "-f", self._vcl]


class Nginx(HttpCache):
    name = "nginx"

    def __init__(self, folder: Path, origin: Origin) -> None:
        super().__init__(required.require("nginx"), folder, origin)
        load = f"load_module {required.require('cache_purge')};" + (" user root;" if os.geteuid() == 0 else "")
        cache = (HERE / "nginx" / "cache.conf").read_text().replace("/var/cache/nginx/pages", "pages")
        temporary = "".join(f"{name}_temp_path {name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
        self._config = self.write(
            "nginx.conf",
            f"{load} master_process off; daemon off; pid nginx.pid; error_log stderr; events {{}}"
            f"http {{ access_log off; client_body_temp_path body; {temporary} {cache}"
            f"upstream application {{ server {origin.address}; }}"
            f"server {{ listen {self.address}; include {HERE / 'nginx' / 'locations.conf'}; }} }}",
        )

    def _arguments(self) -> list[str]:
        return ["-p", str(self.directory), "-c", self._config, "-e", "stderr"]


class Squid(HttpCache):
    name = "squid"

    def __init__(self, folder: Path, origin: Origin) -> None:
        super().__init__(required.require("squid"), folder, origin)
        host, _, port = origin.address.rpartition(":")
        self._service = f"squid{self.port}"
        # It refuses to run as root, and the user that it runs as instead must not need anything of the test's folder.
        self._config = self.write(
            "squid.conf",
            f"http_port {self.address} accel defaultsite={HOST} vhost\n"
            f"cache_peer {host} parent {port} 0 no-query originserver\n"
            "acl here src 127.0.0.1/32\nacl purging method PURGE\n"
            "http_access allow purging here\nhttp_access deny purging\nhttp_access allow all\n"
            "pid_filename none\ncache_log /dev/null\naccess_log none\ncoredump_dir none\nnetdb_filename none\n"
            "cache_mem 16 MB\npinger_enable off\nshutdown_lifetime 0 seconds\n",
        )

    def _arguments(self) -> list[str]:
        return ["-N", "-n", self._service, "-f", self._config]

    def kill(self) -> None:
        super().kill()
        for left in Path("/dev/shm").glob(f"{self._service}-*"):  # noqa: S108 -- where squid leaves its queues
            left.unlink()


class TrafficServer(HttpCache):
    name = "trafficserver"

    def __init__(self, folder: Path, origin: Origin) -> None:
        super().__init__(required.require("traffic_server"), folder, origin)
        self._cache = folder / "cache"
        installed = {"prefix": "/usr", "exec_prefix": "/usr", "bindir": "/usr/bin", "sbindir": "/usr/bin"}
        libraries = {"libdir": "/usr/lib/trafficserver", "libexecdir": "/usr/lib/trafficserver/modules"}
        ours = dict.fromkeys(("datadir", "sysconfdir", "localstatedir", "runtimedir", "logdir", "cachedir"), folder)
        layout = {**installed, **libraries, **ours, "includedir": "/usr/include", "mandir": "/usr", "infodir": "/usr"}
        self._layout = self.write("runroot.yaml", "".join(f"{name}: {path}\n" for name, path in layout.items()))
        rule = "apply: in\n    ip_addrs: 127.0.0.1\n    action: allow\n    methods: ALL\n"
        self.write("ip_allow.yaml", f"ip_allow:\n  - {rule}")
        self.write("remap.config", f"map / http://{origin.address}/\n")
        self.write("storage.config", f"{self._cache} 16M\n")
        self.write(
            "records.config",
            f"CONFIG proxy.config.http.server_ports STRING {self.port}:ip-in=127.0.0.1\n"
            "CONFIG proxy.config.url_remap.pristine_host_hdr INT 1\nCONFIG proxy.config.admin.user_id STRING #-1\n"
            "CONFIG proxy.config.exec_thread.autoconfig INT 0\nCONFIG proxy.config.exec_thread.limit INT 1\n"
            "CONFIG proxy.config.log.logging_enabled INT 0\nCONFIG proxy.config.crash_log_helper STRING NULL\n",
        )

    def _arguments(self) -> list[str]:
        # Its cache is a file: without this it would come back with what it knew.
        shutil.rmtree(self._cache, ignore_errors=True)
        self._cache.mkdir()
        return [f"--run-root={self._layout}"]


class Seen(CacheUnderTest):
    """The cache holds what it answered when it was filled; the origin has had a newer version since."""

    secret = "open-sesame"

    def __init__(self, server: HttpCache, origin: Origin, style: dict[str, Any]) -> None:
        self._style = style
        self._server = server
        self._origin = origin
        self._stored: dict[str, str] = {}

    def options(self) -> dict[str, Any]:
        secret = {"X-Key": self.secret}
        return {"targets": [self._server.url], "host": HOST, "hosts": [HOST], "headers": secret, **self._style}

    def store(self, key: str, tags: Sequence[str] = ()) -> None:
        self._origin.tag(_path(key), *tags)
        self._stored[key] = self._server.get(_path(key)).body
        self._origin.change(_path(key))

    def holds(self, key: str) -> bool:
        return self._server.get(_path(key)).body == self._stored.get(key)

    def fresh(self, key: str) -> bool:
        answer = self._server.get(_path(key))
        return answer.body == self._stored[key] and float(answer.headers["x-ttl"]) > 0

    def url(self, key: str) -> str:
        return f"http://{HOST}{_path(key)}"

    def hang(self) -> None:
        self._server.stop()

    def resume(self) -> None:
        self._server.cont()

    def stop(self) -> None:
        self._server.kill()

    def start(self) -> None:
        self._server.start()


def _path(key: str) -> str:
    return f"/{encode(key)}"


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


@pytest.fixture(scope="class")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, origin: Origin
) -> Iterator[HttpCache]:
    """The server that the test's class names: one for all of its tests."""
    server: HttpCache = request.cls.server_type(tmp_path_factory.mktemp("cache"), origin)
    with ExitStack() as stack:
        stack.callback(server.kill)
        server.start()
        yield server


class Conformance(BackendConformance):
    """The suite, with the options of one `style` of purging."""

    plugin = invalidator_http
    type_name = "http"
    server_type: ClassVar[type[HttpCache]]
    style: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def cache(self, server: HttpCache, origin: Origin) -> CacheUnderTest:
        return Seen(server, origin, self.style)

    @pytest.mark.parametrize("key", ["a b/c", "caffè:日本", "100%", "?q=1&r=#2", "+;=,!$&'()*@[]\"<>|^`{}", "a//b"])
    def test_an_odd_key_is_purged_as_what_it_is(self, cache: CacheUnderTest, key: str) -> None:
        with self._stored(cache, key, "other") as backends:
            assert purge(backends, self._batch(keys=(key,))) == []
            assert not cache.holds(key)
            assert cache.holds("other")


class TestVarnishPurge(Conformance):
    server_type = Varnish
    style: ClassVar = {"tag_header": "xkey", "soft": {"headers": {"X-Soft": "1"}}}


class TestVarnishBan(Conformance):
    server_type = Varnish
    style: ClassVar = {"method": "BAN", "ban_tag": "obj.http.xkey ~ {regex}"}

    @pytest.mark.parametrize("prefix", ["caffè:", "a b/"])
    def test_an_odd_prefix_takes_what_begins_with_it(self, cache: CacheUnderTest, prefix: str) -> None:
        with self._stored(cache, f"{prefix}ü 1", f"x{prefix}1") as backends:
            assert purge(backends, self._batch(prefixes=(prefix,))) == []
            assert not cache.holds(f"{prefix}ü 1")
            assert cache.holds(f"x{prefix}1")

    @pytest.mark.parametrize("pattern", ["p?t:[a-c]*", "p[^x]t:b*", "*:b:1", "p\\at:b:1", "[pq]at:[b]:1", "p?t:b:?"])
    def test_a_pattern_takes_what_redis_would_take(self, cache: CacheUnderTest, pattern: str) -> None:
        with self._stored(cache, "pat:b:1", "pat:d:2") as backends:
            assert purge(backends, self._batch(patterns=(pattern,))) == []
            assert not cache.holds("pat:b:1")
            assert cache.holds("pat:d:2")

    def test_the_bans_are_ones_that_the_lurker_works_off(self, cache: CacheUnderTest, server: HttpCache) -> None:
        with self._made(cache) as backends:
            assert purge(backends, self._batch(keys=("lurked:1",), tags=("lurked",), all=True)) == []
        command = ["varnishadm", "-n", str(server.directory / "varnish"), "ban.list"]
        bans = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert "obj.http.x-url ~ ^/lurked:1$" in bans
        assert "obj.http.xkey ~ (^|[[:space:],])lurked([[:space:],]|$)" in bans
        assert "req." not in bans

    def test_an_expression_that_varnish_does_not_understand_is_rejected(self, server: HttpCache) -> None:
        cache = Seen(server, server.origin, {**self.style, "ban": "nonsense {regex}"})
        with self._made(cache) as backends:
            (failure,) = purge(backends, self._batch(keys=("a",)))
        assert (failure.reason, failure.retry) == ("rejected", False)


class TestNginx(Conformance):
    server_type = Nginx
    style: ClassVar = {"method": "GET", "path": "/purge/{key}", "url_path": "/purge{path}"}

    def test_a_connection_that_ends_after_a_thousand_answers_takes_no_purge_with_it(self, server: HttpCache) -> None:
        # nginx's `keepalive_requests`: what waits behind the last of them is not answered.
        cache = Seen(server, server.origin, {**self.style, "connections": 1, "pipeline": 7})
        cache.store("last")
        with self._made(cache) as backends:
            assert purge(backends, self._batch(keys=(*(f"k:{number}" for number in range(3000)), "last"))) == []
        assert not cache.holds("last")


class TestSquid(Conformance):
    server_type = Squid


class TestTrafficServer(Conformance):
    server_type = TrafficServer

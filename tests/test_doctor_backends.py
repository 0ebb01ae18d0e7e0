"""invalidator doctor: each finding about a backend, on real servers; and what the canary never does."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import pytest

from invalidator.testing import RecordingServer
from invalidator.testing.fastly import FakeFastly
from tests.support.doctor import PATTERN as USERS
from tests.support.doctor import Report, client, diagnose, topology, worker
from tests.support.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from invalidator.testing import Conversation
    from tests.conftest import MakeMemcached, MakeRedis
    from tests.support.caches import Nginx
    from tests.support.origin import Origin


@pytest.fixture
def examine(redis_server: MakeRedis, tmp_path: Path) -> Callable[..., Report]:
    """The doctor's word on one backend, with these options."""
    source = redis_server()

    def run(plugins: tuple[str, ...] = (), lane: dict[str, Any] | None = None, **options: Any) -> Report:
        whole = topology(source.url, backends={"objects": options}, workers=[worker("users", USERS, "objects")])
        whole["workers"][0]["backends"] = [{"backend": "objects", **(lane or {"on_gap": "ignore"})}]
        return diagnose(tmp_path, whole | ({"plugins": list(plugins)} if plugins else {}))

    return run


def test_memcached_really_purges_and_nothing_of_its_owner_s_is_touched(
    examine: Callable[..., Report], memcached_server: MakeMemcached
) -> None:
    first, second = memcached_server(), memcached_server()
    first.set("shop:users:42", "value")
    report = examine(type="memcached", servers=[first.address, second.address], key="shop:{key}")
    told = [found["evidence"] for found in report.findings if found["id"] == "backend.purges"]
    assert [address in text for address, text in zip((first.address, second.address), told, strict=True)] == [True] * 2
    assert first.get("shop:users:42") == "value"
    assert "curr_items 1" in first._ask(b"stats\r\n", rb"END\r\n")


def test_a_second_redis_really_purges_under_the_name_that_the_template_gives(
    examine: Callable[..., Report], redis_server: MakeRedis
) -> None:
    server = redis_server()
    mine = server.url.replace("redis://", "redis://app:pw12345@")
    with client(server.url) as asked:
        # The key's name can be seen by a right that covers no other.
        rights = ["~shop:invalidator:*", "~shop:invalidator:doctor:*", "+@all"]
        asked.execute_command("ACL", "SETUSER", "app", "on", ">pw12345", *rights)
        asked.set("shop:users:42", "value")
        report = examine(type="redis", url=mine, key="shop:{key}")
        assert report.the("backend.purges")["level"] == "ok"
        assert asked.keys("*") == [b"shop:users:42"]


def test_a_backend_that_is_away(examine: Callable[..., Report]) -> None:
    port = free_port()
    report = examine(type="memcached", servers=[f"127.0.0.1:{port}"])
    assert report.code == 1
    assert f"127.0.0.1:{port}" in report.evidence("backend.unreachable")


def test_a_backend_that_hangs_holds_nobody_up(examine: Callable[..., Report], memcached_server: MakeMemcached) -> None:
    server = memcached_server()
    server.stop()
    began = time.monotonic()
    report = examine(type="memcached", servers=[server.address])
    server.cont()
    assert report.the("backend.hanging")["level"] == "wrong"
    assert time.monotonic() - began < 10


def test_a_backend_that_wants_another_password(examine: Callable[..., Report], redis_server: MakeRedis) -> None:
    server = redis_server(password="right")
    report = examine(type="redis", url=server.url.replace("right", "wr0ng-s3cret"))
    assert report.the("backend.auth")["level"] == "wrong"
    assert "wr0ng-s3cret" not in str(report.findings)


@pytest.mark.parametrize(("flushed", "found"), [("tag", "backend.reached"), ("all", "backend.auth")])
def test_a_token_that_may_not_purge_everything_is_found_out_where_that_may_be_asked_for(
    examine: Callable[..., Report], flushed: str, found: str
) -> None:
    lane = {"on_gap": "flush", "flush": {"all": True} if flushed == "all" else {"tags": ["users"]}}
    with FakeFastly(scope="purge_select") as fake:
        report = examine(lane=lane, type="fastly", api=fake.url, service=fake.service, token=fake.token)
    assert found in report.ids()
    if found == "backend.auth":
        assert "it needs purge_all" in report.evidence(found)
        assert "its permissions must cover purging" in report.the(found)["fix"]


def test_a_user_who_may_purge_and_not_store_is_taken_at_its_word(
    examine: Callable[..., Report], redis_server: MakeRedis
) -> None:
    server = redis_server()
    mine = server.url.replace("redis://", "redis://app:pw12345@")
    with client(server.url) as asked:
        rights = ["~*", "+unlink", "+select", "+ping"]
        asked.execute_command("ACL", "SETUSER", "app", "on", ">pw12345", *rights)
        report = examine(type="redis", url=mine)
        assert report.the("backend.unproven")["level"] == "note"
        assert "backend.purges" not in report.ids()

        asked.execute_command("ACL", "SETUSER", "app", "+set", "+exists")
        assert "backend.purges" in examine(type="redis", url=mine).ids("ok")


def test_a_backend_whose_memory_is_full(examine: Callable[..., Report], redis_server: MakeRedis) -> None:
    report = examine(type="redis", url=redis_server("--maxmemory", "1").url)
    assert "out of memory" in report.evidence("backend.unusable")


def test_a_table_that_no_daemon_vouches_for(examine: Callable[..., Report], tmp_path: Path) -> None:
    report = examine(type="lru", path=str(tmp_path / "shop.gen"))
    assert "not every worker that feeds this table vouches for it" in report.evidence("backend.unusable")
    assert not (tmp_path / "shop.gen").exists()


def test_a_cache_that_does_not_know_the_method(examine: Callable[..., Report], origin: Origin) -> None:
    report = examine(type="http", targets=[f"http://{origin.address}"], path="/{key}")
    assert "status 501" in report.evidence("backend.refuses")
    assert report.code == 1


def test_a_cache_that_takes_a_purge_of_what_nobody_has(
    examine: Callable[..., Report], nginx_cache: Callable[[], Nginx]
) -> None:
    cache = nginx_cache()
    cache.get("/users/42")
    report = examine(type="http", targets=[cache.url], method="GET", path="/purge/{key}")
    assert "was accepted; not proven" in report.evidence("backend.accepts")
    assert cache.get("/users/42").headers["x-cache"] == "HIT"


def test_a_plugin_that_answers_in_the_backend_s_place_is_found_out(
    examine: Callable[..., Report], redis_server: MakeRedis, tmp_path: Path
) -> None:
    (tmp_path / "dry.py").write_text(_DRY)
    server = redis_server()
    report = examine(("redis", "./dry.py"), type="redis", url=server.url)
    assert "can still be read" in report.evidence("backend.keeps")
    assert report.code == 1
    with client(server.url) as asked:
        (canary,) = asked.keys("*")
        assert canary.startswith(b"invalidator:doctor:")
        assert 0 < asked.ttl(canary) <= 15, "it must not stay behind"

    assert "backend.keeps" not in examine(("redis",), type="redis", url=server.url).ids()


def test_a_balancer_in_front_of_two_servers_is_found_out(
    examine: Callable[..., Report], memcached_server: MakeMemcached
) -> None:
    servers = [memcached_server(), memcached_server()]
    with Balancer([server.port for server in servers]) as balancer:
        report = examine(type="memcached", servers=[balancer.address])
    assert "can still be read" in report.evidence("backend.keeps")

    alone = examine(type="memcached", servers=[server.address for server in servers])
    assert "backend.keeps" not in alone.ids()


def test_a_replica_cannot_be_purged(examine: Callable[..., Report], redis_server: MakeRedis) -> None:
    primary = redis_server("--repl-diskless-sync-delay", "0")
    report = examine(type="redis", url=redis_server("--replicaof", f"127.0.0.1 {primary.port}").url)
    assert "it is a replica" in report.evidence("backend.refuses")


def test_a_server_that_does_not_keep_what_it_is_given(examine: Callable[..., Report]) -> None:
    with RecordingServer(_forgetful) as server:
        report = examine(type="memcached", servers=[server.address])
    assert report.the("backend.unheld")["level"] == "warning"


def test_a_type_that_offers_no_canary_is_never_purged(examine: Callable[..., Report], tmp_path: Path) -> None:
    (tmp_path / "costly.py").write_text(_COSTLY)
    report = examine(("./costly.py",), type="costly", seen=str(tmp_path / "seen"))
    assert "no purge was tried" in report.evidence("backend.reached")
    assert (tmp_path / "seen").read_text() == "connect close "


def test_a_type_that_cannot_purge_a_single_key_is_never_purged_either(
    examine: Callable[..., Report], tmp_path: Path
) -> None:
    whole = _COSTLY.replace('canary = "none"', 'canary = "purge"')
    (tmp_path / "costly.py").write_text(whole.replace('{"key"', '{"all"'))
    examine(("./costly.py",), lane={"flush": {"all": True}}, type="costly", seen=str(tmp_path / "seen"))
    assert (tmp_path / "seen").read_text() == "connect close "

    (tmp_path / "costly.py").write_text(whole)  # and this is what it would have looked like
    examine(("./costly.py",), type="costly", seen=str(tmp_path / "seen"))
    assert (tmp_path / "seen").read_text() == "connect close connect purge close "


def test_a_plugin_whose_backend_cannot_be_made(examine: Callable[..., Report], tmp_path: Path) -> None:
    (tmp_path / "costly.py").write_text(_COSTLY.replace("return Costly", "1 / 0; return Costly"))
    report = examine(("./costly.py",), type="costly", seen="")
    assert "ZeroDivisionError" in report.evidence("backend.broken")


def test_a_backend_that_never_answers_is_given_up(
    examine: Callable[..., Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.doctor.examination.examine.__defaults__", (0.5,))
    (tmp_path / "costly.py").write_text(
        _COSTLY.replace("def connect(self):", "def connect(self):\n        _for_ever()")
    )
    began = time.monotonic()
    report = examine(("./costly.py",), type="costly", seen=str(tmp_path / "seen"))
    assert "no answer within 0.5 s" in report.evidence("backend.hanging")
    assert time.monotonic() - began < 3


def test_a_dry_run_is_not_purged(examine: Callable[..., Report], memcached_server: MakeMemcached) -> None:
    server = memcached_server()
    for one in ({"lane": {"dry_run": True, "on_gap": "ignore"}}, {"dry_run": True}):
        report = examine(type="memcached", servers=[server.address], **one)
        assert report.the("backend.dry_run")["level"] == "note"
    assert "STAT cmd_set 0" in server._ask(b"stats\r\n", rb"END\r\n")


_DRY = """
from invalidator import PurgeResult, hookimpl

@hookimpl(tryfirst=True)
def purge(batch):
    return PurgeResult()
"""

_COSTLY = """
import threading

from invalidator import Backend, BackendOptions, PurgeResult, hookimpl

_for_ever = threading.Event().wait

class Options(BackendOptions):
    seen: str

    def kinds(self):
        return frozenset({"key"})

class Costly(Backend):
    canary = "none"

    def __init__(self, seen):
        self._seen = seen

    def note(self, what):
        with open(self._seen, "a") as file:
            file.write(what + " ")

    def purge(self, batch):
        self.note("purge")
        return PurgeResult()

    def connect(self):
        self.note("connect")

    def close(self):
        self.note("close")

@hookimpl
def backend_types():
    return {"costly": Options}

@hookimpl
def make_backend(type, options):
    return Costly(options.seen)
"""


class Balancer:
    """Gives each connection to the next of several ports, in turn."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._turn = itertools.cycle(ports)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(near, next(self._turn))))
                self._threads[-1].start()

    def _serve(self, near: socket.socket, port: int) -> None:
        with near, socket.create_connection(("127.0.0.1", port), 5) as far, suppress(OSError):
            while question := near.recv(65536):
                far.sendall(question)
                near.sendall(far.recv(65536))


def _forgetful(talk: Conversation) -> None:
    """A memcached that says STORED, and has nothing."""
    while True:
        line = talk.read_until(b"\r\n")
        if line.startswith(b"set"):
            talk.read_until(b"\r\n")
            talk.send(b"STORED\r\n")
        elif line.startswith(b"mg"):
            talk.send(b"EN\r\n")
        elif line.startswith(b"mn"):
            talk.send(b"MN\r\n")

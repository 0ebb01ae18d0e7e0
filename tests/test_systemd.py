"""examples/systemd/ under a real systemd, in namespaces: installed as its README says, started, killed, reloaded."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import yaml

from tests.support.documents import blocks, commands
from tests.support.systemd import UNITS, Machine
from tests.support.waiting import free_port, wait_past, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import MakeMemcached, MakeRedis
    from tests.support.caches import Varnish
    from tests.support.origin import Origin
    from tests.support.stores import RedisServer

EXAMPLES = Path(__file__).parents[1] / "examples" / "systemd"
PROGRAM = "/opt/invalidator/bin/invalidator"
LOG = "/run/service.log"
# What a test cannot wait for, and where the log goes: the machine has no journal.
HASTE = f"""
[Service]
WatchdogSec=1s
RestartSec=50ms
StandardOutput=append:{LOG}
StandardError=append:{LOG}
"""

pytestmark = pytest.mark.timeout(90)


class Service:
    """One of the units in a machine: its topology, its settings, what systemd and the daemon say of it."""

    def __init__(self, machine: Machine, unit: str = "invalidator.service", name: str = "invalidator") -> None:
        self.machine = machine
        self.unit = unit
        self.file = f"/etc/invalidator/{name}.yaml"
        self._drop_ins = f"{UNITS}/{unit}.d"
        self.machine.write(LOG, "")
        self.configure("haste", HASTE)

    def write(self, topology: dict[str, Any]) -> None:
        self.machine.write(self.file, yaml.safe_dump(topology, sort_keys=False))

    def configure(self, name: str, text: str) -> None:
        """A drop-in."""
        self.machine.write(f"{self._drop_ins}/{name}.conf", text)
        self.machine.systemctl("daemon-reload")

    def start(self, *, wait: bool = True) -> None:
        began = self.machine.systemctl("start", *(() if wait else ("--no-block",)), self.unit, check=False)
        assert began.returncode == 0, f"{began.stderr}{self.why()}"

    def stop(self) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        self.machine.systemctl("stop", self.unit)
        return time.monotonic() - began

    def show(self, setting: str) -> str:
        return self.machine.show(self.unit, setting)

    def wait(self, setting: str, value: str, deadline: float = 15) -> None:
        wait_until(lambda: self.show(setting) == value, deadline, self.why)

    def wait_status(self, start: str) -> None:
        wait_until(lambda: self.show("StatusText").startswith(start), 15, self.why)

    def pids(self) -> list[int]:
        return self.machine.processes(self.unit)

    def supervisor(self) -> int:
        """On this side: the process whose parent is systemd."""
        (pid,) = [pid for pid in self.pids() if _parent(pid) == self.machine.pid]
        return pid

    def workers(self) -> list[int]:
        return [pid for pid in self.pids() if _parent(pid) != self.machine.pid]

    def why(self) -> str:
        """For a test that fails."""
        return self.machine.systemctl("status", self.unit, check=False).stdout + self.log()

    def log(self) -> str:
        return self.machine.path(LOG).read_text()

    def close(self) -> None:
        self.machine.systemctl("kill", "--signal=KILL", self.unit, check=False)
        self.machine.systemctl("stop", self.unit)
        self.machine.systemctl("reset-failed", self.unit, check=False)
        for conf in self.machine.path(self._drop_ins).iterdir():
            conf.unlink()
        self.machine.systemctl("daemon-reload")


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Booted once for all of these tests, with the units as `init --systemd` writes them there."""
    shared = tmp_path_factory.getbasetemp()
    made = Machine(tmp_path_factory.mktemp("machine"), shared).start()
    try:
        made.run("useradd", "--system", "shop")
        installing = blocks(EXAMPLES / "README.md", "sh")[0].splitlines()
        assert installing[0].startswith("python3 -m venv /opt/invalidator && "), "so has the machine done it"
        for line in installing[1:4]:
            made.run("sh", "-c", line)
        (joining,) = commands(EXAMPLES / "README.md", "usermod")
        made.run("sh", "-c", joining)
        yield made
    finally:
        made.close()


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    made = Service(machine)
    yield made
    made.close()


def topology(server: RedisServer, *names: str, **supervisor: object) -> dict[str, Any]:
    return {
        "redis": {"url": server.url, "backoff": {"first": "10ms", "longest": "200ms"}},
        "supervisor": {"metrics": f"127.0.0.1:{free_port()}", **supervisor},
        "backends": {"said": {"type": "log"}},
        "workers": [
            {"name": name, "pattern": f"cache:{name}:*", "backends": ["said"], "on_gap": "ignore"} for name in names
        ],
    }


def test_what_init_writes_there_is_what_the_examples_show(machine: Machine) -> None:
    for name in ("invalidator.service", "invalidator@.service"):
        assert machine.path(f"{UNITS}/{name}").read_text() == (EXAMPLES / name).read_text()
        assert machine.run("systemd-analyze", "verify", "--man=no", f"{UNITS}/{name}").stderr == ""


def test_a_dead_redis_at_boot_is_waited_for_and_no_restart(service: Service, redis_server: MakeRedis) -> None:
    server = redis_server()
    server.kill()
    service.configure("patience", "[Service]\nTimeoutStartSec=1s\n")
    service.write(topology(server, "a", "b"))
    began = time.monotonic()
    service.start(wait=False)
    service.wait_status("waiting for Redis; a: not subscribed since ")
    wait_past(began + 3)  # three times what its unit gives it to start in

    assert service.show("ActiveState") == "activating", service.why()
    assert "Connection refused" in service.show("StatusText")
    server.start()
    service.wait("ActiveState", "active")
    service.wait_status("2 workers running")
    assert service.show("NRestarts") == "0"


def test_without_its_asking_for_time_that_would_be_a_restart_loop(service: Service, redis_server: MakeRedis) -> None:
    server = redis_server()
    server.kill()
    service.configure("deaf", "[Service]\nTimeoutStartSec=1s\nUnsetEnvironment=NOTIFY_SOCKET\n")
    service.write(topology(server, "a"))
    service.start(wait=False)

    wait_until(lambda: int(service.show("NRestarts")) > 0, 10, service.why)


def test_ready_means_that_every_subscription_is_confirmed(service: Service, redis_server: MakeRedis) -> None:
    server = redis_server()
    service.write(topology(server, "a", "b", "c"))
    service.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.pubsub_numpat() == 3

    assert service.show("StatusText") == "3 workers running"
    assert len(service.workers()) == 3
    assert service.stop() < 3
    assert service.show("Result") == "success"


def test_a_supervisor_that_is_stopped_is_restarted_by_the_watchdog(service: Service, redis_server: MakeRedis) -> None:
    service.write(topology(redis_server(), "a", "b"))
    service.start()
    before, began = service.pids(), time.monotonic()
    wait_past(began + 2.5)
    assert service.pids() == before, "one that turns is left alone, for more than twice the watchdog's time"
    os.kill(service.supervisor(), signal.SIGSTOP)

    service.wait("NRestarts", "1")
    service.wait("ActiveState", "active")
    assert not set(before) & set(service.pids())
    assert not [pid for pid in before if Path(f"/proc/{pid}").exists()]


STUCK = """
import signal
from invalidator import hookimpl

@hookimpl
def worker_stopped(worker):
    while True:
        signal.pause()
"""


def test_a_supervisor_that_is_stuck_is_restarted_as_well(service: Service, redis_server: MakeRedis) -> None:
    service.machine.write("/etc/invalidator/stuck.py", STUCK)
    service.write({**topology(redis_server(), "a", "b"), "plugins": ["./stuck.py", "log"]})
    service.start()
    before = service.pids()
    os.kill(service.workers()[0], signal.SIGKILL)

    service.wait("NRestarts", "1")
    service.wait("ActiveState", "active")
    assert not [pid for pid in before if Path(f"/proc/{pid}").exists()]


def test_a_supervisor_that_is_killed_leaves_no_worker_and_is_replaced(
    service: Service, redis_server: MakeRedis
) -> None:
    service.write(topology(redis_server(), "a", "b"))
    service.start()
    before = service.pids()
    os.kill(service.workers()[0], signal.SIGSTOP)  # it could not end by itself
    os.kill(service.supervisor(), signal.SIGKILL)

    service.wait("NRestarts", "1")
    service.wait("ActiveState", "active")
    service.wait_status("2 workers running")
    assert not [pid for pid in before if Path(f"/proc/{pid}").exists()]
    assert len(service.workers()) == 2


def test_a_reload_leaves_what_is_unchanged_alone_and_is_over_when_the_rest_works(
    service: Service, redis_server: MakeRedis
) -> None:
    server = redis_server()
    wanted = topology(server, "a", "b")
    service.write(wanted)
    service.start()
    before = service.pids()
    wanted["workers"] += topology(server, "c")["workers"]
    service.write(wanted)
    service.machine.systemctl("reload", service.unit)

    assert set(before) < set(service.pids())
    assert service.show("StatusText") == "3 workers running"
    with redis.Redis.from_url(server.url) as client:
        assert client.pubsub_numpat() == 3
    assert service.show("ActiveState") == "active"


def test_a_reload_of_a_wrong_file_fails_and_changes_nothing(service: Service, redis_server: MakeRedis) -> None:
    wanted = topology(redis_server(), "a", "b")
    service.write(wanted)
    service.start()
    before = service.pids()
    service.write({**wanted, "wrokers": []})
    done = service.machine.systemctl("reload", service.unit, check=False)

    assert done.returncode != 0
    assert service.pids() == before
    assert service.show("ActiveState") == "active"
    service.wait_status(f"reload failed: {service.file}:")
    assert service.show("StatusText").endswith("the former topology stays; 2 workers running")
    service.write(wanted)
    service.machine.systemctl("reload", service.unit)
    service.wait_status("2 workers running")
    assert service.pids() == before


def test_a_worker_that_will_not_end_is_killed_in_time_and_systemd_need_not(
    service: Service, redis_server: MakeRedis
) -> None:
    service.configure("patience", "[Service]\nTimeoutStopSec=500ms\n")  # less than the daemon's: it asks for more
    service.write(topology(redis_server(), "a", "b", stop_timeout="1500ms"))
    service.start()
    os.kill(service.workers()[0], signal.SIGSTOP)

    assert 1.5 <= service.stop() < 3
    assert service.show("Result") == "success", service.why()
    assert service.pids() == []


def test_a_wrong_topology_is_final(service: Service, redis_server: MakeRedis) -> None:
    service.write({**topology(redis_server(), "a"), "wrokers": []})
    service.start(wait=False)

    service.wait("ActiveState", "failed")
    assert service.show("ExecMainStatus") == "78"
    assert service.show("NRestarts") == "0"
    assert "did you mean 'workers'?" in service.log()


def test_a_failure_that_may_pass_is_tried_again(service: Service, redis_server: MakeRedis) -> None:
    server = redis_server()
    wanted = topology(server, "a")
    wanted["supervisor"]["metrics"] = server.address  # taken
    service.write(wanted)
    service.start(wait=False)

    wait_until(lambda: int(service.show("NRestarts")) > 2, 15, service.why)
    assert service.show("ExecMainStatus") in ("0", "69")


def test_one_of_several_topologies_has_folders_of_its_own(machine: Machine, redis_server: MakeRedis) -> None:
    service = Service(machine, "invalidator@shop.service", "shop")
    try:
        password = "it has /, @ and : in it"
        source = redis_server(password=password)
        give_secret(service, password)
        wanted = topology(source, "a")
        wanted["redis"] = {
            "url": f"redis://{source.address}/0",
            "password_file": "${CREDENTIALS_DIRECTORY}/redis-password",
        }
        service.write(wanted)
        service.start()
        assert machine.path("/run/invalidator-shop/control.sock").is_socket()
        assert service.workers()
        machine.run(PROGRAM, "status", "-c", service.file)
    finally:
        service.close()
    assert not machine.path("/run/invalidator-shop").exists()


def give_secret(service: Service, secret: str) -> None:
    """As the README says, for the credential of the example."""
    path = "/etc/invalidator/secrets/redis-password"
    service.machine.write(path, f"{secret}\n")
    service.machine.path(path).chmod(0o600)
    service.configure("secrets", (EXAMPLES / "invalidator.service.d" / "secrets.conf").read_text())


READER = """
from invalidator_lru import LRUCache
import itertools, sys
cache = LRUCache("/run/invalidator/shop.gen", maxsize=100)
loads = itertools.count(1)
print(cache.is_proven(), flush=True)
for line in sys.stdin:
    print(cache.get_or_load("users:42", lambda key: next(loads)), flush=True)
"""


@contextmanager
def reader(machine: Machine, user: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """An application of this user: whether its cache is proven, and what it answers each time it is asked."""
    program = machine.popen("runuser", "-u", user, "--", "/opt/invalidator/bin/python", "-c", READER)
    assert program.stdin is not None
    assert program.stdout is not None

    def ask() -> str:
        program.stdin.write("?\n")  # type: ignore[union-attr]
        program.stdin.flush()  # type: ignore[union-attr]
        return program.stdout.readline().strip()  # type: ignore[union-attr]

    try:
        yield program.stdout.readline().strip(), ask
    finally:
        program.communicate(timeout=10)


def test_it_starts_even_where_nobody_has_made_the_readers_group(service: Service, redis_server: MakeRedis) -> None:
    service.machine.run("sh", "-c", "groupdel --force invalidator-readers")
    try:
        service.write(topology(redis_server(), "users"))
        service.start()
        assert service.show("ActiveState") == "active"
        assert service.machine.run("stat", "-c", "%a", "/run/invalidator").stdout.split() == ["750"]
        service.machine.systemctl("stop", service.unit)
    finally:
        for line in (
            *blocks(EXAMPLES / "README.md", "sh")[0].splitlines(),
            *commands(EXAMPLES / "README.md", "usermod"),
        ):
            if line.startswith(("groupadd", "usermod")):
                service.machine.run("sh", "-c", line)


def test_inside_the_sandbox_every_backend_works_and_an_application_of_the_group_reads_the_table(
    service: Service,
    redis_server: MakeRedis,
    memcached_server: MakeMemcached,
    varnish: Callable[[], Varnish],
    origin: Origin,
) -> None:
    machine = service.machine
    source = redis_server(password="s3cret-of-ours")
    replica = redis_server("--unixsocketperm", "777", unix=True)
    objects, edge = memcached_server(), varnish()
    # The socket's folder is visible in the machine, and its user has to be able to go there.
    assert replica.path is not None
    for folder in (replica.path.parent, replica.path.parent.parent):
        folder.chmod(0o711)
    host, _, port = source.address.rpartition(":")
    wanted = topology(source, "users")
    wanted["redis"]["url"] = f"redis://:${{cred:redis-password}}@{host}:{port}/0"
    wanted["backends"] = {
        "near": {"type": "lru", "path": "/run/invalidator/shop.gen", "mode": "0640"},
        "objects": {"type": "memcached", "servers": [objects.address.replace("127.0.0.1", "localhost")]},
        "replica": {"type": "redis", "url": f"unix:///srv/tests/{replica.path.parent.name}/{replica.path.name}?db=0"},
        "edge": {
            "type": "http",
            "targets": [f"http://{edge.address.replace('127.0.0.1', 'localhost')}"],
            "path": "/{key}",
        },
    }
    wanted["workers"][0] |= {"backends": ["near", "objects", "replica", "edge"], "flush_on_start": False}
    service.write(wanted)
    give_secret(service, "s3cret-of-ours")
    service.start()

    objects.set("users:42", "old")
    with redis.Redis(unix_socket_path=str(replica.path)) as client, redis.Redis.from_url(source.url) as publisher:
        client.set("users:42", "old")
        old = edge.get("/users:42").body
        new = origin.change("/users:42")
        assert edge.get("/users:42").body == old != new
        with reader(machine, "shop") as (proven, ask):
            assert proven == "True", service.why()
            assert [ask(), ask()] == ["1", "1"]
            publisher.publish("cache:users:x", "users:42")
            wait_until(lambda: ask() == "2", 5, service.why)
            machine.systemctl("restart", service.unit)
            wait_until(lambda: ask() == ask(), 5, "an application finds the new table by itself")
            objects.set("users:42", "old")
            client.set("users:42", "old")
            publisher.publish("cache:users:x", "users:42")
        wait_until(lambda: client.get("users:42") is None, 5, service.why)
        wait_until(lambda: objects.get("users:42") is None, 5, service.why)
        wait_until(lambda: edge.get("/users:42").body == new, 5, service.why)
    with reader(machine, "nobody") as (proven, _):
        assert proven == "False", "somebody who is not in the group cannot open the table"

    machine.systemctl("reload", service.unit)
    assert machine.path("/var/lib/private/invalidator/dead-letters").is_dir()
    told = json.loads(machine.run(PROGRAM, "status", "--json", "-c", service.file).stdout)
    assert [lane["ends"]["purged"] for lane in told["workers"][0]["lanes"]] == [1, 1, 1, 1]
    for pid in service.pids():
        confined = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^Uid:\t(?!0\b)", confined, re.MULTILINE), "a user of its own"
        assert "CapEff:\t0000000000000000\n" in confined
        assert "Seccomp:\t2\n" in confined
        assert "NoNewPrivs:\t1\n" in confined
    said = service.log() + json.dumps(told) + machine.systemctl("show", service.unit).stdout
    assert "s3cret" not in said

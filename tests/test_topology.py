"""A topology: what its settings mean, and what is said, all at once and with its place, when they are wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invalidator.errors import ConfigError
from invalidator.options import format_duration, format_size, parse_duration, parse_size
from invalidator.topology.gaps import asked_of, gap_policy
from invalidator.topology.load import load
from invalidator.topology.models import Flush
from invalidator.topology.places import runtime_directory, state_directory
from invalidator.topology.printing import normalised, to_yaml
from invalidator.topology.redis_url import RedisUrl, masked
from tests.support.topologies import SOUND, loaded, problems, write


def test_a_sound_topology_has_every_default_of_the_contract(tmp_path: Path) -> None:
    topology = loaded(tmp_path, SOUND).topology
    (worker,) = topology.workers
    redis = topology.redis_of(worker)
    assert (redis.heartbeat.interval, redis.heartbeat.deadline) == (1.0, 3.0)
    assert (redis.backoff.first, redis.backoff.longest) == (0.05, 5.0)
    assert redis.password_file is None
    assert topology.supervisor.metrics == "127.0.0.1:9469"
    assert (topology.supervisor.stop_timeout, topology.supervisor.heartbeat_timeout) == (10.0, 10.0)
    assert (topology.supervisor.restart.first, topology.supervisor.restart.longest) == (0.5, 30.0)
    assert (topology.journal.stream, topology.journal.keep) == ("invalidator:journal", 1_000_000)
    assert (worker.delivery, worker.on_gap, worker.flush_on_start) == ("pubsub", "flush", True)
    assert (worker.window, worker.max_payload) == (0.0, 8192)
    assert [(lane.backend, lane.unsupported) for lane in worker.backends] == [("near", "skip"), ("objects", "skip")]
    assert topology.plugins == ("./types.py",)


def test_a_worker_without_a_name_is_called_after_its_pattern(tmp_path: Path) -> None:
    text = SOUND.replace("  - name: users\n    pattern:", "  - pattern:")
    assert loaded(tmp_path, text).topology.workers[0].name == "cache-users"


def test_what_a_gap_does_is_the_lane_s_word_then_the_worker_s_then_the_type_s(tmp_path: Path) -> None:
    text = SOUND.replace("plugins:", """\
  - {name: own, pattern: "b:*", backends: [near, {backend: objects, on_gap: ignore}], flush: {tags: [a]}}
  - {name: none, pattern: "c:*", backends: [near, objects], on_gap: ignore}
plugins:""")  # fmt: skip
    topology = loaded(tmp_path, text).topology
    policies = [gap_policy(topology, worker, lane) for worker in topology.workers for lane in worker.backends]
    assert policies == [Flush(all=True), Flush(all=True), Flush(tags=("a",)), None, None, None]


def test_what_may_be_asked_of_a_backend_is_what_messages_may_and_what_a_flush_would(tmp_path: Path) -> None:
    def asked(lane: str, allow: str = "[key, url]") -> set[str]:
        worker = f'  - {{name: own, pattern: "b:*", backends: [{{{lane}}}], allow: {allow}, flush: {{tags: [a]}}}}\n'
        text = SOUND.replace("near, {backend: objects, flush: {all: true}}", "near").replace(
            "plugins:", f"{worker}plugins:"
        )
        return set(asked_of(loaded(tmp_path, text).topology, "objects"))

    assert asked("backend: objects, flush: {all: true}") == {"key", "all"}, "it has no URLs"
    assert asked("backend: objects, flush: {all: true}, on_gap: ignore") == {"key"}
    assert asked("backend: objects, flush: {all: true}, on_gap: ignore, unsupported: flush") == {"key", "all"}
    assert asked("backend: objects, on_gap: ignore", "[all]") == {"all"}
    assert asked("backend: near") == set()


def test_a_worker_may_have_a_redis_of_its_own_and_the_top_then_needs_none(tmp_path: Path) -> None:
    text = SOUND.replace("redis:\n  url: redis://127.0.0.1:6379/0\n", "").replace(
        "  - name: users", "  - redis: {url: redis://other/1}\n    name: users"
    )
    topology = loaded(tmp_path, text).topology
    assert topology.redis_of(topology.workers[0]).url.hosts == (("other", 6379),)
    assert problems(tmp_path, text.replace("redis: {url: redis://other/1}\n    ", "")) == [
        "5:5: workers[0]: has no redis: give it one, or one for all at the top"
    ]


CHANGES = [
    # what stands in SOUND, what stands there instead, what is said
    ("  url: redis", "  ulr: redis", [
        "1:1: redis.url: is missing",
        "2:3: redis.ulr: unknown setting — did you mean 'url'?",
    ]),
    ("redis://127.0.0.1:6379/0", "http://x", [
        ("2:8: redis.url: is not a Redis URL: it starts with redis://, rediss://, unix://,"
        " redis+sentinel://, redis+cluster://"),
    ]),
    ("redis://127.0.0.1:6379/0", "redis://:pa/ss@h:1/0", [
        "2:8: redis.url: is not a Redis URL: in a user or password, write / as %2F, ? as %3F and # as %23",
    ]),
    ("redis://127.0.0.1:6379/0", "redis+cluster://h1:7000,h2:7000/1", [
        "2:8: redis.url: names a database, and a Cluster has only the first: leave it out",
    ]),
    ("redis://127.0.0.1:6379/0", "redis+cluster://h1:7000?sharded=true", [
        ("2:8: redis.url: has 'sharded' behind the ?: Redis has no pattern SSUBSCRIBE, and a worker's pattern is of"
        " classic Pub/Sub, which every node of a Cluster passes on. Leave it out, and have publishers use PUBLISH, not"
        " SPUBLISH"),
    ]),
    ("redis://127.0.0.1:6379/0", "redis://h/0?protocol=3&decode_responses=true", [
        "2:8: redis.url: has 'protocol' behind the ?, and redis:// may have db there",
    ]),
    ("redis://127.0.0.1:6379/0", "rediss://h/0?ssl_ca_cert=/x", [
        ("2:8: redis.url: has 'ssl_ca_cert' behind the ?, and rediss:// may have db, ssl_ca_certs, ssl_ca_path, "
         "ssl_certfile, ssl_keyfile, ssl_password, ssl_cert_reqs, ssl_check_hostname there "
         "— did you mean 'ssl_ca_certs'?"),
    ]),
    ("redis://127.0.0.1:6379/0", "12", ["2:8: redis.url: must be a text, like redis://127.0.0.1:6379/0"]),
    ("6379/0\n", "6379/0\n  heartbeat: {interval: 2s}\n", [
        ("3:3: redis.heartbeat: the interval must be less than half of the deadline, "
         "or one late answer ends a sound connection"),
    ]),
    ("6379/0\n", "6379/0\n  backoff: {first: 9s}\n", [
        "3:3: redis.backoff: the first delay must not be longer than the longest",
    ]),
    ("6379/0\n", "6379/0\nsupervisor: {metrics: 9469, stop_timeout: 5, restart: {first: 0s}}\n", [
        "3:23: supervisor.metrics: must be a text, and is a number: put it in quotes",
        "3:43: supervisor.stop_timeout: is not a duration: write a number with its unit, like 50ms, 2s, 5m or 1h",
        "3:63: supervisor.restart.first: must be more than 0",
    ]),
    ("6379/0\n", "6379/0\nfile: x\nworker: []\n", [
        "3:1: file: unknown setting",
        "4:1: worker: unknown setting — did you mean 'workers'?",
    ]),
    ("type: store", "type: stroe", [
        "4:19: backends.objects.type: there is no type 'stroe' (installed: {installed}) — did you mean 'store'?",
    ]),
    ("type: store, ", "", ["4:3: backends.objects.type: is missing"]),
    ("server: here", "server: ''", ["4:34: backends.objects.server: must have at least 1 character"]),
    ("server: here", "servr: here, size: 10", [
        "4:3: backends.objects.server: is missing",
        "4:26: backends.objects.servr: unknown setting — did you mean 'server'?",
        "4:45: backends.objects.size: must be at most 9",
    ]),
    ("server: here", "server: redis://127.0.0.1:6379/0", ["4:3: backends.objects: server: carries the messages"]),
    ("near: {type: table}", "'a b': {type: table}", [
        "5:3: backends.a b: is not a name: up to 64 letters, digits and _ . : @ -, a letter or digit first",
        "9:16: workers[0].backends[0]: there is no backend 'near'",
    ]),
    ("near: {type: table}", "near: table", ["5:9: backends.near: must be a mapping, with the type and its options"]),
    ("name: users", "name: us/ers", [
        "7:11: workers[0].name: is not a name: up to 64 letters, digits and _ . : @ -, a letter or digit first",
    ]),
    ('pattern: "cache:users:*"', "patern: x", [
        "7:5: workers[0].pattern: is missing",
        "8:5: workers[0].patern: unknown setting — did you mean 'pattern'?",
    ]),
    ('"cache:users:*"', '""', ["8:14: workers[0].pattern: must be 1 to 512 bytes long"]),
    ("[near, ", "[naer, near, near, ", [
        "9:16: workers[0].backends[0]: there is no backend 'naer' — did you mean 'near'?",
        "9:28: workers[0].backends[2]: 'near' is here for the second time",
    ]),
    ("backend: objects", "bakend: objects", [
        "9:22: workers[0].backends[1].backend: is missing",
        "9:23: workers[0].backends[1].bakend: unknown setting — did you mean 'backend'?",
    ]),
    ("[near, {backend: objects, flush: {all: true}}]", "near", [
        "9:15: workers[0].backends: must be a list, and is a text",
    ]),
    ("[near, {backend: objects, flush: {all: true}}]", "[]", [
        "9:5: workers[0].backends: must have at least 1 entry",
    ]),
    (", flush: {all: true}", "", [
        ("9:22: workers[0].backends[1]: on_gap is flush for the backend 'objects' (store): "
         "say what flush means, or on_gap: ignore: "
         "{backend: objects, flush: {all: true}} or {backend: objects, on_gap: ignore}"),
    ]),
    ("{all: true}}", "{tags: [a]}}", [
        ("9:41: workers[0].backends[1].flush: flush asks for a tag for the backend 'objects' (store), which can purge "
         "all, key: choose {backend: objects, flush: {all: true}} or {backend: objects, on_gap: ignore}"),
    ]),
    (", flush: {all: true}}]", "}]\n    flush: {prefix: x}", [
        ("9:22: workers[0].backends[1]: flush asks for a prefix for the backend 'objects' (store), which can purge "
         "all, key: choose {backend: objects, flush: {all: true}} or {backend: objects, on_gap: ignore}"),
    ]),
    ("flush: {all: true}", "on_gap: ignore, unsupported: flush", [
        ("9:70: workers[0].backends[1].unsupported: widens to a flush for the backend 'objects' (store): "
         "say what flush means: {backend: objects, flush: {all: true}} or {backend: objects, unsupported: skip}"),
    ]),
    ("{all: true}", "{all: true, prefix: x}", [
        "9:41: workers[0].backends[1].flush: say one of {prefix: …}, {tags: […]} or {all: true}",
    ]),
    ("{all: true}", "{prefix: ''}", ["9:41: workers[0].backends[1].flush: is empty: for everything, say {all: true}"]),
    ("{all: true}", "all", ["9:48: workers[0].backends[1].flush: must be a mapping, and is a text"]),
    ("allow: [key]", "allow: [keys]", [
        "10:13: workers[0].allow[0]: must be 'key', 'tag', 'prefix', 'pattern', 'url' or 'all' — did you mean 'key'?",
    ]),
    ("allow: [key]", "on_gap: ingore", [
        "10:13: workers[0].on_gap: must be 'flush' or 'ignore' — did you mean 'ignore'?",
    ]),
    ("allow: [key]", "window: 5\n    max_payload: 8K\n    flush_on_start: 7", [
        "10:13: workers[0].window: is not a duration: write a number with its unit, like 50ms, 2s, 5m or 1h",
        "11:18: workers[0].max_payload: is not a size: write a number with its unit, like 512B, 8KiB or 1MiB",
        "12:21: workers[0].flush_on_start: must be true or false, and is a number",
    ]),
    ("allow: [key]", "delivery: pigeon", ["10:15: workers[0].delivery: must be 'pubsub' or 'journal'"]),
    ("flush: {all: true}", "on_gap: ignore, scope: fleet", [
        "9:57: workers[0].backends[1].scope: not yet: comes with a later version"]),
    ("flush: {all: true}", "flush: {all: true}, after: nearr", [
        "9:68: workers[0].backends[1].after: there is no backend 'nearr' — did you mean 'near'?"]),
    ("[near, {backend: objects, flush: {all: true}}]", "[{backend: objects, flush: {all: true}, after: near}]", [
        "9:62: workers[0].backends[0].after: this worker does not use 'near'"]),
    ("flush: {all: true}", "flush: {all: true}, after: objects", [
        "9:68: workers[0].backends[1].after: comes after itself: objects after objects"]),
    ("[near, {backend: objects,", "[{backend: near, after: objects}, {backend: objects, after: near,", [
        "9:39: workers[0].backends[0].after: comes after itself: near after objects after near"]),
    ("flush: {all: true}", "flush: {all: true}, delay: 11m, rebound: 2h", [
        "9:68: workers[0].backends[1].delay: is longer than 10m",
        "9:82: workers[0].backends[1].rebound: is longer than 1h"]),
    ("flush: {all: true}", "delay: -1s, flush: {all: true}", [
        "9:48: workers[0].backends[1].delay: is not a duration: write a number with its unit, like 50ms, 2s, 5m or 1h",
    ]),
    ("flush: {all: true}", "flush: {all: true}, dry_run: later", [
        "9:70: workers[0].backends[1].dry_run: must be true or false"]),
    ("server: here}", "server: here, dry_run: 3}", [
        "4:49: backends.objects.dry_run: must be true or false, and is a number"]),
    ("plugins: [./types.py]", '  - {name: users, pattern: "b:*", backends: [near]}\nplugins: [./types.py]', [
        "11:12: workers[1].name: workers[0] has the name 'users' already",
    ]),
    ("plugins: [./types.py]", '  - {pattern: "users:*", backends: [near]}\nplugins: [./types.py]', [
        "11:15: workers[1].pattern: makes the name 'users', which workers[0] has already: give it a name",
    ]),
    ("plugins: [./types.py]", "plugins: [./tpyes.py, ./types.py]", [
        "11:11: plugins[0]: ./tpyes.py: there is no such file beside the topology",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), CHANGES, ids=[new[:40] for _, new, _ in CHANGES])
def test_each_mistake_is_told_with_its_place_and_its_remedy(
    tmp_path: Path, old: str, new: str, said: list[str]
) -> None:
    assert problems(tmp_path, SOUND) == []
    assert old in SOUND
    from invalidator.plugins import installed_names  # noqa: PLC0415

    installed = ", ".join(sorted({*installed_names(), "log", "store", "table"}))
    assert problems(tmp_path, SOUND.replace(old, new, 1)) == [text.replace("{installed}", installed) for text in said]


def test_everything_that_is_wrong_is_told_in_one_run(tmp_path: Path) -> None:
    text = """\
redis: {url: redis://127.0.0.1:6379/0, url: x, heartbeat: {interval: 9s}}
backends:
  objects: {type: store, size: 0}
  near: {type: table, colour: yes}
  other: {type: lgo}
workers:
  - name: users
    window: 1
    backends: [naer, objects]
  - {name: users, pattern: "a:*", backends: [near, {backend: other, flush: 7}], flush_on_start: on}
plugins: [./types.py]
"""
    assert [line.split(": ")[0] + " " + line.split(": ")[1] for line in problems(tmp_path, text)] == [
        "1:40 redis.url",
        "1:48 redis.heartbeat",
        "3:3 backends.objects.server",
        "3:32 backends.objects.size",
        "4:23 backends.near.colour",
        "4:31 backends.near.colour",
        "5:17 backends.other.type",
        "7:5 workers[0].pattern",
        "8:13 workers[0].window",
        "9:16 workers[0].backends[0]",
        "10:12 workers[1].name",
        "10:76 workers[1].backends[1].flush",
        "10:97 workers[1].flush_on_start",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "1:1: is empty"),
        ("# nothing\n", "1:1: is empty"),
        ("- a\n", "1:1: must be a mapping, with redis:, backends: and workers:"),
        ("just text", "1:1: must be a mapping, with redis:, backends: and workers:"),
    ],
)
def test_a_file_that_is_no_topology_is_told_so(tmp_path: Path, content: str, said: str) -> None:
    assert problems(tmp_path, content) == [said]


def test_a_file_that_is_not_there_is_a_wrong_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read: No such file"):
        load(tmp_path / "nothing.yaml")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_to_a_file_ends_in_anything_but_a_topology_or_a_config_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(SOUND.replace("plugins: [./types.py]\n", "").replace("store, server: here", "log").encode())
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 30)))
    content[start:end] = data.draw(st.binary(max_size=8) | st.sampled_from([b"[", b"{", b": ", b"null", b"- ", b"yes"]))
    file = tmp_path / "damaged.yaml"
    file.write_bytes(bytes(content))
    try:
        load(file, {})
    except ConfigError:
        return


def test_a_secret_is_in_no_problem_no_dump_and_no_repr(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    environ = {"PASSWORD": "hunter2", "SERVER": "hunter2", "KIND": "hunter2"}
    text = SOUND.replace("redis://127.0.0.1:6379/0", '"redis://me:${PASSWORD}@h/0"').replace(
        "server: here", 'server: "${file:password}"'
    )
    found = loaded(tmp_path, text, environ)
    assert found.topology.redis is not None
    assert found.topology.redis.url.reveal() == "redis://me:hunter2@h/0"
    for shown in (repr(found.topology), str(found.topology.redis.url), to_yaml(normalised(found))):
        assert "hunter2" not in shown.replace("server='hunter2'", "")  # a plugin's option that it does not call secret
    wrong = text.replace("allow: [key]", 'allow: ["${KIND}"]').replace("[near,", '["${SERVER}",')
    said = problems(tmp_path, wrong, environ)
    assert len(said) == 2
    assert "hunter2" not in "".join(said)
    assert "there is no backend '***'" in said[0]


def test_the_normalised_topology_says_what_a_lane_waits_for(tmp_path: Path) -> None:
    ordered = "flush: {all: true}, after: near, delay: 200ms, rebound: 2s, dry_run: true"
    text = SOUND.replace("flush: {all: true}", ordered).replace("table}", "table, dry_run: true}")
    shown = normalised(loaded(tmp_path, text))
    first, second = shown["workers"][0]["backends"]
    assert {name: second[name] for name in ("after", "delay", "rebound", "dry_run")} == {
        "after": "near",
        "delay": "200ms",
        "rebound": "2s",
        "dry_run": True,
    }
    assert not {"after", "delay", "rebound", "dry_run"} & set(first)
    assert shown["backends"]["near"]["dry_run"] is True
    assert "dry_run" not in shown["backends"]["objects"]
    assert normalised(loaded(tmp_path, to_yaml(shown))) == shown


def test_the_normalised_topology_is_the_same_topology(tmp_path: Path) -> None:
    first = loaded(tmp_path, SOUND)
    again = loaded(tmp_path, to_yaml(normalised(first)))
    assert normalised(again) == normalised(first)


def test_a_password_is_masked_wherever_it_can_stand_in_a_url() -> None:
    assert masked("redis://me:hunter2@h/0") == "redis://me:***@h/0"
    assert masked("redis://:hun@ter/2@h/0") == "redis://:***@h/0"
    assert masked("unix:///run/r.sock?db=1&password=hunter2") == "unix:///run/r.sock?db=1&password=***"
    assert masked("redis://h:6379/0") == "redis://h:6379/0"
    assert "hunter2" not in f"{RedisUrl('redis://:hunter2@h')!r} {RedisUrl('redis://:hunter2@h')}"


@pytest.mark.parametrize(
    ("text", "hosts", "database"),
    [
        ("redis://127.0.0.1:6380/3", (("127.0.0.1", 6380),), 3),
        ("rediss://user:p%2Fw@[::1]", (("::1", 6379),), 0),
        ("redis://h?db=4", (("h", 6379),), 4),
        ("redis+sentinel://h1:26379,h2/main/2", (("h1", 26379), ("h2", 26379)), 2),
        ("unix:///run/redis.sock?db=5", (), 5),
    ],
)
def test_a_redis_url_is_taken_apart(text: str, hosts: tuple[tuple[str, int], ...], database: int) -> None:
    url = RedisUrl(text)
    assert (url.hosts, url.database, url.reveal()) == (hosts, database, text)


@pytest.mark.parametrize(
    "text",
    [
        "redis://",
        "redis://h:0",
        "redis://h:99999",
        "redis://h/x",
        "redis://h1,h2",
        "redis+sentinel://h",
        "unix://h/x",
        "redis://h/0/1",
        "h:6379",
        "redis://a b",
        "redis://[::1",
        "unix://",
        "redis://h:x",
    ],
)
def test_what_is_no_redis_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a Redis URL|unix socket|does not name the master"):
        RedisUrl(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("redis://h?socket_timeout=abc", "has 'socket_timeout' behind the ?: heartbeat says it"),
        ("redis://h?nonsense=hunter2", "has 'nonsense' behind the ?, and redis:// may have db there"),
        ("redis://h?nonsense", "has 'nonsense' behind the ?"),
        ("redis://h?DB=1", "has 'DB' behind the ?"),
        ("redis://h?password=hunter2", "has 'password' behind the ?: write it before the host"),
        ("unix:///r.sock?username=hunter2", "has 'username' behind the ?: write it before the host"),
        ("redis://h?ssl_ca_certs=/x", "has 'ssl_ca_certs' behind the ?, which only rediss:// has"),
        ("rediss://h?ssl_cert_reqs=hunter2", "has 'ssl_cert_reqs' behind the ?, which must be none, optional or"),
        ("rediss://h?ssl_check_hostname=maybe", "'ssl_check_hostname' behind the ?, which must be true or false"),
        ("rediss://h?ssl_keyfile=", "has 'ssl_keyfile' behind the ?, which must be a path"),
        ("redis://h?db=1&db=2", "has 'db' twice behind the ?"),
        ("redis://h?db=", "has 'db' behind the ?, which must be a number"),
        ("redis://h/1?db=2", "gives the database twice, in its path and as db: leave one out"),
        ("redis+sentinel://h/main/0?db=1", "has 'db' behind the ?: write it as the last part of the path"),
        ("redis+sentinel://h/main?x=1", "has 'x' behind the ?, and redis+sentinel:// may have nothing there"),
        ("redis://h/0#hunter2", "is not a Redis URL: write # as %23"),
        ("redis://:pass?hunter2&hunter2@h/0", "in a user or password, write / as %2F, ? as %3F and # as %23"),
    ],
)
def test_behind_the_question_mark_stands_only_what_is_known_there(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        RedisUrl(text)

    assert "hunter2" not in str(raised.value)


def test_options_of_tls_reach_redis_py_and_only_a_password_is_hidden() -> None:
    text = (
        "rediss://h/3?ssl_ca_certs=/ca.pem&ssl_ca_path=/ca&ssl_certfile=/c.pem&ssl_keyfile=/k.pem"
        "&ssl_password=hunter2&ssl_cert_reqs=required&ssl_check_hostname=false"
    )
    connection = redis.ConnectionPool.from_url(RedisUrl(text).reveal()).make_connection()

    assert isinstance(connection, redis.SSLConnection)
    assert (connection.ca_certs, connection.ca_path) == ("/ca.pem", "/ca")
    assert (connection.certfile, connection.keyfile, connection.certificate_password) == ("/c.pem", "/k.pem", "hunter2")
    assert connection.check_hostname is False
    assert str(RedisUrl(text)) == text.replace("hunter2", "***")


def test_the_daemon_s_places_are_systemd_s_then_the_user_s_then_the_host_s() -> None:
    own = {"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/home/me/state", "HOME": "/home/me"}
    given_by_systemd = {**own, "RUNTIME_DIRECTORY": "/run/invalidator:/run/x", "STATE_DIRECTORY": "/var/lib/i"}
    assert runtime_directory(given_by_systemd, root=True) == Path("/run/invalidator")
    assert state_directory(given_by_systemd, root=True) == Path("/var/lib/i")
    assert runtime_directory(own, root=False) == Path("/run/user/7/invalidator")
    assert state_directory(own, root=False) == Path("/home/me/state/invalidator")
    assert state_directory({"HOME": "/home/me"}, root=False) == Path("/home/me/.local/state/invalidator")
    assert runtime_directory({}, root=True) == Path("/run/invalidator")
    assert state_directory({"HOME": "/root"}, root=True) == Path("/var/lib/invalidator")


def test_a_relative_path_starts_at_the_topology_s_folder(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x")
    text = SOUND.replace("6379/0\n", "6379/0\n  password_file: password\n")
    topology = loaded(tmp_path, text).topology
    assert topology.redis is not None
    assert topology.redis.password_file == tmp_path / "password"
    os.unlink(tmp_path / "password")  # noqa: PTH108
    assert problems(tmp_path, text) == ["3:18: redis.password_file: cannot be read: No such file or directory"]


@pytest.mark.timeout(10)
def test_a_fifo_where_a_password_should_be_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "password")
    text = SOUND.replace("6379/0\n", "6379/0\n  password_file: password\n")
    assert problems(tmp_path, text) == ["3:18: redis.password_file: cannot be read: not a regular file"]


def test_a_changed_setting_makes_a_worker_another_and_a_new_reading_does_not(tmp_path: Path) -> None:
    file = write(tmp_path, SOUND)
    (before,), (again,) = load(file).topology.workers, load(file).topology.workers
    assert before == again
    file.write_text(SOUND.replace("allow: [key]", "allow: [tag]"))
    assert load(file).topology.workers[0] != before


@given(st.integers(0, 10**7))
def test_a_duration_survives_being_written(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@given(st.integers(0, 2**40))
def test_a_size_survives_being_written(count: int) -> None:
    assert parse_size(format_size(count)) == count


def test_a_duration_that_no_timer_could_wait_for_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than a year"):
        parse_duration("99999999999h")

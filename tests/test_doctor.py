"""invalidator doctor: the command itself, what it prints, and what no real server here can be made to do."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from invalidator.cli import main
from invalidator.doctor import facts, headroom, page, report, rights, slowlog, standing, subscriptions
from invalidator.doctor.daemon import Daemon
from invalidator.doctor.facts import BufferLimit, Facts
from invalidator.doctor.registry import SECTIONS
from invalidator.doctor.servers import Server, servers
from invalidator.doctor.wording import lasting, micros, shown, size
from invalidator.screen.text import listed, plural
from tests.support.doctor import PATTERN, client, diagnose, subscribed, topology, worker
from tests.support.topologies import SOUND, loaded, write
from tests.support.waiting import free_port

if TYPE_CHECKING:
    from tests.conftest import MakeRedis

REPOSITORY = Path(__file__).parents[1]
KINDS = [kind for _, kinds in SECTIONS for kind in kinds]

anything = st.recursive(
    st.none() | st.integers() | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=20,
)


# The command.


def test_a_report_is_readable_at_80_columns_and_ends_with_the_verdict(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    workers = [worker("users", PATTERN), worker("carts", "cache:invalidate:*")]
    file = write_topology(tmp_path, topology(server.url, workers=workers))
    with client(server.url) as asked:
        asked.config_set("client-output-buffer-limit", "pubsub 64kb 32kb 10")
    done = doctor(tmp_path, file.name)
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    for word in ("WRONG ", "[subscription.no_daemon]", "means: ", "fix:   ", "CONFIG SET client-output-buffer-limit"):
        assert word in done.stdout
    assert re.fullmatch(rf"{file.name}: something is wrong: \d wrong, \d warnings?, \d notes?, \d+ ok", last(done))
    # The worst first.
    assert done.stdout.index("WRONG") < done.stdout.index("  ok ")


def test_nothing_wrong_ends_with_0(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    file = write_topology(tmp_path, topology(server.url))
    with subscribed(server.url):
        done = doctor(tmp_path, str(file))
    assert done.returncode == 0
    assert ": nothing is wrong: " in last(done)


def test_a_topology_that_is_wrong_ends_with_78_in_both_forms(tmp_path: Path) -> None:
    file = write(tmp_path, SOUND.replace("allow: [key]", "alow: [key]"))
    for more in ([], ["--json"]):
        done = doctor(REPOSITORY, str(file), *more)
        assert done.returncode == 78
        assert "did you mean 'allow'?" in done.stderr
        assert ("did you mean" in done.stdout) == bool(more)


def test_on_a_terminal_there_are_colours_unless_they_are_not_wanted(tmp_path: Path) -> None:
    file = write_topology(tmp_path, topology(f"redis://127.0.0.1:{free_port()}/0"))
    assert "\x1b[31m" in on_a_terminal(file)
    assert "\x1b" not in on_a_terminal(file, NO_COLOR="1")


def test_whoever_waits_on_a_terminal_is_told_for_whom(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    server.stop()
    said = on_a_terminal(write_topology(tmp_path, topology(server.url)))
    server.cont()
    assert f"waiting for redis 127.0.0.1:{server.port}" in said


def test_asking_for_help_imports_nothing_heavy() -> None:
    code = "import sys; from invalidator.cli import main; main(['--help']); print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "  doctor " in done.stdout
    assert last(done) == "False"


def test_secrets_from_the_environment_are_not_shown(
    redis_server: MakeRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "op3n-sesame")
    server = redis_server(password="another")
    file = write_topology(tmp_path, topology(server.url.replace("another", "${REDIS_PASSWORD}")))
    assert main(["doctor", "-c", str(file)]) == 1
    said = capsys.readouterr().out
    assert "[redis.auth]" in said
    assert "op3n-sesame" not in said


# The topology.


def test_patterns_that_meet_are_told_once_with_what_both_purge(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server()
    workers = [worker("users", PATTERN), worker("all", "cache:*"), worker("else", "other:*")]
    found = diagnose(tmp_path, topology(server.url, workers=workers))
    assert f"users: {PATTERN} and all: cache:*" in found.evidence("topology.overlap")
    assert "both purge said" in found.evidence("topology.overlap")
    assert "topology.remark" not in found.ids()
    assert "topology.sound" not in found.ids()


def test_patterns_on_different_servers_do_not_meet(redis_server: MakeRedis, tmp_path: Path) -> None:
    one, other = redis_server(), redis_server()
    workers = [worker("users", PATTERN), worker("again", PATTERN, redis={"url": other.url})]
    assert "topology.sound" in diagnose(tmp_path, topology(one.url, workers=workers)).ids("ok")


# What is derived.


def test_the_page_is_not_stale() -> None:
    assert (REPOSITORY / page.PAGE).read_text() == page.page(), "stale: run `python -m invalidator.doctor.page`"


def test_the_module_writes_the_page(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "invalidator.doctor.page", str(tmp_path)], check=True)
    assert (tmp_path / page.PAGE).read_text() == page.page()


def test_every_kind_has_an_id_of_its_own_and_says_what_to_do() -> None:
    assert len({kind.id for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", kind.id)
        assert (kind.level == "ok") == (not kind.meaning) == (not kind.fix), kind.id


def test_every_kind_is_provoked_by_a_test() -> None:
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_doctor*.py"))
    assert [kind.id for kind in KINDS if f'"{kind.id}"' not in tests] == []


# What a server says is a stranger's text.


@given(anything)
def test_no_reply_makes_the_doctor_stumble(reply: Any) -> None:
    seen = Facts(
        info=facts.info_of(reply),
        clients=facts.clients_of(reply),
        numsub=facts.numsub_of(reply),
        limit=facts.limit_of(reply),
        slow=facts.slowlog_of(reply),
    )
    whole = [
        *standing.findings(SERVER, seen),
        *subscriptions.findings(SERVER, seen, Daemon("away", "x"), "file"),
        *rights.findings(SERVER, seen),
        *headroom.findings(SERVER, seen),
        *slowlog.findings(SERVER, seen, 0.0),
    ]
    assert all(line.isprintable() for finding in whole for line in (finding.evidence, finding.fix))


@given(st.text(max_size=300) | st.binary(max_size=300))
def test_whatever_is_shown_is_printable_and_bounded(text: str | bytes) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= 120


def test_a_line_of_client_list() -> None:
    line = b"id=5 addr=10.0.0.7:51728 fd=8 name=invalidator:users age=12 idle=3 sub=0 psub=1 omem=20504 x\n"
    (found,) = facts.clients_of(line + b"\n")
    assert found == facts.Client("invalidator:users", "10.0.0.7:51728", 3, 12, 20504, 0, 1)


@pytest.mark.parametrize(
    ("reply", "limit"),
    [
        (
            [b"x", b"normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"],
            BufferLimit(32 << 20, 8 << 20, 60),
        ),
        ([b"x", b"normal 0 0 0"], None),
        ([b"x", b"pubsub 1 2"], None),
        ([b"x", b"pubsub -1 2 x"], None),
        ([], None),
        (None, None),
    ],
)
def test_the_limit_is_read_or_unknown(reply: object, limit: BufferLimit | None) -> None:
    assert facts.limit_of(reply) == limit


def test_the_slow_log_keeps_no_argument_but_a_channel() -> None:
    reply = [[1, 1700000000, 12, [b"set", b"secret", b"secret"], b"", b""], [2, 0, 5, [b"PUBLISH", b"c", b"secret"]]]
    assert "secret" not in str(facts.slowlog_of([*reply, [3], 4, [5, 6, 7, []]]))
    assert [call.channel for call in facts.slowlog_of(reply)] == ["", "c"]


# What no server here can be made to do.


def test_a_server_that_is_swapped_out() -> None:
    low = {"used_memory": "200000000", "used_memory_rss": "50000000", "mem_fragmentation_ratio": "0.25"}
    kinds = [finding.kind.id for finding in headroom.findings(SERVER, Facts(info=low))]
    assert kinds == ["memory.swapped"]
    assert "memory.swapped" not in [
        each.kind.id for each in headroom.findings(SERVER, Facts(info=low | {"used_memory_rss": "210000000"}))
    ]


def test_numbers_in_words() -> None:
    assert [size(n) for n in (0, 512, 20504, 8 << 20, 3 << 30)] == ["0 bytes", "512 bytes", "20 KiB", "8 MiB", "3 GiB"]
    assert [lasting(n) for n in (4, 90, 7200, 200_000)] == ["4 s", "2 min", "2 h", "2 d"]
    assert [micros(n) for n in (12, 3_200, 1_500_000)] == ["12 µs", "3.2 ms", "1.50 s"]
    assert (plural(1, "client"), plural(1000, "client")) == ("1 client", "1,000 clients")
    assert listed(list("abcdef")) == "a, b, c, d and 2 more"


def test_the_same_server_written_in_two_ways_is_one(tmp_path: Path) -> None:
    text = SOUND + '  - {name: b, pattern: "b:*", backends: [near], redis: {url: "redis://u:p@LOCALHOST/4"}}\n'
    text = text.replace("plugins: [./types.py]\n", "") + "plugins: [./types.py]\n"
    (one,) = servers(loaded(tmp_path, text).topology)
    assert (one.name, len(one.ways), len(one.workers)) == ("127.0.0.1:6379", 2, 2)


def test_the_report_tells_what_has_one_fix_once() -> None:
    found = [headroom.EVICTED.found("redis x", f"evidence {n}") for n in range(3)]
    lines = list(report.text(found, "file"))
    assert sum("fix:" in line for line in lines) == 1
    assert sum("- evidence" in line for line in lines) == 3


SERVER = Server("127.0.0.1:6379", ())


def write_topology(folder: Path, whole: dict[str, Any]) -> Path:
    file = folder / "topology.yaml"
    own = {"metrics": f"127.0.0.1:{free_port()}", "state_dir": str(folder / "state")}
    file.write_text(yaml.safe_dump({"supervisor": own, **whole}, sort_keys=False))
    return file


def doctor(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "invalidator", "doctor", "-c", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def on_a_terminal(file: Path, **environment: str) -> str:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "invalidator", "doctor", "-c", str(file)]
    clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**clean, **environment}) as process:
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 65536):
                said += chunk
        except OSError:  # a terminal whose other side is gone
            pass
        process.wait(20)
    os.close(ours)
    return said.decode()


def last(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.splitlines()[-1]

"""`invalidator deadletter`: what nobody will purge is listed, and tried again without ever losing one."""

from __future__ import annotations

import io
import json
import os
import signal
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import redis

from invalidator import Failure, PurgeResult, Target
from invalidator.backend import targets_of
from invalidator.cli import main
from invalidator.control.protocol import decode_request
from invalidator.lanes.policy import Policy
from invalidator.letters import FOLDER, Box, decode, encode, named
from invalidator.logs import get_logger
from invalidator.pipeline.dispatcher import Dispatcher
from invalidator.pipeline.resend import Resends
from invalidator.screen.letters_text import Pile
from invalidator.screen.paint import plain
from invalidator.slots import clock
from invalidator.supervision.deadletters import PAGE, boxes, page
from tests.support.lanes import Inline, Rig, Scripted
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from invalidator import Batch
    from invalidator.channel import Retried
    from invalidator.letters import Letter
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon
    from tests.support.stores import RedisServer

BOX = Box("users", "objects")


def write(folder: Path, *keys: str, box: Box = BOX, part: Any = "", more: bytes = b"") -> Path:
    """A box with letters about these keys, and something else behind them."""
    file = box.file(folder, part)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(encode(box, Target("key", key), "overflow", 1.0) for key in keys) + more)
    return file


def away(batch: Batch) -> PurgeResult:
    return PurgeResult(tuple(Failure(target, "unreachable") for target in targets_of(batch)))


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invalidator.pipeline.resend._LOOK_SECONDS", 0.0)


class Worker:
    """A lane and the part of a worker that gives it its letters again."""

    def __init__(self, folder: Path, backend: Scripted | None = None, **policy: Any) -> None:
        self.folder = folder
        self.rig = Rig(backend or Inline(), folder, Policy("users", "objects", **policy))
        self.dispatcher = Dispatcher([self.rig.lane], get_logger())
        self.resends = Resends(get_logger())
        self.reports: list[Retried] = []

    def turn(self, number: int = 1) -> bool:
        self.reports += self.resends.turn({"objects": number}, self.dispatcher, clock())
        self.dispatcher.turn()
        return bool(self.reports)

    def finish(self, number: int = 1) -> Retried:
        for _ in range(1_000):
            if self.turn(number):
                return self.reports.pop()
        raise AssertionError(f"it does not come to an end: {self.rig.counts()}")

    @property
    def purged(self) -> set[str]:
        return {key for batch in self.rig.backend.batches for key in batch.keys}

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / FOLDER).iterdir())


def test_letters_are_purged_and_their_file_goes(tmp_path: Path) -> None:
    write(tmp_path, "a", "b")
    worker = Worker(tmp_path)
    assert worker.rig.lane.describe().dead_letters == 2
    said = worker.finish()

    assert (said.tried, said.died, said.garbage, said.error) == (2, 0, 0, "")
    assert (worker.purged, worker.files()) == ({"a", "b"}, [])
    assert worker.rig.lane.describe().dead_letters == 0
    assert worker.rig.adds_up()


def test_what_an_elder_could_not_wait_for_is_tried_again_unasked_and_an_order_still_counts(tmp_path: Path) -> None:
    write(tmp_path, "a")
    worker = Worker(tmp_path)
    worker.resends.inherit(["objects", "gone"])
    unasked = worker.finish(number=0)
    assert (unasked.number, unasked.tried, worker.purged) == (0, 1, {"a"})
    write(tmp_path, "b")
    assert worker.finish(number=1).number == 1
    worker.resends.inherit(["objects"])
    worker.finish(number=1)
    assert not any(worker.turn(number=1) for _ in range(5)), "an order that was obeyed is obeyed once more"


@pytest.mark.parametrize(("reason", "again"), [("stopped", True), ("overflow", False), ("rejected", False)])
def test_a_start_tries_again_what_a_stop_has_left_and_nothing_that_anybody_refused(
    reason: str, again: bool, tmp_path: Path
) -> None:
    write(tmp_path, 'a"reason": "stopped"}', "b", more=encode(BOX, Target("key", "c"), reason, 1.0))
    worker = Worker(tmp_path)
    worker.resends.inherit_from_disk(worker.dispatcher.lanes)
    turned = [worker.turn(number=0) for _ in range(5)]

    assert (any(turned), worker.files() == []) == (again, again)


def test_a_rehearsal_ends_none_of_them(tmp_path: Path) -> None:
    file = write(tmp_path, more=encode(BOX, Target("key", "c"), "stopped", 1.0))
    worker = Worker(tmp_path, dry_run=True)
    worker.resends.inherit_from_disk(worker.dispatcher.lanes)
    assert not any(worker.turn(number=0) for _ in range(5))
    assert file.exists()


def test_stop_after_stop_with_its_backend_away_leaves_each_of_them_once(tmp_path: Path) -> None:
    write(tmp_path, more=encode(BOX, Target("key", "old"), "stopped", 1.0))
    for number in range(4):
        worker = Worker(tmp_path, Inline(away))
        worker.resends.inherit_from_disk(worker.dispatcher.lanes)
        worker.turn(number=0)
        worker.rig.offer(f"new:{number}")
        worker.rig.stop()
        assert worker.rig.adds_up()
        assert worker.rig.ended("lost") == 0
    worker = Worker(tmp_path)
    worker.resends.inherit_from_disk(worker.dispatcher.lanes)
    assert worker.finish(number=0).tried == 5
    assert worker.purged == {"old", *(f"new:{number}" for number in range(4))}
    assert worker.files() == []


def test_their_file_stays_until_the_backend_has_answered(tmp_path: Path) -> None:
    write(tmp_path, "a")
    worker = Worker(tmp_path, Inline(away))
    for _ in range(20):
        assert not worker.turn()
    assert worker.files() == ["users.objects.jsonl.retry"]
    worker.rig.backend.answer = lambda _: PurgeResult()
    worker.rig.pending.pace.hurry()
    worker.finish()
    assert worker.files() == []


def test_a_file_that_went_once_it_was_read_would_be_lost_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control for the test above, and for the one below.
    monkeypatch.setattr("invalidator.lanes.lane.Lane.settled_through", lambda _: 1 << 60)
    write(tmp_path, "a")
    worker = Worker(tmp_path, Inline(away))
    worker.finish()
    assert worker.files() == []


def test_whoever_is_killed_in_the_middle_leaves_all_of_them_to_the_next(tmp_path: Path) -> None:
    write(tmp_path, *(f"old:{n}" for n in range(3_000)))
    first = Worker(tmp_path, Inline(away))
    for _ in range(5):
        first.turn()
    assert first.rig.counts()["pending"] > 0
    # Nothing more is heard of it: as after kill -9. Meanwhile others die.
    write(tmp_path, "new")
    second = Worker(tmp_path)
    assert second.rig.lane.describe().dead_letters == 3_001
    said = second.finish()

    assert (said.tried, second.files()) == (3_001, [])
    assert second.purged == {"new", *(f"old:{n}" for n in range(3_000))}


def test_what_dies_again_is_a_letter_again(tmp_path: Path) -> None:
    write(tmp_path, "bad", "good")

    def poison(batch: Batch) -> PurgeResult:
        return PurgeResult(
            tuple(Failure(Target("key", "bad"), "rejected", retry=False) for key in batch.keys if key == "bad")
        )

    worker = Worker(tmp_path, Inline(poison))
    said = worker.finish()

    assert (said.tried, said.died) == (2, 1)
    (letter,) = worker.rig.letters()
    assert (letter["target"], letter["reason"]) == ("bad", "rejected")
    assert worker.rig.lane.describe().dead_letters == 1


def test_lines_that_are_no_letters_are_kept_apart_and_harm_nobody(tmp_path: Path) -> None:
    garbage = (
        b'{"kind":"key"}\n\xff\xfe\n[1,2]\n\n'
        + b"x" * 300_000
        + b'\n{"at":1,"kind":"flower","target":"a","reason":"b"}\n'
    )
    file = write(tmp_path, "a", more=garbage)
    half = encode(BOX, Target("key", "half"), "overflow", 1.0)[:20]
    file.write_bytes(file.read_bytes() + encode(BOX, Target("key", "b"), "overflow", 1.0) + half)
    worker = Worker(tmp_path)
    said = worker.finish()

    assert (said.tried, said.garbage) == (2, 6)
    assert (worker.purged, worker.files()) == ({"a", "b"}, ["users.objects.garbage"])
    kept = (tmp_path / FOLDER / "users.objects.garbage").read_bytes()
    assert b"flower" in kept
    assert half in kept


def test_a_lane_is_given_no_more_than_it_has_room_for(tmp_path: Path) -> None:
    write(tmp_path, *(f"k:{n}" for n in range(500)))
    worker = Worker(tmp_path, Inline(away), limit=50)
    for _ in range(30):
        worker.turn()
    assert 40 <= worker.rig.counts()["pending"] <= 45
    assert worker.rig.letters() == [], "nothing overflows"
    worker.rig.backend.answer = lambda _: PurgeResult()
    worker.rig.pending.pace.hurry()
    assert worker.finish().tried == 500


def test_an_order_that_is_heard_twice_is_obeyed_once(tmp_path: Path) -> None:
    write(tmp_path, "a")
    worker = Worker(tmp_path)
    worker.finish(number=7)
    write(tmp_path, "b")
    for _ in range(5):
        assert not worker.turn(number=7)
    assert worker.finish(number=8).tried == 1


def test_an_order_that_joins_what_is_under_way_is_told_of_all_of_it(tmp_path: Path) -> None:
    write(tmp_path, "a", "b")
    worker = Worker(tmp_path, Inline(away))
    worker.resends.inherit(["objects"])
    worker.turn(number=0)
    worker.turn(number=3)
    worker.rig.backend.answer = lambda _: PurgeResult()
    worker.rig.pending.pace.hurry()
    unasked, ordered = worker.finish(number=3), worker.finish(number=3)
    assert (unasked.number, unasked.tried, worker.files()) == (0, 2, [])
    assert (ordered.number, ordered.tried) == (3, 2), "whoever gave it would be told that there was nothing"


def test_what_is_tried_again_counts_towards_the_bound_of_the_box(tmp_path: Path) -> None:
    write(tmp_path, *(f"k:{n}" for n in range(50)), part="retry")
    rig = Rig(Inline(), tmp_path, Policy("users", "objects", limit=1), letters_limit=10_000)
    rig.lane.pause()
    rig.offer(*(f"more:{n}" for n in range(200)))
    sizes = sum(path.stat().st_size for path in (tmp_path / FOLDER).iterdir())
    assert sizes <= 10_000
    assert rig.ended("lost") > 0
    assert rig.adds_up()


def test_a_disk_that_cannot_be_read_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    file = write(tmp_path, "a")
    worker = Worker(tmp_path)
    (tmp_path / FOLDER / "users.objects.jsonl.retry").mkdir()
    said = worker.finish()
    assert said.error
    assert file.exists()


@pytest.mark.parametrize("box", [BOX, Box("a.b", "c"), Box("a", "b.c"), Box("../x", "/etc/y", "127.0.0.1:11211")])
def test_no_two_lanes_share_a_file_and_none_leads_out_of_the_folder(box: Box, tmp_path: Path) -> None:
    file = box.file(tmp_path)
    assert named(file.name) == (box, "")
    assert file.resolve().parent == (tmp_path / FOLDER).resolve()


@pytest.mark.parametrize("file", ["x", "a.jsonl", "a.b.c.d.jsonl", "../topology.yaml", "/etc/passwd", "a.b.jsonl/../x"])
def test_no_other_file_is_shown(file: str, tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / "topology.yaml").write_text("secret")
    assert page(tmp_path, file, 0) is None


def test_a_box_is_read_page_by_page(tmp_path: Path) -> None:
    keys = [f"k:{n}" for n in range(5_000)]
    write(tmp_path, *keys)
    (box,) = boxes(tmp_path)
    read: list[str] = []
    offset: int | None = 0
    pages = 0
    while offset is not None:
        one = page(tmp_path, box.file, offset)
        assert one is not None
        read += [letter.target for line in one.lines if (letter := decode(line))]
        offset, pages = one.next, pages + 1
    assert read == keys
    assert pages > 3


def test_a_line_that_is_longer_than_a_page_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, "a", more=b"x" * (3 * PAGE) + b"\n" + encode(BOX, Target("key", "b"), "overflow", 1.0))
    (box,) = boxes(tmp_path)
    pile, offset = Pile(*BOX), 0
    while (one := page(tmp_path, box.file, offset)) is not None:
        pile.add(one.lines)
        if one.next is None:
            break
        offset = one.next
    assert (pile.letters, pile.garbage) == (2, 1)
    assert any("1 line that is no letter: kept apart" in plain(one) for one in pile.lines(0.0))


def test_requests_are_what_the_protocol_says() -> None:
    decode_request(b'{"op":"deadletters","worker":"users"}')
    decode_request(b'{"op":"deadletter-retry","worker":"users","backend":"edge","wait":true,"timeout":5}')


# With a daemon.


def topology(source: RedisServer, replica: RedisServer, **worker: Any) -> dict[str, Any]:
    return {
        "redis": {"url": source.url},
        "backends": {"objects": {"type": "redis", "url": replica.url}, "other": {"type": "log"}},
        "workers": [
            {
                "name": "users",
                "pattern": "cache:users:*",
                "backends": ["objects", "other"],
                "on_gap": "ignore",
                **worker,
            }
        ],
    }


class Said(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def cli(run: Daemon, *args: str, command: str = "deadletter") -> Said:
    """In this process: to start another one takes longer than all the rest."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([command, *args, "-c", str(run.file)])
    return Said(code, out.getvalue(), err.getvalue())


def listed(run: Daemon, *args: str) -> list[dict[str, Any]]:
    said = cli(run, "list", "--json", *args)
    assert said.returncode == 0, said.stderr
    found: list[dict[str, Any]] = json.loads(said.stdout)
    return found


def values(server: RedisServer) -> redis.Redis:
    client = redis.Redis(host="127.0.0.1", port=server.port)
    _open.append(client)
    return client


_open: list[redis.Redis] = []


@pytest.fixture(autouse=True)
def closes() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


@pytest.fixture
def stores(redis_server: MakeRedis) -> tuple[RedisServer, RedisServer]:
    return redis_server(), redis_server()


def test_a_daemon_lists_them_and_tries_them_again(stores: tuple[RedisServer, RedisServer], daemon: MakeDaemon) -> None:
    source, replica = stores
    values(replica).mset({f"users:{number}": "old" for number in range(3)})
    run = daemon(topology(source, replica), ready=True)
    assert cli(run, "list").stdout == "there are no dead letters\n"
    assert "there are no dead letters" in cli(run, "retry").stdout
    write(run.folder / "state", "users:0", "users:1", "users:2", more=b"garbage\n")

    (pile,) = listed(run)
    assert (pile["worker"], pile["backend"], pile["letters"], pile["garbage"]) == ("users", "objects", 3, 1)
    assert pile["reasons"] == {"overflow": 3}
    said = cli(run, "list", "users", "objects").stdout
    assert "users objects  3 dead letters" in said
    assert "overflow  key users:2" in said
    assert listed(run, "users", "other") == []

    done = cli(run, "retry", "users", "objects", "--wait")
    assert (done.returncode, done.stdout.strip()) == (0, "tried again: 3; dead again: 0; no letters, and kept apart: 1")
    assert values(replica).exists("users:0", "users:1", "users:2") == 0
    assert [(pile["letters"], pile["garbage"]) for pile in listed(run)] == [(0, 1)]


def test_what_cannot_be_asked_for_is_said_with_what_can(
    stores: tuple[RedisServer, RedisServer], daemon: MakeDaemon
) -> None:
    run = daemon(topology(*stores))
    write(run.folder / "state", "users:0")
    worker, backend = cli(run, "retry", "user"), cli(run, "retry", "users", "object")
    assert (worker.returncode, backend.returncode) == (2, 2)
    assert "did you mean 'users'" in worker.stderr
    assert "worker users has no backend 'object'; it has objects, other" in backend.stderr
    assert cli(run, "list", "user").returncode == 2, "a name that is wrong must not sound like good news"
    assert "it has objects, other" in cli(run, "list", "users", "object").stderr
    cli(run, "users", command="pause")
    paused = cli(run, "retry")
    assert (paused.returncode, "users is paused" in paused.stderr) == (1, True)


def test_after_kill_9_of_worker_and_daemon_each_letter_is_there_again_or_purged(
    stores: tuple[RedisServer, RedisServer], daemon: MakeDaemon
) -> None:
    source, replica = stores
    keys = [f"users:{number}" for number in range(3_000)]
    values(replica).mset(dict.fromkeys(keys, "old"))
    run = daemon(topology(source, replica))
    write(run.folder / "state", *keys)
    replica.stop()
    try:
        assert cli(run, "retry").returncode == 0
        run.wait_metric("invalidator_pending", 3_000, backend="objects")
        (pid,) = run.pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: run.pids() not in ([], [pid]))
        run.wait_metric("invalidator_pending", 3_000, backend="objects")
        waited = cli(run, "retry", "--wait", "--timeout", "0.2")
        assert (waited.returncode, "users objects has not come to an end" in waited.stderr) == (1, True)
        run.signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    finally:
        replica.cont()
    assert values(replica).exists(*keys) > 0
    (box,) = boxes(run.folder / "state")
    assert box.part == "retry"
    run.start()
    wait_until(lambda: listed(run) == [])
    assert values(replica).exists(*keys) == 0, "what was begun has gone on by itself"


def test_a_worker_goes_on_by_itself_with_what_its_predecessor_was_asked_for(
    stores: tuple[RedisServer, RedisServer], daemon: MakeDaemon
) -> None:
    source, replica = stores
    values(replica).set("users:0", "old")
    run = daemon(topology(source, replica))
    write(run.folder / "state", "users:0")
    replica.stop()
    try:
        cli(run, "retry")
        run.wait_metric("invalidator_pending", 1, backend="objects")
        (pid,) = run.pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: run.pids() not in ([], [pid]))
    finally:
        replica.cont()
    wait_until(lambda: not values(replica).exists("users:0"), 20)
    wait_until(lambda: listed(run) == [])


def test_what_a_stop_had_to_leave_undone_is_done_at_the_next_start(
    stores: tuple[RedisServer, RedisServer], daemon: MakeDaemon
) -> None:
    source, replica = stores
    keys = [f"users:{number}" for number in range(3)]
    values(replica).mset(dict.fromkeys(keys, "old"))
    run = daemon(topology(source, replica) | {"supervisor": {"stop_timeout": "500ms"}}, ready=True)
    replica.stop()
    try:
        for key in keys:
            values(source).publish("cache:users:x", key)
        run.wait_metric("invalidator_pending", 3, backend="objects")
        assert run.stop() == 0
    finally:
        replica.cont()
    assert sorted(letter.target for letter in letters_of(run)) == keys
    assert {letter.reason for letter in letters_of(run)} == {"stopped"}
    values(replica).mset(dict.fromkeys(keys, "old"))
    run.start()
    wait_until(lambda: not values(replica).exists(*keys))
    wait_until(lambda: listed(run) == [])


def letters_of(run: Daemon) -> list[Letter]:
    lines = BOX.file(run.folder / "state").read_bytes().splitlines()
    return [letter for letter in map(decode, lines) if letter]

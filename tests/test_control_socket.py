"""The control socket: who may come in, what may be said, and that no client holds up anybody."""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invalidator.channel import Dropped, Heard
from invalidator.control.protocol import LONGEST_REQUEST, OPS, RequestError, Tap, decode_request, done, encode
from invalidator.doors import peer as peer_module
from invalidator.doors.control import Control
from invalidator.doors.listener import Listener
from invalidator.doors.peers import PEER_LIMIT, Peers
from tests.support.peers import Loop, answers, line, looping
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from invalidator.control.protocol import Answer
    from invalidator.doors.peers import Asked

PING = b'{"op":"ping"}\n'


@pytest.fixture
def path(folder: Callable[[str], Path]) -> Path:
    return folder("control") / "c.sock"


@pytest.fixture
def loop(path: Path) -> Iterator[Loop]:
    with looping(path) as loop:
        yield loop


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_the_socket_is_its_owners_alone_whatever_the_umask(path: Path) -> None:
    with looping(path.parent / "made" / "c.sock") as loop:
        assert stat.filemode(loop.path.stat().st_mode) == "srw-------"
        assert stat.filemode(loop.path.parent.stat().st_mode) == "drwx--x--x"
    assert not loop.path.exists()


@pytest.mark.usefixtures("open_umask")
def test_without_a_mode_it_would_be_as_the_umask_says(path: Path) -> None:
    # The control for the test above.
    listener = Listener(f"unix:{path}", 1)
    assert stat.filemode(path.stat().st_mode) == "srwxrwxrwx"
    listener.close()


def as_nobody(do: Callable[[], bytes], turn: Callable[[], None]) -> bytes:
    """What `do` returns in a process of another user, while `turn` is called here."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            said = do()
        except OSError as error:
            said = type(error).__name__.encode()
        os.write(write, said)
        os._exit(0)
    os.close(write)
    try:

        def has_said() -> bool:
            turn()
            return bool(select.select([read], [], [], 0.01)[0])

        wait_until(has_said)
        return os.read(read, 4096)
    finally:
        os.close(read)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_another_user_is_not_let_in_even_where_the_file_would_let_him(cleanup: ExitStack, mode: int) -> None:
    # Not in a folder of pytest's, which are closed to others, one in another.
    folder = Path(cleanup.enter_context(TemporaryDirectory()))
    folder.chmod(0o711)
    path = folder / "c.sock"
    peers = Peers()
    control = Control(path, peers)
    path.chmod(mode)

    def come_in() -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            return client.recv(4096)

    said = as_nobody(come_in, lambda: control.turn({control.sockets()[0]}, 0.0))
    control.close()

    assert not peers.sockets()
    if mode == 0o600:
        assert said == b"PermissionError"
    else:
        assert json.loads(said) == {"ok": False, "exit": 69, "error": "this daemon answers root and uid 0 alone"}


def test_a_request_is_answered_on_a_line_of_its_own_and_the_next_one_too(loop: Loop) -> None:
    with loop.dial() as client:
        for _ in range(3):
            client.sendall(PING)
            assert line(client) == b'{"ok":true,"text":"here"}'


def test_many_requests_at_once_are_answered_one_by_one(loop: Loop) -> None:
    assert loop.ask(PING * 50) == [done("here")] * 50


def test_a_last_line_needs_no_end(loop: Loop) -> None:
    assert loop.ask(PING + b'{"op":"ping"}') == [done("here")] * 2


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"\n", "truncated"),
        (b"\0\0\0\n", "malformed"),
        (b"GET / HTTP/1.1\n", "malformed"),
        (b"\xff\xfe\n", "malformed"),
        (b"[" * 60_000 + b"\n", "Expected `object`"),
        (b'{"x":' * 10_000 + b"\n", "recursion"),
        (b'{"op":"staus"}\n', "Invalid value 'staus'"),
        (b'{"op":"reload","wait":"yes"}\n', "Expected `bool`"),
        (b'{"op":"reload","timeout":-1}\n', "Expected `float` > 0.0"),
        (b'{"op":"reload","timout":1}\n', "unknown field `timout`"),
        (b'{"op":"status","v":2}\n', "Invalid enum value 2"),
        (b'{"op":"tap","workers":["' + b"x" * 65 + b'"]}\n', "length <= 64"),
    ],
)
def test_what_is_no_request_gets_an_answer_that_says_what_is(loop: Loop, sent: bytes, said: str) -> None:
    with loop.dial() as client:
        client.sendall(sent)
        answer = json.loads(line(client))
        assert not answer["ok"]
        assert said in answer["error"]
        assert ", ".join(OPS) in answer["error"]
        client.sendall(PING)
        assert json.loads(line(client))["ok"], "the connection goes on"


def test_a_line_without_an_end_is_refused_at_its_bound_and_hung_up_on(loop: Loop) -> None:
    with loop.dial() as client:
        with pytest.raises(OSError, match=r"reset|[Pp]ipe"):
            client.sendall(b"x" * LONGEST_REQUEST * 100)
        (answer,) = answers(client)
    assert "at most 64 KiB" in answer.error


@given(
    st.one_of(
        st.binary(max_size=300),
        st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps).map(str.encode),
    )
)
def test_no_line_raises_anything_but_that_it_is_no_request(data: bytes) -> None:
    with suppress(RequestError):
        decode_request(data)


_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "op": st.sampled_from(OPS) | st.text(),
    "workers": st.lists(st.text(max_size=70), max_size=5) | st.integers(),
    "wait": st.booleans() | st.none(),
    "timeout": st.floats() | st.text(),
    "v": st.integers(0, 2),
    "file": st.text(),
    "all": st.booleans(),
}


@given(st.fixed_dictionaries({}, optional=_FIELDS))
def test_a_request_with_any_fields_is_one_or_is_refused(fields: dict[str, Any]) -> None:
    try:
        request = decode_request(json.dumps(fields).encode())
    except RequestError:
        return
    assert fields["op"] == type(request).__struct_config__.tag
    assert decode_request(encode(request)) == request


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=200).map(lambda data: data.replace(b"\n", b"")), max_size=8))
def test_each_line_gets_one_answer_whatever_is_in_it(loop: Loop, sent: list[bytes]) -> None:
    answered = loop.ask(b"".join(data + b"\n" for data in sent) + PING)

    assert len(answered) == len(sent) + 1
    assert answered[-1].ok


def test_a_request_that_comes_byte_by_byte_has_one_deadline_for_all_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_module, "IDLE_SECONDS", 0.3)
    with looping(path) as loop, loop.dial() as slow:
        slow.settimeout(0.01)

        def parted() -> bool:
            try:
                slow.sendall(b" ")
                return slow.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(parted, 3)


def test_it_is_the_deadline_that_parts_with_a_silent_client(path: Path) -> None:
    # The control for the test above: with the usual deadline it is still there.
    with looping(path) as loop, loop.dial() as slow:
        slow.sendall(b"  ")
        before = loop.turns
        wait_until(lambda: loop.turns > before + 10)
        slow.sendall(PING)
        assert json.loads(line(slow))["ok"]


def test_silent_clients_hold_up_nobody_however_many_they_are(loop: Loop) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(loop.dial()) for _ in range(PEER_LIMIT)]
        wait_until(lambda: len(loop.peers.sockets()) == PEER_LIMIT)
        assert loop.ask(PING) == [done("here")]
        assert silent[0].recv(1) == b"", "the oldest makes room"
        silent[1].sendall(PING)
        assert json.loads(line(silent[1]))["ok"], "and no other"


def test_who_waits_for_an_answer_is_not_parted_with_in_favour_of_who_has_not_asked(path: Path) -> None:
    waiting: list[Asked] = []

    def keep(asked: Asked) -> Answer | None:
        waiting.append(asked)
        return None

    with looping(path, keep) as loop, ExitStack() as stack:
        patient = [stack.enter_context(loop.dial()) for _ in range(PEER_LIMIT)]
        for client in patient:
            client.sendall(PING)
        wait_until(lambda: len(waiting) == PEER_LIMIT)
        late = stack.enter_context(loop.dial())
        late.sendall(PING)
        before = loop.turns
        wait_until(lambda: loop.turns > before + 5)
        assert len(waiting) == PEER_LIMIT, "who comes late stands in line"
        for asked in waiting[:PEER_LIMIT]:
            asked.peer.answer(done("at last"), time.monotonic())
        assert {json.loads(line(client))["text"] for client in patient} == {"at last"}
        wait_until(lambda: len(waiting) > PEER_LIMIT)
        waiting[-1].peer.answer(done("you too"), time.monotonic())
        assert json.loads(line(late))["text"] == "you too"


def test_who_goes_while_he_waits_is_forgotten(path: Path) -> None:
    waiting: list[Asked] = []
    with looping(path, waiting.append) as loop:
        with loop.dial() as client:
            client.sendall(PING)
            wait_until(lambda: waiting)
        wait_until(lambda: waiting[0].peer.closed)
        waiting[0].peer.answer(done("too late"), 0.0)
        assert not loop.peers.sockets()


def test_a_client_that_never_reads_is_owed_one_answer_and_is_parted_with(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_module, "STALLED_SECONDS", 0.5)
    size, asked_of = 1_000_000, []

    def large(asked: Asked) -> Answer:
        asked_of.append(asked)
        return done("x" * size)

    with looping(path, large) as loop, loop.dial() as greedy:
        greedy.setblocking(False)
        assert greedy.send(PING * 20_000) > 0
        wait_until(lambda: asked_of)
        assert len(asked_of) == 1, "nothing more is taken in until it has read"
        assert len(asked_of[0].peer._unsent) < size + 100
        wait_until(lambda: not loop.peers.sockets(), 3)


def heard(number: int) -> Heard:
    return Heard(at=0.0, worker="users", channel="c", targets=(("key", f"users:{number}"),))


def watch(asked: Asked) -> Answer:
    if isinstance(asked.request, Tap):
        asked.peer.watching = frozenset(asked.request.workers)
    return done()


def test_who_looks_on_and_does_not_read_is_told_how_much_he_has_missed(path: Path) -> None:
    with looping(path, watch) as loop, loop.dial() as viewer:
        viewer.sendall(b'{"op":"tap"}\n')
        assert json.loads(line(viewer))["ok"]
        count = 20_000
        for number in range(count):
            loop.peers.show(heard(number))
        (watching,) = loop.peers.viewers()
        assert len(watching._unsent) <= peer_module.TAP_BYTES + 200

        shown = dropped = 0
        while shown + dropped < count:
            event = msgspec.json.decode(line(viewer), type=Heard | Dropped)
            shown += isinstance(event, Heard)
            dropped += event.count if isinstance(event, Dropped) else 0
        assert shown > 1000
        assert shown + dropped == count, "each line is shown or counted"


def test_who_looks_on_sees_the_workers_that_he_named_and_no_others(path: Path) -> None:
    with looping(path, watch) as loop, loop.dial() as viewer:
        viewer.sendall(b'{"op":"tap","workers":["orders"]}\n')
        line(viewer)
        assert loop.peers.is_watched("orders")
        assert not loop.peers.is_watched("users")
        loop.peers.show(heard(1))
        loop.peers.show(Dropped(worker="orders", count=3))
        assert json.loads(line(viewer)) == {"what": "dropped", "worker": "orders", "count": 3}


def test_a_client_that_reads_byte_by_byte_has_one_deadline_for_all_of_its_answer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_module, "STALLED_SECONDS", 0.5)
    with looping(path, lambda _: done("x" * 2_000_000)) as loop, loop.dial() as slow:
        slow.sendall(PING)

        def parted() -> bool:
            slow.recv(10)
            return not loop.peers.sockets()

        wait_until(parted, 3)


def test_who_looks_on_and_goes_is_forgotten_whatever_he_had_said_before(path: Path) -> None:
    with looping(path, watch) as loop:
        with loop.dial() as viewer:
            viewer.sendall(b'{"op":"tap"}\n{"op":"ping"}\n')
            line(viewer)
            before = loop.turns
            wait_until(lambda: loop.turns >= before + 3)
            assert loop.turns < before + 50, "it turns for nothing"
        wait_until(lambda: not loop.peers.sockets())


def test_who_looks_on_and_says_something_has_done_with_looking(path: Path) -> None:
    with looping(path, watch) as loop, loop.dial() as viewer:
        viewer.sendall(b'{"op":"tap"}\n')
        line(viewer)
        viewer.sendall(PING)
        assert viewer.recv(1) == b""


def byte_by_byte(client: socket.socket, data: bytes) -> None:
    for byte in data:
        client.send(bytes([byte]))


HOSTILE: dict[str, Callable[[socket.socket], None]] = {
    "pipelined": lambda client: client.sendall(PING * 5000),
    "garbage": lambda client: client.sendall(b"\xff{[\n" * 5000),
    "deep": lambda client: client.sendall((b"[" * 60_000 + b"\n") * 4),
    "byte-wise": lambda client: byte_by_byte(client, b" " * 2000),
    "huge lines": lambda client: client.sendall(b"x" * 1_000_000),
    "never reading": lambda client: client.sendall(b'{"op":"status"}\n' * 5000),
}


def flood(loop: Loop, until: threading.Event) -> None:
    """Every kind of hostile client, over and over, several at a time; none of them ever reads."""

    def one(attack: Callable[[socket.socket], None]) -> None:
        while not until.is_set():
            try:
                with loop.dial() as client:
                    client.settimeout(0.2)
                    attack(client)
            except OSError:
                pass

    threads = [threading.Thread(target=one, args=(attack,)) for attack in HOSTILE.values() for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def flooded(path: Path) -> float:
    """The longest turn of a loop that is flooded until a good many well-behaved requests were answered."""
    until = threading.Event()
    with looping(path, lambda _: done("x" * 20_000)) as loop:
        flooding = threading.Thread(target=flood, args=(loop, until))
        flooding.start()
        try:
            for _ in range(20):
                assert loop.ask(PING)[0].ok
        finally:
            until.set()
            flooding.join()
        return loop.longest_turn


def test_a_flood_of_hostile_clients_never_holds_the_loop_for_long(path: Path) -> None:
    assert flooded(path) < 0.05


def test_without_the_bound_on_a_turn_it_would_be_held(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The control for the test above: a door that serves a client until it has nothing more to ask.
    step = Peers._step

    def greedily(self: Peers, peer: peer_module.Peer, now: float) -> None:
        step(self, peer, now)
        while self.asked:
            self.asked.popleft().peer.answer(done("x" * 20_000), now)
            peer._unsent.clear()
            step(self, peer, now)

    monkeypatch.setattr(Peers, "_step", greedily)
    with looping(path) as loop:
        assert loop.ask(PING) == []  # what this loop answers is thrown away
        with loop.dial() as client:
            client.sendall(PING * 12_000)
            client.shutdown(socket.SHUT_WR)
            assert answers(client) == []
        wait_until(lambda: loop.longest_turn > 0.05)


def test_a_path_that_is_too_long_for_a_socket_is_said_so(path: Path) -> None:
    with pytest.raises(OSError, match=r"may have 107 bytes, and this one has \d+"):
        Control(path.parent / ("x" * 108), Peers())

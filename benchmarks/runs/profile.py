"""Where a message's time goes: each stage on its own, in bulk, with what the stage before has made.

Seconds are the processor's, so that they do not grow with what else the machine does; a profiler's hook would cost
more than most of these calls. What the stages do not add up to is the loop around them.
"""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import hiredis
import pluggy

from benchmarks import contenders, load
from benchmarks.peers.peer import CHUNK
from benchmarks.runs.run import Found, Run
from invalidator import hookspecs
from invalidator.channel import pair
from invalidator.logs import get_logger
from invalidator.messages import KINDS, Invalidation, Messages
from invalidator.pipeline.formats import decoder, decoder_in_bulk
from invalidator.pipeline.ignoring import Ignoring
from invalidator.pipeline.intake import Intake
from invalidator.pipeline.tap import Tap
from invalidator.slots import Region
from invalidator.subscription.inbox import BITE, NOT_YET
from invalidator_lru.draft import Plan
from invalidator_lru.feeder import Feeder
from invalidator_lru.preparation import prepare
from tests.support.lanes import Inline, Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.runs.run import Task

KEYS = 50_000
AT_ONCE = 500
"""Messages in a turn of the loop: what a few chunks of a flood hold."""
LONGEST = 8192
KINDS_OF_PAYLOAD = {"bare key": load.bare(), "envelope, 190 bytes": load.envelope()}


def _do(task: Task) -> Found:
    rounds, count = task.rounds(7), task.sized(20_000, 1_000)
    samples: dict[str, list[float]] = {}
    stages: dict[str, float] = {}
    for _ in range(rounds):
        for kind, payload in KINDS_OF_PAYLOAD.items():
            stages = _stages(task, payload, count)
            for stage, seconds in stages.items():
                samples.setdefault(f"{kind}/{stage}", []).append(seconds / count)
    order = {"kinds": list(KINDS_OF_PAYLOAD), "stages": list(stages)}
    return Found(rounds, {"unit": "s", "samples": samples, **order})


def _stages(task: Task, payload: str, count: int) -> dict[str, float]:
    """Seconds for `count` messages in each stage."""
    payloads = [_filled(payload, number) for number in range(count)]
    stream = b"".join(_framed(payload) for payload in payloads)
    chunks = [stream[at : at + CHUNK] for at in range(0, len(stream), CHUNK)]
    replies: list[list[bytes]] = []
    decoded: list[Invalidation] = []
    found = {"read from the socket": _reading(stream)}
    found["parsed by hiredis"] = _timed(lambda: _parse(chunks, replies))
    with ExitStack() as stack:
        intake = _intake(stack)
        found["decoded"] = _timed(lambda: _decode(intake, replies, decoded))
        rig = Rig(Inline(), task.folder / "letters").start()
        stack.callback(rig.stop)
        found["coalesced and acknowledged"] = _timed(lambda: _offer(rig, decoded))
        found["purged: the LRU's table"] = _purging(task, stack, [batch.keys for batch in rig.backend.batches])
    return found


def _filled(payload: str, number: int) -> bytes:
    # The last number is the key's; those before it are an id's, which is another one each time.
    own = payload.replace(load.RANDOM, f"{number:012d}", payload.count(load.RANDOM) - 1)
    return own.replace(load.RANDOM, f"{number % KEYS:012d}").encode()


def _framed(payload: bytes) -> bytes:
    words = (b"pmessage", contenders.PATTERN.encode(), contenders.CHANNEL.encode(), payload)
    return b"*4\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _timed(call: Callable[[], object]) -> float:
    began = time.thread_time()
    call()
    return time.thread_time() - began


def _reading(stream: bytes) -> float:
    """recv() alone, of what the kernel has already."""
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        ours.setblocking(False)
        theirs.setblocking(False)
        spent = 0.0
        sent = 0
        while sent < len(stream):
            size = theirs.send(stream[sent : sent + CHUNK])
            sent += size
            began = time.thread_time()
            while size > 0:
                size -= len(ours.recv(CHUNK))
            spent += time.thread_time() - began
        return spent


def _parse(chunks: Sequence[bytes], replies: list[list[bytes]]) -> None:
    reader = hiredis.Reader(notEnoughData=NOT_YET)
    for chunk in chunks:
        for start in range(0, len(chunk), BITE):
            reader.feed(chunk, start, min(BITE, len(chunk) - start))
            replies.extend(iter(reader.gets, NOT_YET))


def _intake(stack: ExitStack) -> Intake:
    """As a worker has it that hears by Pub/Sub alone."""
    plugins = pluggy.PluginManager(hookspecs.PROJECT)
    plugins.add_hookspecs(hookspecs)
    _, end = (stack.enter_context(closing(each)) for each in pair())
    slots, tap = Region([]).worker(), Tap(end, "bench")
    decode = decoder(plugins, frozenset(KINDS), LONGEST)
    intake = Intake(decode, Ignoring(()), lambda: 0, lambda *_: None, slots, tap, get_logger())
    intake.hear_alone(decoder_in_bulk(plugins, frozenset(KINDS), LONGEST))
    return intake


def _decode(intake: Intake, replies: Sequence[Sequence[bytes]], decoded: list[Invalidation]) -> None:
    for first in range(0, len(replies), AT_ONCE):
        turn = replies[first : first + AT_ONCE]
        decoded += intake.take(Messages([reply[2] for reply in turn], [reply[3] for reply in turn]))


def _offer(rig: Rig, decoded: Sequence[Invalidation]) -> None:
    for turn in decoded:
        rig.lane.offer([turn], 0.0)
        rig.lane.turn()


def _purging(task: Task, stack: ExitStack, batches: Sequence[Sequence[str]]) -> float:
    path = task.folder / "profile.gen"
    prepare(Plan(path, frozenset({"bench/near"})))
    feeder = stack.enter_context(closing(Feeder(path, "bench/near")))

    def purge() -> None:
        for keys in batches:
            feeder.invalidate(keys=keys)

    return _timed(purge)


RUNS = (Run("profile", "where a message's time goes, stage by stage", _do),)

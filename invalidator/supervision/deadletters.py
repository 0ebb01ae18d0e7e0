"""Dead letters, as the clients of the control socket see them: which there are, and that they are tried again.

They are read page by page, so that nobody waits while a box of megabytes is looked through. To try them again is for
the worker that has the lane: it is ordered to, and so is each of its successors until one has said that it is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.control.protocol import DeadLetterBox, DeadLetterPage, done, refused
from invalidator.errors import EXIT_USAGE, EXIT_VERDICT_NO
from invalidator.letters import FOLDER, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from invalidator.channel import Retried
    from invalidator.control.protocol import Answer
    from invalidator.doors.peer import Peer
    from invalidator.supervision.child import Child

PAGE = 128 << 10
"""Bytes of a box in one answer."""
MOST_BOXES = 10_000
MOST_WAITING = 16


def boxes(state_dir: Path, worker: str = "", backend: str = "") -> tuple[DeadLetterBox, ...]:
    """Every file in which there is something, or those of one worker, or of one of its backends."""
    found = []
    for path in _files(state_dir):
        known = named(path.name)
        if known is None:
            continue
        (box, part), size = known, _size(path)
        if size and worker in ("", box.worker) and backend in ("", box.backend):
            found.append(DeadLetterBox(file=path.name, part=part, bytes=size, **box._asdict()))
    return tuple(sorted(found, key=lambda box: (box.worker, box.backend, box.node, box.part)))[:MOST_BOXES]


def page(state_dir: Path, file: str, offset: int) -> DeadLetterPage | None:
    """The lines of a file from this byte on, as many as an answer has room for; None if there is no such file."""
    if named(file) is None or "/" in file:
        return None
    try:
        with (state_dir / FOLDER / file).open("rb") as opened:
            opened.seek(max(0, offset - 1))
            before = opened.read(1) if offset else b"\n"
            data = opened.read(PAGE)
    except OSError:
        return None
    end = data.rfind(b"\n") + 1
    if len(data) < PAGE:
        upto, following = len(data), None
    else:  # a line that is longer than a page is no letter, and is one all the same
        upto = end or len(data)
        following = offset + upto
    begin = 0 if before == b"\n" else data.find(b"\n") + 1 or upto  # its rest has been counted with its beginning
    return DeadLetterPage(lines=tuple(_text(line) for line in data[begin:upto].splitlines()), next=following)


@dataclass(frozen=True, slots=True)
class _Wait:
    """A peer, the backends that it waits for, and what has come of those that are done."""

    peer: Peer
    deadline: float
    timeout: float
    open: dict[tuple[str, str], int]
    ended: list[Retried]


class Retries:
    """What workers are asked to try again, and who waits for it. Looked at in each turn of the supervisor's loop."""

    def __init__(self) -> None:
        self._number = 0
        self._waits: list[_Wait] = []

    def order(self, wanted: Sequence[tuple[Child, str]], peer: Peer, timeout: float, now: float) -> Answer | None:
        """Have these be tried again. None: the peer is answered once they have been, or `timeout` is over."""
        if timeout and len(self._waits) >= MOST_WAITING:
            return refused(f"{MOST_WAITING} others wait already: ask without waiting", EXIT_VERDICT_NO)
        self._number += 1
        for child, backend in wanted:
            child.order(retries={**child.orders.retries, backend: self._number})
        if not timeout:
            return done(f"trying again: {_listed((child.spec.name, backend) for child, backend in wanted)}")
        waits = {(child.spec.name, backend): self._number for child, backend in wanted}
        self._waits.append(_Wait(peer, now + timeout, timeout, waits, []))
        return None

    def next_due(self, now: float) -> float:
        """Seconds until somebody's time is over."""
        return min((wait.deadline for wait in self._waits), default=float("inf")) - now

    def turn(self, children: Iterable[Child], now: float) -> None:
        """Hear what workers have done, and answer those who have waited for it."""
        for child in children:
            if child.orders.retries:
                self._hear(child)
        waits, self._waits = self._waits, []
        self._waits = [wait for wait in waits if not wait.peer.closed and not _is_over(wait, now)]

    def stop(self, answer: Answer, now: float) -> None:
        """The daemon ends: who waits would wait in vain. The letters are where they were."""
        for wait in self._waits:
            wait.peer.answer(answer, now)
        self._waits = []

    def _hear(self, child: Child) -> None:
        left = dict(child.orders.retries)
        known = {lane.backend for lane in child.spec.backends}
        for one in child:
            for said in one.contact.account.take_retried():
                if left.get(said.backend, said.number + 1) <= said.number:
                    del left[said.backend]
                for wait in self._waits:
                    if wait.open.get((child.spec.name, said.backend), said.number + 1) <= said.number:
                        del wait.open[child.spec.name, said.backend]
                        wait.ended.append(said)
        left = {backend: number for backend, number in left.items() if backend in known}
        if left != child.orders.retries:
            child.order(retries=left)


def _is_over(wait: _Wait, now: float) -> bool:
    if wait.open and now < wait.deadline:
        return False
    wait.peer.answer(_verdict(wait), now)
    return True


def _verdict(wait: _Wait) -> Answer:
    if wait.open:
        return refused(
            f"waited {wait.timeout:g} s in vain: {_listed(wait.open)} has not come to an end, and goes on",
            EXIT_VERDICT_NO,
        )
    if errors := [said.error for said in wait.ended if said.error]:
        return refused(f"some could not be read, and are where they were: {errors[0]}", EXIT_VERDICT_NO)
    tried, died, garbage = (sum(getattr(said, what) for said in wait.ended) for what in ("tried", "died", "garbage"))
    text = f"tried again: {tried}; dead again: {died}" if tried or garbage else "nothing was left to be tried again"
    if garbage:
        text += f"; no letters, and kept apart: {garbage}"
    return refused(text, EXIT_VERDICT_NO) if died else done(text)


def _listed(places: Iterable[tuple[str, str]]) -> str:
    names = [f"{worker} {backend}" for worker, backend in places]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _files(state_dir: Path) -> Iterator[Path]:
    try:
        yield from (state_dir / FOLDER).iterdir()
    except OSError:
        return


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def nothing(worker: str, backend: str) -> Answer:
    """The answer to who wants to try again what is not there."""
    where = " of ".join(filter(None, (backend, worker)))
    return done(f"there are no dead letters{' of ' + where if where else ''}")


def no_backend(child: Child, backend: str) -> Answer:
    """The answer to who names a backend that the worker has not."""
    known = ", ".join(lane.backend for lane in child.spec.backends)
    return refused(f"worker {child.spec.name} has no backend '{backend}'; it has {known}", EXIT_USAGE)

"""What the clients of the control socket ask for, done on the supervisor's loop; and what they wait for afterwards.

A turn takes requests for a few milliseconds and leaves the rest for the next one, so that a flood of them costs the
workers nothing. Nothing here waits: who wants to wait is looked at again in each turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.control.protocol import (
    Answer,
    DeadLetters,
    GetStatus,
    Pause,
    Ping,
    Reload,
    Restart,
    Resume,
    RetryDeadLetters,
    Tap,
    done,
    refused,
)
from invalidator.errors import EXIT_UNREACHABLE, EXIT_USAGE, EXIT_VERDICT_NO, ConfigError, InvalidatorError
from invalidator.plugins import suggestion
from invalidator.screen.text import listed
from invalidator.slots import clock
from invalidator.supervision import deadletters
from invalidator.supervision.deadletters import Retries
from invalidator.supervision.reload import Plan
from invalidator.supervision.waits import MOST_WAITING, Waits, is_named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.doors.peer import Peer
    from invalidator.doors.peers import Asked, Peers
    from invalidator.status import Status
    from invalidator.supervision.child import Child
    from invalidator.supervision.fleet import Fleet

TURN_SECONDS = 0.01
MOST_VIEWERS = 8
_MOST_NAMED = 10
"""Workers in one sentence."""
_STOPPING = refused("the daemon is stopping", EXIT_VERDICT_NO)
_NOTHING_READ = refused("nothing was read", EXIT_VERDICT_NO)


class Refusal(Exception):  # noqa: N818  not an error of ours: the answer to somebody's request
    """A request that is not done, and the answer that says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.error)
        self.answer = answer


class Operations:
    """`reload` reads the file again, or raises InvalidatorError and has changed nothing; `status` is of this moment."""

    def __init__(self, peers: Peers, fleet: Fleet, reload: Callable[[], Plan], status: Callable[[], Status]) -> None:
        self._peers = peers
        self._fleet = fleet
        self._reload = reload
        self._status = status
        self._waits = Waits(fleet, status)
        self._retries = Retries()
        self._stopping = False
        self._read_up_to = 0
        self._outcome: Plan | Answer = _NOTHING_READ
        fleet.watch = peers.show

    def next_due(self, now: float) -> float:
        """Seconds until `turn` has something to do, if nothing happens before."""
        if self._peers.asked:
            return 0.0
        return min(self._waits.next_due(now), self._retries.next_due(now))

    def turn(self, now: float) -> None:
        """Do some of what was asked for, and answer those who have waited long enough."""
        until = clock() + TURN_SECONDS
        while self._peers.asked and clock() < until:
            if not (asked := self._peers.asked.popleft()).peer.closed:
                self._do(asked, now)
        self._waits.turn(now)
        self._retries.turn(self._fleet, now)
        for child in self._fleet:
            child.order(tapped=self._peers.is_watched(child.spec.name))

    def stop(self, now: float) -> None:
        """The daemon ends: whoever waits would wait in vain."""
        self._stopping = True
        self._waits.end(_STOPPING, now)
        self._retries.stop(_STOPPING, now)

    def _do(self, asked: Asked, now: float) -> None:
        try:
            answer = self._answer(asked, now)
        except Refusal as refusal:
            answer = refusal.answer
        if answer is not None:
            asked.peer.answer(answer, now)

    def _answer(self, asked: Asked, now: float) -> Answer | None:
        """None: it is answered later."""
        self._check_file(asked.request.file)
        answer: Answer | None = done()
        match asked.request:
            case GetStatus():
                answer = done(status=self._status())
            case Tap() as request:
                self._tap(asked.peer, request)
            case Pause() | Resume() as request:
                answer = self._pause(request)
            case Restart() as request:
                answer = self._restart(asked.peer, request, now)
            case Reload() as request:
                answer = self._reloaded(asked, request, now)
            case DeadLetters() as request:
                answer = self._dead_letters(request)
            case RetryDeadLetters() as request:
                answer = self._retry(asked.peer, request, now)
            case Ping():
                pass
        return answer

    def _check_file(self, file: str) -> None:
        if not file:
            return
        ours = str(self._fleet.loaded.topology.file.resolve())  # as the client has named it, whatever links lead there
        if file != ours:
            text = f"the daemon at this socket runs {ours}, not {file}: give each its own supervisor.control_socket"
            raise Refusal(refused(text, EXIT_UNREACHABLE))

    def _tap(self, peer: Peer, request: Tap) -> None:
        self._named(request.workers)
        if len(self._peers.viewers()) >= MOST_VIEWERS:
            raise Refusal(refused(f"{MOST_VIEWERS} others look on already", EXIT_VERDICT_NO))
        peer.watching = frozenset(request.workers)

    def _pause(self, request: Pause | Resume) -> Answer:
        paused = isinstance(request, Pause)
        children = list(self._fleet.workers.values()) if request.all else self._named(request.workers)
        if not children:
            raise Refusal(refused("name a worker, or all of them", EXIT_USAGE))
        for child in children:
            child.order(paused=paused)
        return done(f"{'paused' if paused else 'resumed'}: {_listed(children)}")

    def _restart(self, peer: Peer, request: Restart, now: float) -> Answer | None:
        children = self._named(request.workers)
        if not children:
            raise Refusal(refused("name a worker", EXIT_USAGE))
        self._check_may_wait(wait=request.wait)
        for child in children:
            child.restart(now)
        if not request.wait:
            return done(f"restarting: {_listed(children)}")
        self._waits.add(peer, children, request.timeout, f"restarted: {_listed(children)}", now)
        return None

    def _dead_letters(self, request: DeadLetters) -> Answer:
        directory = self._fleet.loaded.topology.supervisor.state_dir
        if not request.page:
            found = deadletters.boxes(directory, request.worker, request.backend)
            if not found and request.worker:  # a misspelt name would be told that all is well
                self._with_backend(self._named([request.worker]), request.backend)
            return Answer(ok=True, boxes=found)
        page = deadletters.page(directory, request.page, request.offset)
        return refused(f"{request.page} is gone") if page is None else Answer(ok=True, page=page)

    def _retry(self, peer: Peer, request: RetryDeadLetters, now: float) -> Answer | None:
        children = self._named([request.worker]) if request.worker else list(self._fleet.workers.values())
        self._check_may_wait(wait=request.wait)
        self._with_backend(children, request.backend)
        directory = self._fleet.loaded.topology.supervisor.state_dir
        there = {(box.worker, box.backend) for box in deadletters.boxes(directory) if box.part != "garbage"}
        lanes = [(child, lane.backend) for child in children for lane in child.spec.backends]
        wanted = [
            (child, backend)
            for child, backend in lanes
            if (child.spec.name, backend) in there and request.backend in ("", backend)
        ]
        if not wanted:
            return deadletters.nothing(request.worker, request.backend)
        if paused := [child for child, _ in wanted if child.orders.paused]:
            raise Refusal(refused(f"{_listed(paused)} is paused: resume it first", EXIT_VERDICT_NO))
        return self._retries.order(wanted, peer, request.timeout if request.wait else 0.0, now)

    def _with_backend(self, children: list[Child], backend: str) -> None:
        for child in children:
            if backend and backend not in {lane.backend for lane in child.spec.backends}:
                raise Refusal(deadletters.no_backend(child, backend))

    def _reloaded(self, asked: Asked, request: Reload, now: float) -> Answer | None:
        self._check_may_wait(wait=request.wait)
        if asked.number > self._read_up_to:
            # One reading answers everybody who had asked before it began.
            self._read_up_to = self._peers.count
            self._outcome = self._read()
        if not isinstance(todo := self._outcome, Plan):
            return todo
        if not request.wait:
            return done(f"the file is right: {_counted(todo)}")
        # What an earlier reload has changed and is not there yet, too: the file has not taken effect before it is.
        leaving = [child for child in self._fleet if not is_named(self._fleet, child)]
        self._waits.add(
            asked.peer, [*self._fleet.unproven(), *leaving], request.timeout, f"reloaded: {_counted(todo)}", now
        )
        return None

    def _read(self) -> Plan | Answer:
        redacted = self._fleet.loaded.redacted
        try:
            return self._reload()
        except ConfigError as error:
            problems = tuple(redacted(str(problem)) for problem in error.problems)
            return Answer(
                ok=False, exit=error.exit_code, error="nothing has changed: the file is wrong", problems=problems
            )
        except InvalidatorError as error:
            return refused(f"nothing has changed: {redacted(str(error))}", error.exit_code)

    def _named(self, names: Sequence[str]) -> list[Child]:
        """The workers of these names, each once. Raises Refusal."""
        known = self._fleet.workers
        for name in names:
            if name not in known:
                there = listed(list(known), _MOST_NAMED)
                text = f"there is no worker '{name}'{suggestion(name, known)}; there are {there}"
                raise Refusal(refused(text, EXIT_USAGE))
        return [known[name] for name in dict.fromkeys(names)]

    def _check_may_wait(self, *, wait: bool) -> None:
        if self._stopping:
            raise Refusal(_STOPPING)
        if wait and len(self._waits) >= MOST_WAITING:
            raise Refusal(refused(f"{MOST_WAITING} others wait already: ask without waiting", EXIT_VERDICT_NO))


def _counted(todo: Plan) -> str:
    counts = {"kept": todo.keep, "replaced": todo.replace, "started": todo.start, "stopped": todo.stop}
    return ", ".join(f"{len(names)} {what}" for what, names in counts.items() if names)


def _listed(children: Sequence[Child]) -> str:
    return listed([child.spec.name for child in children], _MOST_NAMED)

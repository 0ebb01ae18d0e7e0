"""Whether one connection is alive, and whether it leads to where publishers publish. Pure: every call takes `now`.

Bytes show that somebody is there. An echo shows more: what is published now is heard here. It is judged by order, not
by time: the subscription's own connection is asked for a PONG once the echo must be under way, and Redis answers in
order. Whatever is queued before that, in Redis or in us, however long it takes, is no reason to doubt the path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from invalidator.messages import GapCause
    from invalidator.wire.identity import Identity

TIMER_SLACK = 0.05
"""Seconds by which a PING may have gone out late; without it, that would be added to the deadline."""
LATE_PING = 1.25
"""Intervals of silence before a PING. The echo is due after one, and when it comes none is needed."""
COMPANY = 0.2
"""Intervals that what is due may wait for the loop to turn for some other reason: each turn costs. An echo that waited
until a PING is due would cost that one as well."""
_LONGEST_NUMBER = 20
LONGEST_REST = 30.0
"""Seconds between two attempts to ask a server that refuses our credentials."""

Path = Literal["one server", "named", "relayed"]
"""What lies between a publisher and us: one server, whoever is behind the URL; the one that Sentinel names; or nodes
that pass on to each other what is published."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why not to believe in a connection any more."""

    cause: GapCause
    detail: str


class Silence:
    """The signs of life of one connection, and the PINGs that ask for one."""

    def __init__(self, interval: float, deadline: float, now: float) -> None:
        self._interval = interval * LATE_PING
        self._deadline = deadline
        self._last_ping = now
        self._asked: float | None = now
        self.last_byte = now
        self.pings = 1  # one is sent with the subscription
        self.pongs = 0
        self.whole_at = now
        self.is_torn = False
        """Whether the answer to a PING was left out: what was sent before it since `whole_at` may be missing, too."""

    def heard(self, now: float, *, sign: bool) -> None:
        """Bytes have arrived. `sign`: they answer what was asked for."""
        self.last_byte = now
        if sign:
            self._asked = None

    def confirmed(self) -> None:
        """What was asked for first has come."""
        self._asked = None

    def ping_due(self, now: float) -> bool:
        """Whether to send a PING: for a while, nothing has been heard, or no answer to the last one."""
        return now >= self._next_ping()

    def pinged(self, now: float) -> int:
        """One has been sent; its number."""
        self._last_ping = now
        self._asked = now if self._asked is None else self._asked
        self.pings += 1
        return self.pings

    def ponged(self, text: bytes, now: float) -> None:
        """One was answered, with this text: the PING's number, or nothing."""
        self.pongs += 1
        if text.isdigit() and len(text) < _LONGEST_NUMBER and int(text) > self.pongs:
            self.is_torn = True
        elif not self.is_torn:
            self.whole_at = now

    def verdict(self, now: float) -> Verdict | None:
        """Found dead when no byte has come for the deadline, though one was asked for in time.

        Any byte is a sign of life, so a busy stream costs no PING. A process that was itself stopped for a while has
        not asked, and does so before it judges.
        """
        if self.is_torn:
            return Verdict("deadline", "a part of what Redis has sent was swallowed on the way")
        patience = self._deadline - self._interval - TIMER_SLACK
        if self._asked is None or now - self.last_byte < self._deadline or now - self._asked < patience:
            return None
        return Verdict("deadline", f"no byte for {now - self.last_byte:.1f} s")

    def unanswered(self, now: float) -> bool:
        """Whether what was asked for first has not come within the deadline, whatever else has."""
        return self._asked is not None and now - self._asked >= self._deadline

    def next_due(self, now: float) -> float:
        """Seconds until there is something to do."""
        ping = self._next_ping()
        verdict = self.last_byte + self._deadline
        return max(0.001, (min(ping, verdict) if verdict > now else ping) - now)

    def _next_ping(self) -> float:
        # Bytes that come instead of a PONG are a sign of life, and not of a whole connection: the next PONG tells.
        answered = self.pongs >= self.pings
        return (max(self.last_byte, self._last_ping) if answered else self._last_ping) + self._interval


class Echoes:
    """The echoes of one connection, one at a time: asked for, taken by a server, heard or missed."""

    def __init__(self, interval: float, deadline: float, path: Path, ours: Identity, now: float) -> None:
        self._interval = interval
        self._deadline = deadline
        self._path = path
        self._ours = ours
        self._due = now
        self._asked = now
        self._out = ""
        self._judged: tuple[float, Verdict] | None = None
        self._fence = 0
        self._takes = ""
        self._failures = 0

    def due(self, now: float) -> bool:
        """Whether to publish one now."""
        return not self._out and now >= self._due

    def next_due(self, now: float) -> float:
        """Seconds until there is something to do; infinite while it is for others to speak."""
        if not self._out:
            return max(0.001, self._due + self._interval * COMPANY - now)
        if self._judged is None or self._fence:
            return float("inf")
        return max(0.001, self._judged[0] - now)

    def is_stuck(self, now: float) -> bool:
        """Whether nobody has taken the echo for so long that it says nothing any more."""
        return bool(self._out) and self._judged is None and now - self._asked >= self._deadline

    def asked(self, nonce: str, now: float) -> None:
        """One is to be published."""
        self._out = nonce
        self._asked = now
        self._judged = None
        self._fence = 0
        self._due = now + self._interval

    def refused(self, nonce: str, now: float, *, auth: bool) -> None:
        """It was not published. That says nothing of the subscription; the next one takes its time."""
        if nonce == self._out:
            self._out = ""
        self._failures += 1
        longest = LONGEST_REST if auth else self._deadline
        self._due = now + min(longest, self._interval * 2.0 ** min(self._failures, 30))

    def proves_nothing(self, by: Identity) -> bool:
        """Whether this server passes nothing on to ours: one replica of several, behind one name."""
        return self._path != "relayed" and by.role == "slave" and by.run_id != self._ours.run_id

    def taken(self, nonce: str, now: float, receivers: int, by: Identity) -> Verdict | None:
        """A server has taken it. The verdict, where who did so is one already."""
        self._failures = 0
        before, self._takes = self._takes, by.run_id
        if verdict := self._moved(before, by):
            return verdict
        if nonce == self._out:
            self._judged = self._expectation(now, receivers, by)
        return None

    def heard(self, nonce: str) -> None:
        """It has come."""
        if nonce == self._out:
            self._out = ""

    @property
    def is_out(self) -> bool:
        """Whether one has been asked for, and neither been heard nor refused."""
        return bool(self._out)

    @property
    def unheard_since(self) -> float:
        """When the echo that a server has taken, and that has not come yet, was asked for; infinite: there is none."""
        return self._asked if self._out and self._judged else float("inf")

    def wants_fence(self, now: float) -> bool:
        """Whether to send a PING now, behind whose answer the echo cannot be."""
        return bool(self._out and self._judged and not self._fence and now >= self._judged[0])

    def fenced(self, ping: int) -> None:
        """The PING of this number is the one."""
        self._fence = ping

    def verdict(self, pongs: int) -> Verdict | None:
        """The path is broken when so many PONGs are here, all that came before them is parsed, and the echo is not."""
        if self._out and self._judged and self._fence and pongs >= self._fence:
            return self._judged[1]
        return None

    def _moved(self, before: str, by: Identity) -> Verdict | None:
        """Publishers have gone to another server: what they publish there from now on may not be heard here."""
        ours = self._ours.run_id
        if not ours or not by.run_id or self._path == "relayed":
            return None
        if by.run_id == ours:
            return self._turned(by)
        # Whoever invents an id for each connection is not believed; whoever had ours, and now has another one, is.
        if self._path == "named" or before == ours:
            return Verdict("role", "another server is the master now; this one does not know, or has not said")
        return None

    def _turned(self, by: Identity) -> Verdict | None:
        """The same server, in another role. It goes on taking our echoes, and others publish elsewhere.

        A master that has become a replica hears the new one's messages only once it is linked to it; one that was a
        replica has not heard what the old master took since that link went.
        """
        if by.role == self._ours.role or not by.role or not self._ours.role:
            return None
        return Verdict("role", f"this server was a {self._ours.role} when we subscribed, and is a {by.role} now")

    def _expectation(self, now: float, receivers: int, by: Identity) -> tuple[float, Verdict]:
        """When to ask for the fence, and what it means if the echo is not there before it."""
        ours = self._ours.run_id
        known = bool(ours and by.run_id)
        if known and by.run_id == ours and receivers == 0:
            return now, Verdict("deadline", "Redis says that nobody hears this connection's own channel")
        if known and by.run_id != ours and self._path == "one server" and self._ours.role != "slave":
            # Not its id alone, but being unheard condemns it: there are proxies that make up ids.
            return now + self._interval, Verdict("role", "publishers reach another server than this one")
        late = self._deadline - self._interval
        return now + late, Verdict("deadline", f"what is published is not heard here, {late:.1f} s later")

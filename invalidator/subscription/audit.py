"""What the server says of a subscription, asked from beside it. Pure.

CLIENT LIST tells what this very connection is subscribed to. A server that does not let us see it may still count all
subscriptions (NUMPAT, NUMSUB), which shows only the loss of the last one. A replica is asked for the link to its master
instead: without it, echoes that it takes itself come all the same, and nothing else does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from invalidator.topology.patterns import is_glob
from invalidator.wire.identity import is_list, role_of

if TYPE_CHECKING:
    from invalidator.wire.identity import Command, Identity

_WORD = re.compile(rb"(\w+)=(\S*)")


class Audit:
    """Of one connection to `ours`, subscribed to `pattern`, by those questions that the server does answer."""

    least: int
    """Subscriptions of the pattern's sort that there must be."""

    def __init__(self, ours: Identity, pattern: str) -> None:
        self._ours = ours
        self._pattern = pattern
        self._word = b"psub" if is_glob(pattern) else b"sub"
        self.least = 1
        count: Command = ("PUBSUB", "NUMPAT") if is_glob(pattern) else ("PUBSUB", "NUMSUB", pattern)
        look: Command = ("CLIENT", "LIST", "ID", ours.client_id)
        self._questions = [look, count] if ours.client_id else [count]
        if ours.role == "slave":
            self._questions.insert(0, ("ROLE",))

    def joined(self, channel: str) -> None:
        """The connection hears this channel too."""
        self.least += not is_glob(self._pattern) and not is_glob(channel)

    def question(self) -> Command | None:
        """What to ask; None if there is nothing to ask, or nobody can say whether the same server would answer."""
        return self._questions[0] if self._questions and self._ours.run_id else None

    def finding(self, question: Command, reply: object, by: Identity) -> str:
        """What is wrong; empty if nothing is, or nothing can be said. A question that is refused is not asked again."""
        if by.run_id != self._ours.run_id:
            return ""
        if isinstance(reply, Exception):
            self._questions = [other for other in self._questions if other != question]
            return ""
        if question[0] == "ROLE":
            return _linked(reply)
        return self._seen(reply) if question[0] == "CLIENT" else self._counted(reply)

    def _seen(self, reply: object) -> str:
        # Before 6.2 there was no ID to ask for; whoever then answers with every client still says which is ours.
        for line in reply.splitlines() if isinstance(reply, bytes) else ():
            words: dict[bytes, bytes] = dict(_WORD.findall(line))
            if words.get(b"id") == b"%d" % self._ours.client_id:
                there = words.get(self._word, b"?").decode()
                few = there.isdigit() and int(there) < self.least
                return f"CLIENT LIST shows this connection with {self._word.decode()}={there}" if few else ""
        return "CLIENT LIST does not show this connection"

    def _counted(self, reply: object) -> str:
        count = reply[1] if is_list(reply) and len(reply) == 2 else reply
        return f"PUBSUB counts no subscription to {self._pattern}" if count == 0 else ""


def _linked(reply: object) -> str:
    role, link = role_of(reply)
    return f"this replica's link to its master is in state {link!r}" if role == "slave" and link != "connected" else ""

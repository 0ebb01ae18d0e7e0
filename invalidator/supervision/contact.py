"""What the supervisor and one process of a worker say to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from invalidator.channel import Dropped, Heard, Outcome

if TYPE_CHECKING:
    from invalidator.channel import Channel, Orders
    from invalidator.supervision.accounts import Account

Watch = Callable[[Heard | Outcome | Dropped], None]
"""Called with each line for a tap."""
_PACKETS_AT_ONCE = 200
"""Of what a worker says, in one turn of the loop: the others have something to say too."""


class Contact:
    """The channel to one process, the orders that it has, and the account that it gives of itself."""

    def __init__(self, channel: Channel, orders: Orders, account: Account) -> None:
        """With the orders that it was forked with."""
        self.account = account
        self.orders = orders
        self._ordered = orders
        self._channel = channel

    def end(self) -> None:
        """It is gone."""
        self._channel.close()

    def fileno(self) -> int | None:
        """Readable when the process has something to say."""
        return None if self._channel.closed else self._channel.fileno()

    def hear(self, watch: Watch) -> int:
        """Take in some of what the process has said; lines for a tap go to `watch`. Returns how much that was."""
        count = 0
        if not self._channel.closed:
            for packet in self._channel.receive(_PACKETS_AT_ONCE):
                self.account.take(packet, watch)
                count += 1
        return count

    def hear_out(self, watch: Watch) -> None:
        """The process has ended: take in all that it has said."""
        while self.hear(watch):
            pass

    def order(self, orders: Orders) -> None:
        """Want something else of it from now on."""
        self.orders = orders
        self.repeat()

    def repeat(self) -> None:
        """Say again what there was no room for."""
        if self._ordered != self.orders and not self._channel.closed and self._channel.send(self.orders):
            self._ordered = self.orders

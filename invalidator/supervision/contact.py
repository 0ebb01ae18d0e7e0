"""What the supervisor and one worker say to each other, through all the processes that are that worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.channel import Orders
from invalidator.supervision.accounts import Account

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.channel import Channel, Dropped, Heard, Outcome
    from invalidator.supervision.accounts import Errors

_PACKETS_AT_ONCE = 200
"""Of what a worker says, in one turn of the loop: the others have something to say too."""


class Contact:
    """The channel to the process that there is, the orders that it has, and the account that it gave of itself."""

    def __init__(self, worker: str, errors: Errors) -> None:
        self.account = Account(worker, errors)
        self.orders = Orders()
        self._ordered = self.orders
        self._channel: Channel | None = None

    def begin(self, channel: Channel) -> None:
        """There is a process, which was forked with the orders that there were."""
        self._channel = channel
        self._ordered = self.orders

    def end(self) -> None:
        """It is gone. The orders stay, for its successor."""
        if self._channel:
            self._channel.close()
            self._channel = None
        self.account.forget()

    def fileno(self) -> int | None:
        """Readable when the process has something to say."""
        return self._channel.fileno() if self._channel and not self._channel.closed else None

    def hear(self, watch: Callable[[Heard | Outcome | Dropped], None]) -> None:
        """Take in what the process has said; lines for a tap go to `watch`."""
        if self._channel and not self._channel.closed:
            for packet in self._channel.receive(_PACKETS_AT_ONCE):
                self.account.take(packet, watch)

    def order(self, orders: Orders) -> None:
        """Want something else of it from now on, and of its successors."""
        self.orders = orders
        self.repeat()

    def repeat(self) -> None:
        """Say again what there was no room for."""
        if self._ordered != self.orders and self._channel and self._channel.send(self.orders):
            self._ordered = self.orders

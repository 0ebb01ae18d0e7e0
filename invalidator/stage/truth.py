"""What is true: the shop's database, reduced to one version number for each product, in a file that all map."""

from __future__ import annotations

import mmap
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = "product:"
_COUNTS = 2  # words before the versions


class Truth:
    """Versions by key (`product:17`), each from 0 up, and how publishing went.

    One process writes. A reader sees a version or its successor, never a mixture: each is one aligned word.
    """

    def __init__(self, words: memoryview[int]) -> None:
        self._words = words
        self.keys = tuple(f"{PREFIX}{number}" for number in range(len(words) - _COUNTS))

    def version(self, key: str) -> int:
        """The version of this key now. Raises ValueError or IndexError for what is no key."""
        return self._words[_COUNTS + int(key.removeprefix(PREFIX))]

    def change(self, key: str) -> None:
        """Commit a new version. It is published afterwards, never before: what is refilled in between would stay."""
        self._words[_COUNTS + int(key.removeprefix(PREFIX))] += 1

    @property
    def published(self) -> int:
        """How many changes Redis has confirmed to have published."""
        return self._words[0]

    @property
    def unheard(self) -> int:
        """How many of them found nobody subscribed, as Redis said."""
        return self._words[1]

    def count(self, receivers: int) -> None:
        """One more was published, to so many subscriptions."""
        self._words[0] += 1
        self._words[1] += not receivers


def create(path: Path, products: int) -> None:
    """A new file in which every version is 0."""
    path.write_bytes(bytes(8 * (_COUNTS + products)))


@contextmanager
def opened(path: Path) -> Iterator[Truth]:
    """The truth in this file, until the end of the block."""
    with (
        path.open("r+b") as file,
        mmap.mmap(file.fileno(), 0) as memory,
        memoryview(memory) as view,
        view.cast("Q") as words,
    ):
        yield Truth(words)

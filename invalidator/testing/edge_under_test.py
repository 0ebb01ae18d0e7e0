"""The fake of a vendor's API as the conformance suite sees it: its model of the edge is the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from invalidator.testing.cache import CacheUnderTest
from invalidator.testing.http_api import FakeApi

if TYPE_CHECKING:
    from collections.abc import Sequence

F = TypeVar("F", bound=FakeApi)


class EdgeUnderTest(CacheUnderTest, Generic[F]):
    """Subclass it for the plugin of a CDN: only `options` is yours, and `store` where a key is more than its URL."""

    template: ClassVar[str] = "https://shop.example/{key}"
    """The URL under which a key is cached."""

    def __init__(self, fake: F) -> None:
        self.fake = fake

    def store(self, key: str, tags: Sequence[str] = ()) -> None:
        """Put the key's URL into the edge."""
        self.fake.edge.put(self.url(key), tags=tags)

    def holds(self, key: str) -> bool:
        """Whether the edge has its URL."""
        return self.fake.edge.has(self.url(key))

    def fresh(self, key: str) -> bool:
        """Whether that is not marked stale."""
        return self.fake.edge.is_fresh(self.url(key))

    def url(self, key: str) -> str:
        """The URL, as it is: nothing is encoded."""
        return self.template.replace("{key}", key)

    def hang(self) -> None:
        """The API accepts, and answers nothing."""
        self.fake.suspend()

    def resume(self) -> None:
        """It answers again."""
        self.fake.resume()

    def stop(self) -> None:
        """It is gone."""
        self.fake.stop()

    def start(self) -> None:
        """It is back at its address, with an empty edge."""
        self.fake.start()

"""What the conformance suite must know of a real cache, to see from outside what a backend did to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from invalidator.backend import Backend
    from invalidator.messages import Kind


class CacheUnderTest:
    """A real cache, seen past the backend: put something in, look whether it is there. Subclass it for your plugin.

    Only `options` is needed. The suite skips what needs a method that is not overridden, and says which method it was;
    so start with `options`, `store` and `holds`, and read the skips to see what else could be proven.
    """

    secret: ClassVar[str] = ""
    """A text among the options that must never be shown: a password. Empty: there is none."""

    widens: ClassVar[Collection[Kind]] = ()
    """The kinds that may take more than they name, by design: their neighbours are not looked at."""

    def options(self) -> dict[str, Any]:
        """The options as a topology would have them, without `type`, for this very cache."""
        raise NotImplementedError

    def made(self, backends: Sequence[Backend]) -> None:
        """Each test's backends, as soon as they are made; for a cache that needs its backend in order to work."""

    def store(self, key: str, tags: Sequence[str] = ()) -> None:
        """Put something under `key`, belonging to `tags`: empty unless the backend declares the kind `tag`."""
        raise NotImplementedError

    def holds(self, key: str) -> bool:
        """Whether the cache would answer for `key` now."""
        raise NotImplementedError

    def fresh(self, key: str) -> bool:
        """Whether it would answer without saying that its answer is stale: what a soft purge ends."""
        return self.holds(key)

    def url(self, key: str) -> str:
        """The URL under which `key` is stored; for the kind `url`."""
        raise NotImplementedError

    def hang(self) -> None:
        """Make the server accept and answer nothing more, with its connections left open: SIGSTOP."""
        raise NotImplementedError

    def resume(self) -> None:
        """End what `hang` began. Called after every `hang`, also when the test failed."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the server, as a crash would."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it again at the same address, empty. Called after every `stop`, also when the test failed."""
        raise NotImplementedError

    def offers(self, *methods: str) -> bool:
        """Whether all of these methods are overridden."""
        return all(getattr(type(self), name) is not getattr(CacheUnderTest, name) for name in methods)

"""How the conformance suite asks: it makes a plugin's backends through the hooks, and puts batches to them."""

# ruff: noqa: S101 -- a suite of tests asserts

from __future__ import annotations

import select
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pluggy
import pytest

from invalidator import hookspecs
from invalidator.backend import Backend, BackendContext
from invalidator.errors import BackendError
from invalidator.messages import Batch, Failure, Target
from invalidator.testing.cache import CacheUnderTest  # noqa: TC001 -- part of this class for whoever subclasses it
from invalidator.testing.hostile import FOUND, OTHER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.backend import Sent
    from invalidator.messages import Kind
    from invalidator.options import BackendOptions


LONGEST_DEFERRAL = 30.0
"""Seconds. A backend that puts off what it is asked for must come to it within these."""


class Rig:
    """What the tests of BackendConformance stand on."""

    plugin: object
    """The module (or object) that has the hooks."""

    type_name: ClassVar[str]
    """The `type:` under test, as a topology would say it."""

    patience: ClassVar[float] = 10.0
    """Seconds that a purge may take when nothing is wrong."""

    many: ClassVar[int] = 10_000
    """Keys of a batch that is too large for any one call. Fewer only where each of them is a call of its own."""

    @pytest.fixture
    def cache(self) -> CacheUnderTest:
        """The real cache that the backend is to purge."""
        raise NotImplementedError("override the fixture `cache`")

    def _hooks(self) -> pluggy.HookRelay:
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(self.plugin)
        manager.check_pending()
        return manager.hook

    def _model(self) -> type[BackendOptions]:
        declared: dict[str, type[BackendOptions]] = {
            name: model for types in self._hooks().backend_types() for name, model in types.items()
        }
        assert self.type_name in declared, f"backend_types() declares {sorted(declared)}"
        return declared[self.type_name]

    def _options(self, cache: CacheUnderTest) -> BackendOptions:
        return self._model().model_validate(cache.options())

    def _make(self, cache: CacheUnderTest) -> Sequence[Backend]:
        context = BackendContext(worker="conformance", backend=self.type_name)
        made = self._hooks().make_backend(type=self.type_name, options=self._options(cache), context=context)
        backends = list(made) if isinstance(made, Sequence) else [made]
        assert backends
        assert all(isinstance(backend, Backend) for backend in backends)
        return backends

    @contextmanager
    def _made(self, cache: CacheUnderTest) -> Iterator[Sequence[Backend]]:
        backends = self._make(cache)
        try:
            cache.made(backends)
            yield backends
        finally:
            self._close(backends)

    @contextmanager
    def _stored(self, cache: CacheUnderTest, *keys: str) -> Iterator[Sequence[Backend]]:
        self._needs(cache, "store", "holds")
        tagged = "tag" in self._options(cache).kinds()
        with self._made(cache) as backends:
            give_up = time.monotonic() + self.patience
            missing: Sequence[str] = keys
            # What a server that hung in a test before this one is yet to purge may take a key with it.
            while missing and time.monotonic() < give_up:
                for key in missing:
                    cache.store(key, ["conformance-blue" if key == FOUND else "conformance-red"] if tagged else ())
                missing = [key for key in keys if not cache.holds(key)]
            assert missing == [], "the cache does not hold what was stored"
            yield backends

    def _check_kind(self, cache: CacheUnderTest, kind: Kind, **targets: Any) -> None:
        self._needs_kind(cache, kind)
        with self._stored(cache, FOUND, OTHER) as backends:
            assert purge(backends, self._batch(**targets)) == []
            assert not cache.holds(FOUND)
            assert kind in cache.widens or cache.holds(OTHER)

    def _batch(self, seconds: float | None = None, **targets: Any) -> Batch:
        deadline = time.monotonic() + (self.patience if seconds is None else seconds)
        return Batch(worker="conformance", backend=self.type_name, deadline=deadline, **targets)

    def _needs(self, cache: CacheUnderTest, *methods: str) -> None:
        missing = [name for name in methods if not cache.offers(name)]
        if missing:
            pytest.skip(f"{type(cache).__name__} does not offer {', '.join(f'{name}()' for name in missing)}")

    def _needs_kind(self, cache: CacheUnderTest, kind: Kind) -> None:
        if kind not in self._options(cache).kinds():
            pytest.skip(f"{self.type_name} with these options does not declare the kind {kind!r}")

    def _sending(self, backends: Sequence[Backend]) -> Sequence[Backend]:
        """These, connected: a backend sends only over what is there."""
        if any(type(backend).send is Backend.send for backend in backends):
            pytest.skip(f"{self.type_name} has no `send`")
        assert purge(backends, self._batch(keys=("conformance:never-stored",))) == []
        return backends

    def _sent(self, backend: Backend, batch: Batch) -> Sent:
        sent = backend.send(batch)
        assert sent, "a key is to be sent over a connection that is there"
        assert sent.fileno() >= 0
        return sent

    def _close(self, backends: Sequence[Backend]) -> None:
        for backend in backends:
            backend.close()


def purge(backends: Sequence[Backend], batch: Batch) -> list[Failure]:
    """The failures of all of them. Raises BackendError."""
    return [failure for backend in backends for failure in settled(backend, batch)]


def answered(backend: Backend, batch: Batch, sent: Sent | None) -> list[Failure]:
    """The failures of what was sent: as a lane does, this gives `purge` what nobody sends, or can say is purged."""
    try:
        while sent and not sent.is_answered():
            assert time.monotonic() < batch.deadline, "no answer in time"
            select.select([sent], [], [], max(0.0, batch.deadline - time.monotonic()))
    except BackendError:
        sent = None
    return [] if sent else settled(backend, batch)


def settled(backend: Backend, batch: Batch) -> list[Failure]:
    """The failures, once nothing is put off any more: like a lane, this asks again when the time has come."""
    failures: list[Failure] = []
    patience = time.monotonic() + LONGEST_DEFERRAL
    while time.monotonic() < patience:
        result = backend.purge(batch)
        failures += result.failures
        if not result.deferred:
            return failures
        batch = replace(batch, **_fields(result.deferred))
        threading.Event().wait(max(0.01, result.retry_after))
    raise AssertionError(f"put off for {LONGEST_DEFERRAL:g} s: {result.deferred[:3]}, retry after {result.retry_after}")


def _fields(targets: Sequence[Target]) -> dict[str, Any]:
    """These targets as the fields of a batch."""
    names: dict[Kind, str] = {"key": "keys", "tag": "tags", "prefix": "prefixes", "pattern": "patterns", "url": "urls"}
    fields: dict[str, Any] = {
        name: tuple(target.value for target in targets if target.kind == kind) for kind, name in names.items()
    }
    return {**fields, "all": any(target.kind == "all" for target in targets)}


def attempt(backends: Sequence[Backend], batch: Batch) -> list[Failure]:
    """The same, with a BackendError as one Failure of its first key for each backend."""
    failures: list[Failure] = []
    for backend in backends:
        try:
            failures += settled(backend, batch)
        except BackendError as error:
            failures.append(Failure(Target("key", batch.keys[0]), error.reason, retry=error.retry, detail=error.detail))
    return failures


@contextmanager
def suspended(cache: CacheUnderTest) -> Iterator[None]:
    cache.hang()
    try:
        yield
    finally:
        cache.resume()


@contextmanager
def stopped(cache: CacheUnderTest) -> Iterator[None]:
    cache.stop()
    try:
        yield
    finally:
        cache.start()

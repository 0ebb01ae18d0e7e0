"""The conformance suite itself: a sound plugin of a third party passes it, and each unsound one is found out."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import Field

from invalidator import Backend, BackendError, BackendOptions, Batch, Failure, PurgeResult, Target, hookimpl
from invalidator.options import Secret  # noqa: TC001 -- pydantic reads the annotations
from invalidator.testing import BackendConformance, CacheUnderTest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.messages import Kind


class Shelf:
    """A cache as an application might have it: in memory, with a door that can be shut or jammed."""

    def __init__(self) -> None:
        self.books: dict[str, str] = {}
        self.shut = False
        self.opens = threading.Event()
        self.opens.set()


class ShelfOptions(BackendOptions):
    shelf: Any = Field(repr=False, exclude=True)
    word: Secret

    def kinds(self) -> frozenset[Kind]:
        return frozenset({"key", "prefix", "all"})


class ShelfBackend(Backend):
    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def purge(self, batch: Batch) -> PurgeResult:
        self.enter(batch.deadline)
        for key in [key for key in self.shelf.books if self.names(batch, key)]:
            del self.shelf.books[key]
        return PurgeResult()

    def names(self, batch: Batch, key: str) -> bool:
        return batch.all or key in batch.keys or key.startswith(batch.prefixes)

    def enter(self, deadline: float) -> None:
        if self.shelf.shut:
            raise BackendError("unreachable", "the door is shut")
        if not self.shelf.opens.wait(max(0.0, deadline - time.monotonic())):
            raise BackendError("timeout", "the door is jammed")

    def connect(self) -> None:
        self.enter(time.monotonic())


class ShelfPlugin:
    """The hooks, in an object instead of a module so that a test can say which backend they make."""

    def __init__(self, backend: type[ShelfBackend] = ShelfBackend, model: type[BackendOptions] = ShelfOptions) -> None:
        self.backend = backend
        self.model = model

    @hookimpl
    def backend_types(self) -> dict[str, type[BackendOptions]]:
        return {"shelf": self.model}

    @hookimpl
    def make_backend(self, type: str, options: Any) -> Sequence[Backend] | None:  # noqa: A002
        return [self.backend(options.shelf)] if type == "shelf" else None


class ShelfUnderTest(CacheUnderTest):
    secret = "open-sesame"

    def __init__(self) -> None:
        self.shelf = Shelf()

    def options(self) -> dict[str, Any]:
        return {"shelf": self.shelf, "word": self.secret}

    def store(self, key: str, tags: Sequence[str] = ()) -> None:
        del tags
        self.shelf.books[key] = "a book"

    def holds(self, key: str) -> bool:
        return key in self.shelf.books

    def hang(self) -> None:
        self.shelf.opens.clear()

    def resume(self) -> None:
        self.shelf.opens.set()

    def stop(self) -> None:
        self.shelf.shut = True

    def start(self) -> None:
        self.shelf.shut = False
        self.shelf.books.clear()


class TestShelfConforms(BackendConformance):
    plugin = ShelfPlugin()
    type_name = "shelf"

    @pytest.fixture
    def cache(self) -> CacheUnderTest:
        return ShelfUnderTest()


class Post:
    """A letter to the librarian."""

    def __init__(self, backend: Posting, batch: Batch) -> None:
        self.backend = backend
        self.batch = batch

    def fileno(self) -> int:
        return 0

    def is_answered(self) -> bool:
        return self.backend.shelf.opens.is_set() and self.backend.purge(self.batch) == PurgeResult()

    def wait(self) -> PurgeResult:
        return self.backend.purge(self.batch)


class Posting(ShelfBackend):
    post: type[Post] = Post

    def send(self, batch: Batch) -> Post:
        return self.post(self, batch)


class Unread(Post):
    def is_answered(self) -> bool:
        return True


class Forgetful(Posting):
    post = Unread


class Awaited(Post):
    def is_answered(self) -> bool:
        return self.backend.shelf.opens.wait(0.3) and super().is_answered()


class Dawdling(Posting):
    post = Awaited


class Overdue(Post):
    def wait(self) -> PurgeResult:
        self.backend.enter(self.batch.deadline + 0.7)
        return super().wait()


class Patient(Posting):
    post = Overdue


class Idle(ShelfBackend):
    def names(self, batch: Batch, key: str) -> bool:
        del batch, key
        return False


class Greedy(ShelfBackend):
    def names(self, batch: Batch, key: str) -> bool:
        del batch, key
        return True


class Globbing(ShelfBackend):
    def names(self, batch: Batch, key: str) -> bool:
        return super().names(batch, key) or any("*" in prefix for prefix in batch.prefixes)


class Stubborn(ShelfBackend):
    def purge(self, batch: Batch) -> PurgeResult:
        super().purge(batch)
        unsafe = [key for key in batch.keys if not key.isalnum() and "users" not in key]
        return PurgeResult(tuple(Failure(Target("key", key), "unsafe") for key in unsafe))


class Late(ShelfBackend):
    def enter(self, deadline: float) -> None:
        super().enter(deadline + 1.0)


class Hopeless(ShelfBackend):
    def enter(self, deadline: float) -> None:
        del deadline
        if self.shelf.shut or not self.shelf.opens.is_set():
            raise BackendError("unreachable", "never again", retry=False)


class Talkative(ShelfBackend):
    def enter(self, deadline: float) -> None:
        del deadline
        if self.shelf.shut:
            raise BackendError("unreachable", f"with the word {ShelfUnderTest.secret}")


class Blind(ShelfBackend):
    def connect(self) -> None:
        pass


class Burning(ShelfBackend):
    def connect(self) -> None:
        self.shelf.books.clear()


class Impatient(ShelfBackend):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.enter(0.0)


class Fragile(ShelfBackend):
    def close(self) -> None:
        del self.shelf


class Careless(ShelfOptions, extra="ignore"):
    pass


class Gossip(ShelfOptions):
    word: Any


class Boastful(ShelfOptions):
    def soft_kinds(self) -> frozenset[Kind]:
        return frozenset({"tag"})


UNSOUND: list[tuple[ShelfPlugin, str]] = [
    (ShelfPlugin(Idle), "test_a_purged_key_is_gone_and_its_neighbour_is_not"),
    (ShelfPlugin(Idle), "test_all_takes_everything"),
    (ShelfPlugin(Idle), "test_thousands_of_keys_go_in_one_batch"),
    (ShelfPlugin(Idle), "test_a_server_that_hung_in_the_middle_is_purged_when_it_resumes"),
    (ShelfPlugin(Greedy), "test_a_purged_key_is_gone_and_its_neighbour_is_not"),
    (ShelfPlugin(Greedy), "test_a_purged_prefix_takes_what_begins_with_it_alone"),
    (ShelfPlugin(Greedy), "test_all_hostile_keys_at_once_harm_nobody"),
    (ShelfPlugin(Globbing), "test_a_prefix_is_literal_where_it_looks_like_a_pattern"),
    (ShelfPlugin(Stubborn), "test_purging_what_is_not_there_succeeds"),
    (ShelfPlugin(Late), "test_the_deadline_is_honoured_while_the_server_hangs"),
    (ShelfPlugin(Forgetful), "test_what_is_sent_is_purged_and_its_neighbour_is_not"),
    (ShelfPlugin(Forgetful), "test_hostile_keys_that_are_sent_harm_nobody"),
    (ShelfPlugin(Dawdling), "test_while_the_server_hangs_only_a_wait_waits_and_no_longer_than_the_deadline"),
    (ShelfPlugin(Patient), "test_while_the_server_hangs_only_a_wait_waits_and_no_longer_than_the_deadline"),
    (ShelfPlugin(Hopeless), "test_the_deadline_is_honoured_while_the_server_hangs"),
    (ShelfPlugin(Hopeless), "test_a_server_that_is_away_is_reported_at_once_and_purged_when_it_is_back"),
    (ShelfPlugin(Talkative), "test_a_server_that_is_away_is_reported_at_once_and_purged_when_it_is_back"),
    (ShelfPlugin(Blind), "test_connect_says_when_the_server_is_away"),
    (ShelfPlugin(Burning), "test_connect_proves_that_a_purge_could_work_and_purges_nothing"),
    (ShelfPlugin(Impatient), "test_making_a_backend_contacts_nothing"),
    (ShelfPlugin(Fragile), "test_closing_twice_is_closing"),
    (ShelfPlugin(model=Careless), "test_the_options_take_the_example_and_no_unknown_name"),
    (ShelfPlugin(model=Gossip), "test_no_secret_is_ever_shown"),
    (ShelfPlugin(model=Boastful), "test_the_kinds_are_kinds_and_the_default_flush_is_one_of_them"),
]


def described(value: object) -> str:
    return f"{value.backend.__name__}-{value.model.__name__}" if isinstance(value, ShelfPlugin) else str(value)


@pytest.mark.parametrize(("plugin", "name"), UNSOUND, ids=described)
def test_an_unsound_backend_is_found_out(plugin: ShelfPlugin, name: str) -> None:
    suite: Any = TestShelfConforms()
    suite.plugin = plugin
    with pytest.raises((AssertionError, AttributeError, BackendError, pytest.fail.Exception)):
        getattr(suite, name)(ShelfUnderTest())


@pytest.mark.parametrize("name", sorted({name for plugin, name in UNSOUND if issubclass(plugin.backend, Posting)}))
def test_a_sound_backend_that_sends_passes(name: str) -> None:
    suite: Any = TestShelfConforms()
    suite.plugin = ShelfPlugin(Posting)
    getattr(suite, name)(ShelfUnderTest())


def test_a_hostile_key_that_is_tried_for_ever_is_found_out() -> None:
    suite: Any = TestShelfConforms()
    suite.plugin = ShelfPlugin(Stubborn)
    with pytest.raises(AssertionError, match="tried for ever"):
        suite.test_a_hostile_key_harms_nobody(ShelfUnderTest(), "a b")


def test_what_a_cache_cannot_show_is_skipped_with_the_reason() -> None:
    class Opaque(CacheUnderTest):
        def options(self) -> dict[str, Any]:
            return {"shelf": Shelf(), "word": "x"}

    suite = TestShelfConforms()
    with pytest.raises(pytest.skip.Exception, match=r"Opaque does not offer store\(\), holds\(\)"):
        suite.test_a_purged_key_is_gone_and_its_neighbour_is_not(Opaque())
    with pytest.raises(pytest.skip.Exception, match=r"Opaque does not offer stop\(\), start\(\)"):
        suite.test_making_a_backend_contacts_nothing(Opaque())
    with pytest.raises(pytest.skip.Exception, match="shelf has no `send`"):
        suite.test_what_is_sent_is_purged_and_its_neighbour_is_not(ShelfUnderTest())
    with pytest.raises(pytest.skip.Exception, match="does not declare the kind 'tag'"):
        suite.test_a_purged_tag_takes_what_belongs_to_it_alone(ShelfUnderTest())

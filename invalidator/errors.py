"""Every error that we raise on purpose. Each knows the exit code that a command ends with when nobody catches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.messages import FailureReason, Invalidation, RejectReason

EXIT_OK = 0
EXIT_VERDICT_NO = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 69
EXIT_BUG = 70
EXIT_CONFIG = 78


class InvalidatorError(Exception):
    """The root of our errors. One of this very class is a bug of ours."""

    exit_code = EXIT_BUG


class Problem(NamedTuple):
    """One thing that is wrong with a topology. `line` and `column` count from 1; 0 where there is no place to name."""

    file: str
    line: int
    column: int
    path: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.text}" if self.path else f"{place}: {self.text}"


class ConfigError(InvalidatorError):
    """The topology is wrong: all of its problems at once, in the order of the file."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class PluginError(InvalidatorError):
    """A plugin cannot be loaded, or does not do what its hooks promise."""

    exit_code = EXIT_CONFIG


class UnreachableError(InvalidatorError):
    """Redis, a backend or the daemon cannot be reached. The text says which, where, and what to try."""

    exit_code = EXIT_UNREACHABLE


class PublishError(InvalidatorError, ValueError):
    """What was to be published is not something that a subscriber could take. Nothing was sent."""

    exit_code = 2


class DecodeError(InvalidatorError):
    """A payload that says nothing we may act on: counted by `reason`, and never more than that.

    `message` is what it says apart from its targets, as far as it could be read: somebody may wait for an answer.
    """

    def __init__(self, reason: RejectReason, detail: str = "", message: Invalidation | None = None) -> None:
        self.reason = reason
        self.message = message
        super().__init__(f"{reason}: {detail}" if detail else reason)


class BackendError(InvalidatorError):
    """A backend did not purge any of a batch. `retry`: asking again may help; `retry_after`: when (seconds)."""

    exit_code = EXIT_UNREACHABLE

    def __init__(
        self, reason: FailureReason, detail: str = "", *, retry: bool = True, retry_after: float = 0.0
    ) -> None:
        self.reason = reason
        self.detail = detail
        self.retry = retry
        self.retry_after = retry_after
        super().__init__(f"{reason}: {detail}" if detail else reason)

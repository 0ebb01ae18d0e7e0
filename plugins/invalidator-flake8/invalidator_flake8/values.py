"""What an expression is known to be. None stands for everything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ast
    from collections.abc import Mapping

    from invalidator_flake8.catalogue import Kind
    from invalidator_flake8.scopes import Scope


@dataclass(frozen=True, slots=True)
class Dotted:
    """What an import says that a name is; with `()` behind it, what calling that gives."""

    path: str


@dataclass(frozen=True, slots=True)
class Options:
    """What a client is made with. `is_open`: with more than can be seen here."""

    given: Mapping[str, ast.expr] = field(default_factory=dict)
    is_open: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """A client, a pool or a Sentinel. `call` made it; None: an annotation says that it is one."""

    kind: Kind
    name: str
    is_async: bool
    options: Options = field(default_factory=Options)
    call: ast.Call | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """A PubSub. `is_async` is None where nobody says which of the two it is."""

    client: Client | None = None
    is_async: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Listening:
    """What `listen()` returns: the generator of messages."""

    subscription: Subscription
    call: ast.Call


@dataclass(frozen=True, slots=True, eq=False)
class RetryPolicy:
    """`gives_up` is None where that cannot be seen."""

    gives_up: bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """An attribute of something, not called yet."""

    owner: Value
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """A class of this file, or an object of it: for a linter they have the same attributes."""

    scope: Scope


@dataclass(frozen=True, slots=True, eq=False)
class Routine:
    """A function of this file, by what it returns or yields, and is annotated to."""

    scope: Scope
    annotation: ast.expr | None
    is_property: bool


Value = Dotted | Client | Subscription | Listening | RetryPolicy | Method | Own | Routine | None


@dataclass(frozen=True, slots=True)
class Callee:
    """What is called: a dotted path, if imports tell it, or `name` of `owner`."""

    name: str
    owner: Value = None
    path: str = ""

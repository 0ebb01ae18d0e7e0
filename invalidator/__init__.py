"""invalidator keeps caches coherent across services: Redis Pub/Sub in, purged caches out.

This module is what applications and plugins import. It is light: each name is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invalidator.backend import Backend, BackendContext
    from invalidator.errors import BackendError, DecodeError, InvalidatorError, PublishError, UnreachableError
    from invalidator.hookspecs import hookimpl
    from invalidator.messages import Batch, Failure, Gap, Invalidation, Message, PurgeResult, Target
    from invalidator.options import BackendOptions
    from invalidator.publisher import Publisher

__version__ = "0.1.0"

_HOME = {
    "Backend": "backend",
    "BackendContext": "backend",
    "BackendError": "errors",
    "BackendOptions": "options",
    "Batch": "messages",
    "DecodeError": "errors",
    "Failure": "messages",
    "Gap": "messages",
    "Invalidation": "messages",
    "InvalidatorError": "errors",
    "Message": "messages",
    "PublishError": "errors",
    "Publisher": "publisher",
    "PurgeResult": "messages",
    "Target": "messages",
    "UnreachableError": "errors",
    "hookimpl": "hookspecs",
}

__all__ = [
    "Backend",
    "BackendContext",
    "BackendError",
    "BackendOptions",
    "Batch",
    "DecodeError",
    "Failure",
    "Gap",
    "Invalidation",
    "InvalidatorError",
    "Message",
    "PublishError",
    "Publisher",
    "PurgeResult",
    "Target",
    "UnreachableError",
    "hookimpl",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"invalidator.{_HOME[name]}"), name)

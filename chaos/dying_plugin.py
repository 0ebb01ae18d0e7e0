"""A plugin: a backend with which no worker lives to its first message."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from invalidator import Backend, BackendOptions, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping


@hookimpl
def backend_types() -> Mapping[str, type[BackendOptions]]:
    """See hookspecs."""
    return {"dying": BackendOptions}


@hookimpl
def make_backend(type: str) -> Backend | None:  # noqa: A002 -- the hook's word
    """Made in the worker's process, after the fork; and that is its end."""
    if type == "dying":
        os._exit(3)
    return None

"""The programs of this machine, an administrator's included: their folders are not on everybody's PATH."""

from __future__ import annotations

import os
import shutil


def path() -> str:
    """Where to look."""
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def find(name: str) -> str | None:
    """Where it is; None if it is not on this machine."""
    return shutil.which(name, path=path())

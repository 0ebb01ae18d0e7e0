"""A file that holds a secret: a password, a token, a credential of systemd."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_SECRET = 64 << 10


def read_password(path: Path) -> str:
    """The password that a file holds, without the end of its line. Raises as `read_secret`, and UnicodeDecodeError."""
    return read_secret(path).decode().strip("\r\n")


def read_secret(path: Path) -> bytes:
    """What is in it. Raises OSError, also for what is no regular file, or larger than LONGEST_SECRET.

    A FIFO or a device could keep whoever reads it waiting for ever, at its opening already: so it is opened without
    waiting, and looked at before it is read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(LONGEST_SECRET + 1)
    finally:
        os.close(descriptor)
    if len(data) > LONGEST_SECRET:
        raise OSError(errno.EFBIG, f"larger than {LONGEST_SECRET >> 10} KiB: this cannot be a secret", str(path))
    return data

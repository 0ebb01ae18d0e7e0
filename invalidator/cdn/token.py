"""The API token: from the topology, or from a file that is read anew each time, so that it can be rotated."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from invalidator.cdn.vendor import CUT
from invalidator.errors import BackendError
from invalidator.secret_file import read_secret

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST = 4096
_TELLING = 4
"""Characters: fewer of a token tell nobody anything, and stand in many a word."""
_WORD = re.compile(rf"[!-~]{{1,{_LONGEST}}}", re.ASCII)


def read_token(token: str | None, file: Path | None) -> str:
    """The token as it is now. Raises BackendError, in which neither it nor the file's contents are named."""
    if file is None:
        return checked(token or "", "token")
    try:
        data = read_secret(file)
    except OSError as error:
        # To be tried again: whoever rotates a token may remove the file for a moment.
        raise BackendError("auth", f"token_file cannot be read: {error.strerror}", retry_after=1.0) from error
    return checked(data.decode("latin-1").strip(), "token_file")


def redacted(text: str, token: str) -> str:
    """The text without the token, nor its beginning where the text was cut off within it."""
    text = text.replace(token, "***")
    for size in range(len(token) - 1, _TELLING - 1, -1):
        text = text.replace(token[:size] + CUT, f"***{CUT}")
    return text


def checked(text: str, name: str) -> str:
    """The text, if a header can hold it as a token. Raises BackendError."""
    if not _WORD.fullmatch(text):
        raise BackendError("auth", f"{name} holds no token: one word of visible ASCII", retry_after=1.0)
    return text

"""Where the daemon of a topology is to be found. A file that is wrong just now must not hide a daemon that runs.

So nothing is checked here, no plugin is loaded, and no secret is needed.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from invalidator.errors import ConfigError, Problem
from invalidator.topology.interpolation import Sources, interpolate
from invalidator.topology.nodes import Mark, Scalar, child
from invalidator.topology.strict_yaml import MAX_BYTES, SyntaxFault, compose, decode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from invalidator.topology.nodes import Node

_SETTING = ("supervisor", "control_socket")
_WRITTEN = re.compile(r"""(?m)^[^#\n]*\bcontrol_socket["']?\s*:\s*(?:"([^"\n]+)"|'([^'\n]+)'|([^\s#,}"']+))""")
_WAY_OUT = "--socket PATH finds the daemon without it"


def control_socket_of(file: Path, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The control socket that a topology names, even if it is right in nothing else; None: it names none.

    Raises ConfigError if the file cannot be read, or if it takes the path from where there is nothing.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _problem(file, f"cannot be read: {error.strerror}; {_WAY_OUT}") from None
    node = _node(data)
    if node is None:
        return None
    filled, faults = interpolate(node, Sources(environ, file.parent))
    if faults:
        raise _problem(file, f"{faults[0].text}; {_WAY_OUT}")
    if not isinstance(filled, Scalar) or not isinstance(filled.value, str) or not filled.value:
        return None
    return file.absolute().parent / filled.value


def _node(data: bytes) -> Node | None:
    try:
        root, _ = compose(decode(data))
    except SyntaxFault:
        match = _WRITTEN.search(data.decode("utf-8", "replace"))
        return Scalar(next(filter(None, match.groups())), Mark(1, 1)) if match else None
    for step in _SETTING:
        root = child(root, step)
    return root


def _problem(file: Path, text: str) -> ConfigError:
    return ConfigError([Problem(str(file), 0, 0, ".".join(_SETTING), text)])

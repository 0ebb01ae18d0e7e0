"""Where the daemon of a topology is to be found. A file that is wrong just now must not hide a daemon that runs.

So nothing of the file is checked here, no plugin is loaded, and no secret is needed.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

from invalidator.control.client import AbsentError, Client
from invalidator.control.protocol import Ping
from invalidator.errors import ConfigError, Problem, UnreachableError
from invalidator.screen.text import visible
from invalidator.topology import places
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


def find(file: Path, environ: Mapping[str, str] = os.environ) -> Client:
    """A connection to the daemon that runs this topology: at the socket that it names, or else where one may be.

    The socket that it names may not be in force yet. Raises ConfigError for a file that cannot be read, and
    UnreachableError with every place where the daemon was looked for.
    """
    own = control_socket_of(file, environ)
    usual = places.control_sockets(file, environ, root=os.geteuid() == 0)
    absent, others = [], []
    for path in dict.fromkeys((own, *usual) if own else usual):
        try:
            return _met(path, file)
        except AbsentError:
            absent.append(str(path))
        except UnreachableError as error:
            if path == own:
                raise  # it is this one's place, whatever is wrong there
            others.append(str(error))
    said = [f"no daemon of {file} has a socket at {' or '.join(absent)}"] if absent else []
    raise UnreachableError("; ".join([*said, *others, "if it runs elsewhere, --socket PATH finds it"]))


def _met(path: Path, file: Path) -> Client:
    """A connection to the daemon at `path`, which has said that it runs this topology."""
    with ExitStack() as unless_met:
        client = unless_met.enter_context(Client(path))
        answer = client.ask(Ping(file=str(file.resolve())))
        if not answer.ok:
            raise UnreachableError(f"{path}: {visible(answer.error)}")
        unless_met.pop_all()
    return client


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

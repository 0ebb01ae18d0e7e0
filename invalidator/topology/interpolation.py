"""`${…}` in the topology's texts: environment variables, files, and systemd's credentials.

Only the leaves are replaced, and only once the file is parsed: no value can add a key, a line or another `${`. What is
filled in is hidden from then on, because it may be a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.secret_file import read_secret
from invalidator.topology.nodes import Fault, Mapping, Node, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Mapping as Environment

    from invalidator.topology.nodes import Path as Place

_PLACE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_CONTROL = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where values come from: the environment, and the folder that relative paths start from."""

    environ: Environment[str, str]
    base: Path

    def value(self, reference: str) -> str:
        """What `${reference}` stands for; raises ValueError with the reason why it stands for nothing."""
        if reference.startswith("file:"):
            return self._file(self.base / reference.removeprefix("file:"))
        if reference.startswith("cred:"):
            return self._credential(reference.removeprefix("cred:"))
        match = _VARIABLE.fullmatch(reference)
        if match is None:
            raise ValueError("write ${NAME}, ${NAME:-default}, ${file:/path} or ${cred:name}, or $${ for a plain ${")
        name, default = match[1], match[2]
        value = self.environ.get(name, "")
        if value or (name in self.environ and default is None):
            return value
        if default is None:
            raise ValueError(f"the environment variable {name} is not set")
        return default

    def _credential(self, name: str) -> str:
        directory = self.environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise ValueError("there is no $CREDENTIALS_DIRECTORY: systemd sets it for LoadCredential=")
        if not name or "/" in name or name in {".", ".."}:
            raise ValueError("a credential is named without slashes")
        return self._file(Path(directory, name))

    def _file(self, path: Path) -> str:
        try:
            data = read_secret(path)
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot be read: {getattr(error, 'strerror', None) or 'not a path'}") from None
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("is not a text in UTF-8") from None
        return text.removesuffix("\n").removesuffix("\r")


def interpolate(root: Node | None, sources: Sources) -> tuple[Node | None, list[Fault]]:
    """The same values with every `${…}` filled in, and what could not be."""
    faults: list[Fault] = []
    return _filled(root, (), sources, faults) if root else None, faults


def _filled(node: Node, path: Place, sources: Sources, faults: list[Fault]) -> Node:
    match node:
        case Mapping():
            for key, mark in node.keys.items():
                if "${" in key:
                    faults.append(Fault(mark, (*path, key), "is a key: ${ is filled in for values alone"))
            items = {key: _filled(value, (*path, key), sources, faults) for key, value in node.items.items()}
            return replace(node, items=items)
        case Sequence():
            filled = [_filled(item, (*path, index), sources, faults) for index, item in enumerate(node.items)]
            return replace(node, items=filled)
        case Scalar(value=str(text)) if "${" in text:
            return _filled_text(node, text, path, sources, faults)
    return node


def _filled_text(node: Scalar, text: str, path: Place, sources: Sources, faults: list[Fault]) -> Scalar:
    hidden = False

    def fill(match: re.Match[str]) -> str:
        nonlocal hidden
        if match[0] == "$${":
            return "${"
        if match[1] is None:
            raise ValueError("${ without its }; write $${ for a plain ${")
        hidden = True
        try:
            value = sources.value(match[1])
        except ValueError as error:
            raise ValueError(f"{match[0][:80]}: {error}") from None
        if _CONTROL.search(value):
            raise ValueError(f"{match[0][:80]}: the value has a line break or a control character in it")
        return value

    try:
        value = _PLACE.sub(fill, text)
    except ValueError as error:
        faults.append(Fault(node.mark, path, str(error)))
        value = ""
    return replace(node, value=value, hidden=hidden)

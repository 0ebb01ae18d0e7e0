"""where.py: a daemon is found by its topology, however wrong that is just now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from invalidator.control.where import control_socket_of
from invalidator.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("supervisor: {control_socket: /run/x.sock}", "/run/x.sock"),
        ("supervisor:\n  control_socket: c.sock\nredis: {url: '${NOT_SET}'}\n", "c.sock"),
        ("supervisor: {control_socket: '${PLACE}/c.sock'}\nbackends: {a: {password: '${cred:none}'}}", "/there/c.sock"),
        ("supervisor: {control_socket: /run/x.sock, control_socket: /run/x.sock}\nnonsense: 1", "/run/x.sock"),
        ("supervisor: {control_socket: /run/x.sock}\nworkers: [", "/run/x.sock"),
        ("supervisor:\n  control_socket: '/run/a b.sock'  # here\n  x: [}", "/run/a b.sock"),
        ('supervisor:\n  # control_socket: /run/old.sock\n  control_socket: "/run/new.sock"\n\x00', "/run/new.sock"),
        ("supervisor: {metrics: null}\nworkers: [", None),
        ("supervisor: [1]", None),
        ("supervisor: {control_socket: 12}", None),
        ("", None),
        ("workers: [", None),
    ],
)
def test_the_socket_is_read_from_a_file_that_is_right_in_nothing_else(
    tmp_path: Path, text: str, found: str | None
) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(text)

    assert control_socket_of(file, {"PLACE": "/there"}) == (None if found is None else tmp_path / found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file or directory; --socket PATH finds the daemon without it"),
        ("supervisor: {control_socket: '${NOT_SET}'}", "the environment variable NOT_SET is not set; --socket PATH"),
    ],
)
def test_what_cannot_be_known_is_said_with_the_way_out(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "t.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as error:
        control_socket_of(file, {})

    assert said in str(error.value)

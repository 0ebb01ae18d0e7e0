"""`${…}`: what is filled in, from where, and that it never shows again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.secret_file import LONGEST_SECRET
from invalidator.topology.interpolation import Sources, interpolate
from invalidator.topology.nodes import plain, scalars
from invalidator.topology.strict_yaml import compose

HERE = Path("/nowhere")


def filled(text: str, environ: dict[str, str] | None = None, base: Path = HERE) -> object:
    root, faults = compose(text)
    assert not faults
    root, faults = interpolate(root, Sources(environ or {}, base))
    assert [fault.text for fault in faults] == []
    return plain(root)


def faults_of(text: str, environ: dict[str, str] | None = None, base: Path = HERE) -> list[str]:
    root, _ = compose(text)
    _, faults = interpolate(root, Sources(environ or {}, base))
    return [f"{fault.mark.line}:{fault.mark.column}: {fault.text}" for fault in faults]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${HOST}", "db.example"),
        ("redis://${HOST}:${PORT}/0", "redis://db.example:6379/0"),
        ("${NONE:-redis://127.0.0.1}", "redis://127.0.0.1"),
        ("${EMPTY:-full}", "full"),
        ("${EMPTY}", ""),
        ("${HOST:-other}", "db.example"),
        ("$${HOST}", "${HOST}"),
        ("$$${HOST}", "$${HOST}"),
        ("$HOST and $ and $$", "$HOST and $ and $$"),
        ("${SNEAKY}", "a: ${HOST}"),
    ],
)
def test_a_text_is_filled_in(text: str, value: str) -> None:
    environ = {"HOST": "db.example", "PORT": "6379", "EMPTY": "", "SNEAKY": "a: ${HOST}"}
    assert filled(f'a: "{text}"', environ) == {"a": value}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("${NONE}", "${NONE}: the environment variable NONE is not set"),
        ("${a b}", "${a b}: write ${NAME}, ${NAME:-default}, ${file:/path} or ${cred:name}, or $${ for a plain ${"),
        ("${}", "${}: write ${NAME}, ${NAME:-default}, ${file:/path} or ${cred:name}, or $${ for a plain ${"),
        ("x${", "${ without its }; write $${ for a plain ${"),
        ("${HOST", "${ without its }; write $${ for a plain ${"),
        ("${LINES}", "${LINES}: the value has a line break or a control character in it"),
        ("${file:/nowhere/at/all}", "${file:/nowhere/at/all}: cannot be read: No such file or directory"),
        ("${cred:token}", "${cred:token}: there is no $CREDENTIALS_DIRECTORY: systemd sets it for LoadCredential="),
    ],
)
def test_what_cannot_be_filled_in_is_a_fault_with_its_place(text: str, fault: str) -> None:
    assert faults_of(f'b: 1\na: "{text}"', {"LINES": "a\nb"}) == [f"2:4: {fault}"]


def test_a_key_is_never_filled_in() -> None:
    assert faults_of('"${HOST}": 1', {"HOST": "x"}) == ["1:1: is a key: ${ is filled in for values alone"]


def test_a_number_or_a_boolean_is_no_text_to_fill_in() -> None:
    assert filled("a: [1, true, null]") == {"a": [1, True, None]}


def test_a_file_brings_its_text_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    assert filled('a: "x${file:secret}y"', base=tmp_path) == {"a": "xhunter2y"}
    assert filled(f'a: "${{file:{tmp_path}/secret}}"') == {"a": "hunter2"}


@pytest.mark.parametrize("content", [b"two\nlines\n", b"nul\0", b"\xff", b"x" * (LONGEST_SECRET + 1)])
def test_a_file_that_is_no_secret_is_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    (fault,) = faults_of('a: "${file:secret}"', base=tmp_path)
    assert "two" not in fault
    assert "nul" not in fault


@pytest.mark.timeout(10)
def test_a_fifo_where_a_secret_should_be_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "secret")
    (fault,) = faults_of('a: "${file:secret}"', base=tmp_path)
    assert fault.endswith("cannot be read: not a regular file")


def test_a_credential_comes_from_systemd_s_folder_and_from_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert filled('a: "${cred:token}"', environ) == {"a": "hunter2"}
    for name in ("../token", "/etc/passwd", "..", ""):
        assert faults_of(f'a: "${{cred:{name}}}"', environ) == [
            f"1:4: ${{cred:{name}}}: a credential is named without slashes"
        ]


def test_what_was_filled_in_is_hidden_and_nothing_else_is() -> None:
    root, _ = compose('a: ["${X}", plain, "$${X}", "${NONE:-default}"]')
    root, _ = interpolate(root, Sources({"X": "secret"}, HERE))
    assert [scalar.value for scalar in scalars(root) if scalar.hidden] == ["secret", "default"]


@given(st.text(alphabet="${}:-aX/. file cred", max_size=40))
def test_no_text_ends_in_anything_but_a_value_or_a_fault(text: str) -> None:
    root, _ = compose("a: x")
    assert root is not None
    for scalar in scalars(root):
        interpolate(type(scalar)(text, scalar.mark), Sources({"X": "1", "a": "2"}, HERE))


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=40))
def test_a_value_is_taken_as_it_is_whatever_is_in_it(value: str) -> None:
    assert filled('a: "${X}"', {"X": value}) == {"a": value}

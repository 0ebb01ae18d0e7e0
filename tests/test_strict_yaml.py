"""The strict reader of YAML: what it reads, what it refuses and where, and that no bytes can do worse."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from invalidator.topology.nodes import plain
from invalidator.topology.scalars import Ambiguous, resolve
from invalidator.topology.strict_yaml import MAX_BYTES, MAX_DEPTH, SyntaxFault, compose, decode


def faults_of(data: str | bytes) -> list[str]:
    """Everything that is wrong, as `line:column: text`."""
    try:
        _, faults = compose(decode(data.encode() if isinstance(data, str) else data))
    except SyntaxFault as error:
        faults = [error.fault]
    return [f"{fault.mark.line}:{fault.mark.column}: {fault.text}" for fault in faults]


def read(text: str) -> Any:
    root, faults = compose(decode(text.encode()))
    assert not faults
    return plain(root)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("a: 1\nb: 2\na: 3\n", ["3:1: is here for the second time; first in line 1"]),
        ("a: {b: 1, b: 2}\n", ["1:11: is here for the second time; first in line 1"]),
        ("a: yes\n", ['1:4: yes is a boolean to some readers: write true, or "yes" in quotes']),
        ("a: Off\n", ['1:4: Off is a boolean to some readers: write false, or "Off" in quotes']),
        ("on: 1\n", ['1:1: on is a boolean to some readers: write true, or "on" in quotes']),
        ("a: 012\n", ["1:4: 012 is octal to some readers: drop the leading zero, or put it in quotes"]),
        ("a: 0o14\n", ["1:4: 0o14 is not a decimal number: write one, or put it in quotes"]),
        ("a: 0x1F\n", ["1:4: 0x1F is not a decimal number: write one, or put it in quotes"]),
        ("a: 12:30:00\n", ["1:4: 12:30:00 is a number in base 60 to some readers: put it in quotes"]),
        ("a: 1_000\n", ["1:4: 1_000 is not a number to all readers: write it in plain digits, or put it in quotes"]),
        ("a: 1e3\n", ["1:4: 1e3 is not a number to all readers: write it in plain digits, or put it in quotes"]),
        ("a: .inf\n", ["1:4: .inf is not a number that a setting can have"]),
        ("a: 2026-01-01\n", ["1:4: 2026-01-01 is a date to some readers: put it in quotes"]),
        ("1: a\n", ["1:1: a key must be a text: write it in quotes"]),
        ("? [a]\n: b\n", ["1:3: a key must be a text, not a list or a mapping"]),
        ("a: &x 1\n*x : 2\n", ["2:1: a key cannot be an alias: write it out"]),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", ["3:3: merge keys (<<) are not read: write the settings out"]),
        ("a: !!str 1\n", ["1:4: the tag 'tag:yaml.org,2002:str' is not read: write the value without it"]),
        ("a: *x\n", ["1:4: the alias *x has no anchor before it"]),
        ("a: &x [*x]\n", ["1:8: the alias *x contains itself"]),
        ("a: 1\n---\nb: 2\n", ["2:1: a second document starts here: a topology is one document"]),
        ("a:\n\t- b\n", ["2:1: a tab: indent with spaces"]),
        ("a: b: c\n", ["1:5: a second ': ' in one line: put the value in quotes"]),
        ("a: {b: ${X}}\n", ["1:9: a { that cannot be here: within { } and [ ], put a text with ${ in quotes"]),
        ("a: @x\n", ["1:4: a value cannot start with '@': put it in quotes"]),
        ('a: "\\uD800"\n', ["1:4: the character U+D800 cannot be in a value"]),
        ('a: "\\e[2J"\n', ["1:4: the character U+001B cannot be in a value"]),
        (b"a: 1\nb: \xff\n", ["2:4: the byte 0xff is not UTF-8: is this a text file?"]),
        (b"a: \x00\n", ["1:4: the character U+0000 cannot be in a text file"]),
        (b"\xff\xfea\x00", ["1:1: the byte 0xff is not UTF-8: is this a text file?"]),
        ("a: 1\na: yes\nb: 012\n", [
            "2:1: is here for the second time; first in line 1",
            '2:4: yes is a boolean to some readers: write true, or "yes" in quotes',
            "3:4: 012 is octal to some readers: drop the leading zero, or put it in quotes",
        ]),
    ],
)  # fmt: skip
def test_what_two_readers_would_take_differently_is_refused_with_its_place(
    text: str | bytes, faults: list[str]
) -> None:
    assert faults_of(text) == faults


@pytest.mark.parametrize("text", ["a: yes", "a: 012", "a: 12:30:00", "a: 1\na: 2", "a: 2026-01-01", "a: 1_000"])
def test_the_usual_reader_would_have_taken_it_without_a_word(text: str) -> None:
    value = yaml.safe_load(text)["a"]
    assert value in (True, 10, 45000, 2, 1000) or type(value).__name__ == "date"
    assert faults_of(text)


def test_plain_values_are_read_as_yaml_1_2_has_them() -> None:
    text = """\
        none: [null, ~, ]
        truth: [true, False]
        numbers: [0, -7, +5, 1.5]
        texts: [plain, "yes", '012', 50ms, 8KiB, 127.0.0.1:6379, "a:b:*", y, n, 1.2.3, "::1", "${X}"]
        shared: &x {a: 1}
        again: *x
        """
    assert read(text) == {
        "none": [None, None],
        "truth": [True, False],
        "numbers": [0, -7, 5, 1.5],
        "texts": ["plain", "yes", "012", "50ms", "8KiB", "127.0.0.1:6379", "a:b:*", "y", "n", "1.2.3", "::1", "${X}"],
        "shared": {"a": 1},
        "again": {"a": 1},
    }


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert read("\ufeffa: 1") == {"a": 1}


def test_nesting_is_allowed_up_to_the_limit_and_no_further() -> None:
    assert faults_of("[" * MAX_DEPTH + "]" * MAX_DEPTH) == []
    assert faults_of("[" * (MAX_DEPTH + 1)) == [f"1:{MAX_DEPTH + 1}: is nested more than {MAX_DEPTH} levels deep"]


HOSTILE = {
    "fifty thousand brackets": b"[" * 50_000,
    "half a million braces": b"{" * 500_000,
    "half a million dashes": b"- " * 500_000,
    "half a million question marks": b"? " * 500_000,
    "a billion laughs": b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(9)),
    "two hundred thousand values": b"- a\n" * 200_000,
    "a hundred megabytes": b"a" * 100_000_000,
    "a megabyte of zeros": bytes(MAX_BYTES),
    "an escape beyond unicode": b'"\\UFFFFFFFF"',
    "a version of ten thousand digits": b"%YAML 1." + b"9" * 10_000 + b"\n---\na: 1",
    "an object of python": b"!!python/object/apply:os.system [id]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_at_once(name: str) -> None:
    began = time.monotonic()
    assert len(faults_of(HOSTILE[name])) == 1
    assert time.monotonic() - began < 5  # seconds; each takes less than one alone


@given(st.binary(max_size=200))
def test_no_bytes_end_in_anything_but_faults(data: bytes) -> None:
    faults_of(data)


@given(st.text(alphabet="a1:-?[]{},&*!|>'\"%@`#~<. \n\t\\x0_$", max_size=60))
def test_no_text_of_yaml_s_own_signs_ends_in_anything_but_faults(text: str) -> None:
    faults_of(text)


@given(st.text(max_size=30))
def test_an_unquoted_scalar_is_read_as_pyyaml_reads_it_or_refused(text: str) -> None:
    try:
        value = resolve(text)
    except Ambiguous:
        return
    try:
        usual = yaml.safe_load(f"- {text}\n")
    except (yaml.YAMLError, ValueError):
        return
    if isinstance(usual, list) and len(usual) == 1 and isinstance(usual[0], bool | int | float):
        assert value == usual[0]


LEAVES = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("abc*:# '\"\n", max_size=8)
NAMES = st.text("abc", min_size=1, max_size=3)


@given(st.recursive(LEAVES, lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=3)))
def test_what_pyyaml_writes_is_read_back(value: object) -> None:
    assert read(yaml.safe_dump({"a": value}, default_flow_style=None)) == {"a": value}

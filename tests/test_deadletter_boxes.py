"""The boxes of dead letters as files: what they are called, and how they are read page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from invalidator import Target
from invalidator.letters import FOLDER, Box, decode, encode, named
from invalidator.screen.letters_text import Pile
from invalidator.screen.paint import plain
from invalidator.supervision.deadletters import PAGE, boxes, page
from tests.support.letterbox import BOX, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("box", [BOX, Box("a.b", "c"), Box("a", "b.c"), Box("../x", "/etc/y", "127.0.0.1:11211")])
def test_no_two_lanes_share_a_file_and_none_leads_out_of_the_folder(box: Box, tmp_path: Path) -> None:
    file = box.file(tmp_path)
    assert named(file.name) == (box, "")
    assert file.resolve().parent == (tmp_path / FOLDER).resolve()


@pytest.mark.parametrize("file", ["x", "a.jsonl", "a.b.c.d.jsonl", "../topology.yaml", "/etc/passwd", "a.b.jsonl/../x"])
def test_no_other_file_is_shown(file: str, tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / "topology.yaml").write_text("secret")
    assert page(tmp_path, file, 0) is None


def test_a_box_is_read_page_by_page(tmp_path: Path) -> None:
    keys = [f"k:{n}" for n in range(5_000)]
    write(tmp_path, *keys)
    (box,) = boxes(tmp_path)
    read: list[str] = []
    offset: int | None = 0
    pages = 0
    while offset is not None:
        one = page(tmp_path, box.file, offset)
        assert one is not None
        read += [letter.target for line in one.lines if (letter := decode(line))]
        offset, pages = one.next, pages + 1
    assert read == keys
    assert pages > 3


def test_a_line_that_is_longer_than_a_page_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, "a", more=b"x" * (3 * PAGE) + b"\n" + encode(BOX, Target("key", "b"), "overflow", 1.0))
    (box,) = boxes(tmp_path)
    pile, offset = Pile(*BOX), 0
    while (one := page(tmp_path, box.file, offset)) is not None:
        pile.add(one.lines)
        if one.next is None:
            break
        offset = one.next
    assert (pile.letters, pile.garbage) == (2, 1)
    assert any("1 line that is no letter: kept apart" in plain(one) for one in pile.lines(0.0))

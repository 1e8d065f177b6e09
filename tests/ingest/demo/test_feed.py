"""What the demo says of recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.cli import main
from ingest.demo.feed import Heard


def heard(*kinds: tuple[str, str], diffs_unused: int = 0) -> Heard:
    return Heard(dict.fromkeys(kinds, 0), frozenset(), (0, 0), diffs_unused)


def test_what_a_symbol_lacks_is_told_with_what_to_give() -> None:
    books, posts, diffs = heard(("A", "trade"), ("B", "book"), ("B", "trade"), diffs_unused=7).lacks()
    assert books.startswith("A: no order books") and "begins with its snapshot" in books
    assert posts.startswith("A, B: no posts")
    assert diffs.startswith("7 changes of a book") and "the file before, which has the snapshot" in diffs
    assert list(heard(("A", "trade"), ("A", "book"), ("A", "social")).lacks()) == []


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("bars.csv", "time,open,high,low,close\n", "bars"),
        ("trades.csv", "time,price,size\n", "--symbol"),
        ("a.pdf", "%PDF-1.7", "a PDF document"),
        ("folder", None, "is a folder"),
        ("gone.jsonl", "", "gone.jsonl"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_before_any_server_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str | None, told: str
) -> None:
    path = tmp_path / name
    if text is None:
        path.mkdir()
    elif text:
        path.write_text(text)
    assert main(["demo", str(path)]) == 2
    out, err = capsys.readouterr()
    assert told in err and out == ""

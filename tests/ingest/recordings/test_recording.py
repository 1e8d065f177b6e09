"""Several files as one recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.messages.refusal import Reason
from ingest.recordings.lines import POST, Parsed, Rejected
from ingest.recordings.recording import Recording, messages

NOON_MS = 1_723_118_400_000


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Two files of our own lines, whose times interleave, and a table of posts."""
    trade = '{{"timestamp":{},"symbol":"A","price":1,"size":2}}'
    post = '{{"timestamp":{},"id":"1","text":"up","source":"s"}}'
    first = [trade.format(NOON_MS), "rubbish", trade.format(NOON_MS + 20), post.format(NOON_MS + 30)]
    (tmp_path / "a.jsonl").write_text("\n".join(first))
    (tmp_path / "b.jsonl").write_text(trade.format(NOON_MS + 10))
    (tmp_path / "posts.csv").write_text(f"time,text\n{NOON_MS + 40},down\n{NOON_MS + 50},\n")
    return sorted(tmp_path.iterdir())


def test_posts_come_first_then_the_market_by_receive_time(paths: list[Path]) -> None:
    found = [(kind, message.timestamp - NOON_MS) for kind, message in messages(paths)]
    assert found == [(POST, 40), (POST, 30), ("trade", 0), ("trade", 10), ("trade", 20)]


def test_refused_rows_come_with_the_posts_and_refused_lines_with_the_market(paths: list[Path]) -> None:
    recording = Recording(paths)
    of_posts = [output.reason for output in recording.posts() if isinstance(output, Rejected)]
    of_market = [output.reason for output in recording.market() if isinstance(output, Rejected)]
    assert (of_posts, of_market) == ([Reason.MISSING_FIELD], [Reason.UNDECODABLE])
    assert recording.lines == 7, "each line and row once"


def test_a_limit_counts_the_lines_of_each_file(paths: list[Path]) -> None:
    recording = Recording(paths, limit=1)
    assert [output.kind for output in recording.market() if isinstance(output, Parsed)] == ["trade", "trade"]
    assert [output.kind for output in recording.posts() if isinstance(output, Parsed)] == [POST]


def test_a_missing_file_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Recording([tmp_path / "none.jsonl"])

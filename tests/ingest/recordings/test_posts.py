"""Posts from tables."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.messages.kinds import SocialPost
from ingest.messages.refusal import Reason
from ingest.recordings.columns import GivenColumns
from ingest.recordings.lines import Parsed, Rejected
from ingest.recordings.posts import read_posts
from ingest.recordings.rows import TableFileError

NOON = datetime(2024, 8, 8, 12, tzinfo=UTC)
NOON_MS = 1_723_118_400_000


def test_columns_are_found_by_their_common_names(tmp_path: Path) -> None:
    table = pa.table(
        {
            "created_at": pa.array([NOON], pa.timestamp("ns", tz="UTC")),
            "tweet_id": ["17"],
            "symbol": ["BTCUSDT"],
            "text": ["up it goes"],
            "user": ["anna"],
            "retweet_count": [2],
            "favorite_count": [3],
            "user_followers": [4],
        }
    )
    pq.write_table(table, tmp_path / "tweets.parquet")
    (output,) = read_posts(tmp_path / "tweets.parquet", 0)
    assert output == Parsed(
        "social",
        SocialPost(
            NOON_MS, "17", "up it goes", "tweets", "anna", 3, 2, followers=4, symbols=["BTCUSDT"], received=NOON_MS
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        "2024-08-08 12:00:00",
        "2024-08-08T14:00:00+02:00",
        "2024-08-08T12:00:00Z",
        "1723118400",
        "1723118400.0",
        "1723118400000",
        "1723118400000000",
        "1723118400000000000",
    ],
)
def test_a_time_is_understood_however_it_is_written(tmp_path: Path, text: str) -> None:
    path = tmp_path / "posts.csv"
    path.write_text(f'when,said\n{text},"up, and\nfurther up"\n')
    (output,) = read_posts(path, 0, GivenColumns(text="said", timestamp="when"))
    assert isinstance(output, Parsed)
    assert output.message.timestamp == NOON_MS
    assert output.message.text == "up, and\nfurther up"  # type: ignore[union-attr]


def test_a_row_without_an_id_has_the_same_one_every_time_and_another_than_other_rows(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text("timestamp,text\n1723118400,one\n1723118400,two\n")
    first, second = ([o.message.id for o in read_posts(path, 0)] for _ in range(2))  # type: ignore[union-attr]
    assert first == second
    assert len(set(first)) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",up", Reason.MISSING_FIELD),
        ("1723118400,", Reason.MISSING_FIELD),
        ("yesterday,up", Reason.WRONG_TYPE),
        ("nan,up", Reason.NOT_FINITE),
        ("-5,up", Reason.OUT_OF_RANGE),
        ("1723118400,up,many", Reason.WRONG_TYPE),
        ("1723118400,up,1e300", Reason.OUT_OF_RANGE),
        ("1723118400,\udcff", Reason.UNDECODABLE),
    ],
)
def test_a_row_that_is_no_post_is_refused_and_the_next_one_taken(tmp_path: Path, row: str, reason: Reason) -> None:
    path = tmp_path / "posts.csv"
    path.write_text(f"timestamp,text,likes\n{row}\n1723118400,good,\n", errors="surrogateescape")
    bad, good = read_posts(path, 0)
    assert isinstance(bad, Rejected)
    assert bad.reason == reason
    assert (bad.line.source, bad.line.number) == ("posts.csv", 1)
    assert b'"timestamp"' in bad.line.data
    assert isinstance(good, Parsed)


def test_a_file_without_times_says_which_option_would_name_them(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text("text,label\nup,1\n")
    with pytest.raises(TableFileError, match="--time-column"):
        list(read_posts(path, 0))
    with pytest.raises(TableFileError, match="no column 'when'; it has 'text', 'label'"):
        list(read_posts(path, 0, GivenColumns(timestamp="when")))


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "posts.parquet"
    path.write_bytes(b"not this")
    with pytest.raises(TableFileError, match=r"posts\.parquet"):
        list(read_posts(path, 0))

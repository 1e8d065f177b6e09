"""Trades and books from tables, row by row. Their features are compared with those of JSON lines in the tests of the backfill."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.messages.kinds import OrderBook
from ingest.recordings.columns import GivenColumns
from ingest.recordings.lines import Line
from ingest.recordings.market_tables import is_market, read_lines, symbols
from ingest.recordings.recording import messages
from ingest.recordings.rows import TableFileError

MIDNIGHT = 1_700_006_400_000


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_structs_of_price_and_size_are_levels(tmp_path: Path) -> None:
    level = pa.list_(pa.struct([("p", pa.float64()), ("q", pa.float64())]))
    side = pa.array([[{"p": 1.0, "q": 2.0}]], level)
    above = pa.array([[{"p": 3.0, "q": 4.0}]], level)
    table = pa.table({"time": [MIDNIGHT], "symbol": ["A"], "bids": side, "asks": above})
    pq.write_table(table, tmp_path / "b.parquet")
    book = OrderBook(MIDNIGHT, "A", [(1.0, 2.0)], [(3.0, 4.0)], received=MIDNIGHT)
    assert list(messages([tmp_path / "b.parquet"])) == [("book", book)]


def test_a_column_for_each_level_makes_a_book_of_the_levels_that_are_there(tmp_path: Path) -> None:
    head = "time,symbol,bid_px_0,bid_qty_0,bid_px_1,bid_qty_1,ask_px_0,ask_qty_0"
    path = written(tmp_path / "b.csv", f"{head}\n{MIDNIGHT},A,10,1,9,2,11,3\n{MIDNIGHT},A,10,1,,,11,nan\n")
    first, second = (json.loads(line.data) for line in read_lines(path))
    assert first["bids"] == [["10", "1"], ["9", "2"]]
    assert second["bids"] == [["10", "1"]]


@pytest.mark.parametrize(
    ("head", "is_one"),
    [
        ("time,price,size", True),
        ("time,bids,asks", True),
        ("time,bid_px_0,bid_qty_0,ask_px_0,ask_qty_0", True),
        ("time,bid_px_0,bid_qty_0", False),
        ("time,price", False),
        ("time,text,price,size", False),
    ],
)
def test_the_columns_tell_whether_a_file_holds_the_market_and_a_table_of_texts_holds_posts(
    tmp_path: Path, head: str, is_one: bool
) -> None:
    assert is_market(written(tmp_path / "t.csv", head + "\n")) is is_one


def test_a_line_is_placed_by_its_receive_time_or_that_of_the_row_before(tmp_path: Path) -> None:
    rows = f"time,received,symbol,price,size\n{MIDNIGHT},{MIDNIGHT + 5},A,1,2\nnever,,A,1,2\n"
    read: list[Line] = list(read_lines(written(tmp_path / "t.csv", rows)))
    assert [line.received_ms for line in read] == [MIDNIGHT + 5, MIDNIGHT + 5]
    assert [line.number for line in read] == [1, 2]


def test_the_symbols_of_a_file_are_those_of_its_column_or_the_given_one(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", f"time,symbol,price,size\n{MIDNIGHT},A,1,2\n{MIDNIGHT},B,1,2\n")
    assert symbols(path) == {"A", "B"}
    path = written(tmp_path / "t.csv", f"time,price,size\n{MIDNIGHT},1,2\n")
    assert symbols(path, GivenColumns(symbol="C")) == {"C"}
    with pytest.raises(TableFileError, match="--symbol-column"):
        symbols(path)

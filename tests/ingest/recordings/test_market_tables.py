"""Trades and books from tables, row by row. Their features are compared with those of JSON lines in the tests of the backfill."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.messages.kinds import OrderBook, Trade, time_us
from ingest.recordings.columns import GivenColumns
from ingest.recordings.lines import Line, Rejected
from ingest.recordings.market_tables import is_market, read_lines, symbols
from ingest.recordings.recording import Recording, messages
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


@pytest.mark.parametrize(
    ("time", "received", "expected_us"),
    [
        (f"{MIDNIGHT}", "", MIDNIGHT * 1000),
        (f"{MIDNIGHT}250", f"{MIDNIGHT + 5}700", MIDNIGHT * 1000 + 250),  # Binance's files of spot since 2025
        (f"{MIDNIGHT}250999", "", MIDNIGHT * 1000 + 250),
        ("1700006400.00025", "", MIDNIGHT * 1000 + 250),
        ("1700006400", "", MIDNIGHT * 1000),
        ("2023-11-15T00:00:00.000250Z", "", MIDNIGHT * 1000 + 250),
    ],
)
def test_a_table_keeps_the_microseconds_of_its_times_whatever_their_unit(
    tmp_path: Path, time: str, received: str, expected_us: int
) -> None:
    path = written(tmp_path / "t.csv", f"time,received,symbol,price,size\n{time},{received},A,1,2\n")
    ((_, trade),) = messages([path])
    assert time_us(trade) == expected_us
    assert trade.received == (MIDNIGHT + 5 if received else MIDNIGHT)
    (line,) = read_lines(path)
    assert line.received_ns == (MIDNIGHT + 5) * 10**6 if received else expected_us * 1000


def test_the_symbols_of_a_file_are_those_of_its_column_or_the_given_one(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", f"time,symbol,price,size\n{MIDNIGHT},A,1,2\n{MIDNIGHT},B,1,2\n")
    assert symbols(path) == {"A", "B"}
    path = written(tmp_path / "t.csv", f"time,price,size\n{MIDNIGHT},1,2\n")
    assert symbols(path, GivenColumns(symbol="C")) == {"C"}
    with pytest.raises(TableFileError, match="--symbol-column"):
        symbols(path)


BINANCE_HEADS = [
    "id,price,qty,quoteQty,time,isBuyerMaker,isBestMatch",
    "id,price,qty,quote_qty,time,is_buyer_maker",
    "trade_id,price,quantity,quote,time,buyer_maker",
    "agg_trade_id,price,quantity,first_trade_id,transact_time,is_buyer_maker",
    "a,p,q,f,T,m",
]


@pytest.mark.parametrize("head", BINANCE_HEADS)
@pytest.mark.parametrize("words", [("True", "False"), ("true", "false"), ("1", "0")])
def test_the_side_and_the_id_of_binances_own_trade_files_are_read(
    tmp_path: Path, head: str, words: tuple[str, str]
) -> None:
    """Where the buyer was the maker, the seller was the aggressor."""
    rows = [f"{n},60000.5,0.25,7,{MIDNIGHT},{word}" for n, word in enumerate(words, 41)]
    path = written(tmp_path / "BTCUSDT-trades.csv", "\n".join([head, *rows]))
    found = messages([path], columns=GivenColumns(symbol="BTCUSDT"))
    trades = [(m.trade_id, m.price, m.size, m.side) for _, m in found]  # type: ignore[union-attr]
    assert trades == [("41", 60000.5, 0.25, "sell"), ("42", 60000.5, 0.25, "buy")]


def test_a_trade_file_gives_the_trades_of_the_capture_that_it_was_made_from(recordings: Path, tmp_path: Path) -> None:
    """So it gives the same vpin, too."""
    capture = recordings / "ws_binance_hftbacktest" / "spot_btcusdt_20240808.jsonl.gz"
    rows, expected = [], []
    with gzip.open(capture, "rt") as lines:
        for line in lines:
            if '"e":"trade"' in line:
                t = json.loads(line.partition(" ")[2])["data"]
                rows.append(f"{t['t']},{t['p']},{t['q']},0,{t['T']},{t['m']},{t['M']}")
                expected.append((t["T"], float(t["p"]), float(t["q"]), "sell" if t["m"] else "buy", str(t["t"])))
    with gzip.open(tmp_path / "trades.csv.gz", "wt") as file:
        file.write("\n".join([BINANCE_HEADS[0], *rows]))
    found = messages([tmp_path / "trades.csv.gz"], columns=GivenColumns(symbol="BTCUSDT"))
    assert [(m.timestamp, m.price, m.size, m.side, m.trade_id) for _, m in found] == expected  # type: ignore[union-attr]
    assert len(expected) == 9757


@pytest.mark.parametrize(
    ("word", "side"),
    [
        ("Buy", "buy"),
        ("BUY", "buy"),
        ("B", "buy"),
        ("bid", "buy"),
        ("Sell", "sell"),
        ("s", "sell"),
        ("ASK", "sell"),
        ("unknown", None),
    ],
)
def test_the_sides_are_read_in_the_words_of_other_venues_and_an_unknown_one_keeps_its_trade(
    tmp_path: Path, word: str, side: str | None
) -> None:
    head = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"  # as Tardis writes trades
    row = f"bitmex,XBTUSD,{MIDNIGHT}000,{MIDNIGHT + 5}000,6a-7,{word},60000,3"
    (found,) = messages([written(tmp_path / "t.csv", f"{head}\n{row}\n")])
    assert found[1] == Trade(MIDNIGHT, "XBTUSD", 60000.0, 3.0, side, "6a-7", MIDNIGHT + 5)


def test_the_side_of_a_trade_file_of_deribit_is_read(tmp_path: Path) -> None:
    head = "timestamp,instrument_name,direction,price,amount,trade_id,trade_seq,tick_direction"
    rows = [f"{MIDNIGHT},BTC-PERPETUAL,{word},60000,10,ETH-{n},{n},2" for n, word in enumerate(("buy", "sell"))]
    found = messages([written(tmp_path / "t.csv", "\n".join([head, *rows]))])
    assert [(m.side, m.trade_id) for _, m in found] == [("buy", "ETH-0"), ("sell", "ETH-1")]  # type: ignore[union-attr]


def test_a_side_that_no_one_knows_is_refused(tmp_path: Path) -> None:
    recording = Recording([written(tmp_path / "t.csv", f"time,symbol,price,size,side\n{MIDNIGHT},A,1,2,up\n")])
    assert [o.reason for o in recording.market() if isinstance(o, Rejected)] == ["wrong_type"]
    assert recording.unread() == ["nothing of t.csv could be read (wrong_type: side 'up' is not buy, sell or null)"]


def test_columns_with_brackets_are_levels(tmp_path: Path) -> None:
    head = "symbol,timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount"
    (found,) = messages([written(tmp_path / "b.csv", f"{head}\nA,{MIDNIGHT},11,1,10,2\n")])
    assert (found[1].bids, found[1].asks) == ([(10.0, 2.0)], [(11.0, 1.0)])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("head", "what"),
    [
        ("exchange,symbol,timestamp,is_snapshot,side,price,amount", "changes of an order book"),
        ("ts,open,high,low,close,volume", "bars"),
        ("Date,Open,High,Low,Close", "bars"),
        ("time,symbol,bid_price,bid_size,ask_price,ask_size", "quotes"),
        ("37,60000.1,0.5,True", "no row of names"),
        ("time,symbol,temperature", "no trades"),
    ],
)
def test_a_table_of_something_else_is_refused_with_what_it_holds(tmp_path: Path, head: str, what: str) -> None:
    with pytest.raises(TableFileError, match=what):
        list(Recording([written(tmp_path / "t.csv", head + "\n1,2,3\n")]).posts())

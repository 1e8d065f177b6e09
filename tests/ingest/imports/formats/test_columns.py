"""Tables of no known format, read by the names of their columns: what is read of them, and what is refused with what to do."""

import tarfile
from pathlib import Path

import pandas as pd
import pytest

from ingest.imports.formats.form import Context
from ingest.imports.formats.known import format_of
from ingest.imports.formats.table import head_of
from ingest.imports.run import plan
from ingest.recordings.columns import GivenColumns
from ingest.recordings.files import FileFormError
from ingest.recordings.lines import Rejected
from tests.ingest.imports.formats.reading import read, told

DAY_US = 1_735_689_600_000_000  # 2025-01-01T00:00:00Z


def written(tmp_path: Path, text: str, name: str = "file.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_blanks_round_names_and_cells_do_not_matter(tmp_path):
    path = written(tmp_path, "timestamp, symbol, price, size, side\n1735689600000, BTC, 100.5, 2, sell \n")
    name, messages, refused, context = read(path)
    assert (name, refused) == ("columns", [])
    assert told(messages) == [("trade", DAY_US, "BTC", 100.5, 2.0, "sell")]
    assert "symbol from symbol, price from price" in next(iter(context.notes))


@pytest.mark.parametrize("at", ["2025-01-01", "2025/01/01 00:00:01", "17:00:00.083"])
def test_what_is_no_moment_is_refused_with_what_a_time_is(tmp_path, at: str):
    path = written(tmp_path, f"date,symbol,price,amount\n{at},AAPL,100.5,100\n2025-01-01T00:00:01Z,AAPL,100.5,100\n")
    outputs = list(format_of(head_of(path)).read(path, Context()))
    assert isinstance(outputs[0], Rejected) and not isinstance(outputs[1], Rejected)
    assert outputs[0].detail == (
        f"timestamp {at} is no time: write day and time in one column, as 2026-01-31T12:00:00Z, or a number since 1970"
    )


def test_a_day_of_a_parquet_file_is_no_moment_either(tmp_path):
    row = {"date": [pd.Timestamp("2025-01-01").date()], "symbol": ["A"], "price": [1.0], "size": [2.0]}
    pd.DataFrame(row).to_parquet(tmp_path / "days.parquet")
    assert read(tmp_path / "days.parquet")[1:3] == ([], ["wrong_type"])


@pytest.mark.parametrize(("at", "is_told"), [("2025-01-01 00:00:00", True), ("2025-01-01 08:00:00+08:00", False)])
def test_times_without_a_zone_are_utc_and_that_is_said(tmp_path, at: str, is_told: bool):
    path = written(tmp_path, f"time,symbol,price,size\n{at},A,1,2\n")
    _, messages, _, context = read(path)
    assert told(messages) == [("trade", DAY_US, "A", 1.0, 2.0, None)]
    assert any("name no zone and are read as UTC" in note for note in context.notes) is is_told
    frame = pd.DataFrame({"time": pd.to_datetime([at]), "symbol": ["A"], "price": [1.0], "size": [2.0]})
    frame.to_parquet(tmp_path / "t.parquet")
    assert any("no zone" in note for note in read(tmp_path / "t.parquet")[3].notes) is is_told


WRONG = {
    "signed sizes": ("id,timestamp,amount,price\n1,1735689600000,0.5,2\n2,1735689600001,-0.5,2\n", "the sign seems to be the side"),
    "two venues": (
        "timestamp,symbol,exchange,price,size\n1735689600000,A,N,1,1\n1735689600000,A,D,1,1\n",
        "is of two markets, N and D in its column exchange",
    ),
    "changes of a book": (
        "timestamp,bid_price_1,bid_volume_1,bid_price_2,bid_volume_2,ask_price_1,ask_volume_1\n1735689600000,9,5,8,0,10,1\n",
        "a level has the size 0, so the file seems to hold changes of a book",
    ),
    "levels of a book": ("price,quantity,timestamp,side\n9,1,1735689600000,ask\n", "--column side=side"),
    "own trades": ("time,symbol,side,price,qty,fee\n1735689600000,A,buy,1,1,0.1\n", "somebody's own trades"),
    "a chain of angles": ("<TICKER>,<PER>,<DATE>,<TIME>,<LAST>,<VOL>\nA,0,20250101,100000,1.5,2\n", "date and time as one column"),
    "other JSON": ('{"buy_prices": [1], "sell_prices": [2]}\n', "JSON of another form: write a row of each trade"),
    "an answer": ('{\n  "result": {"trades": []}\n}\n', "one JSON document over several lines: write a row of each trade"),
    "quotes": ("t,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty\n1,9,5,10,1\n", "bid_px_0, bid_qty_0"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_would_be_read_wrongly_is_refused_with_what_to_do(tmp_path, what: str):
    text, why = WRONG[what]
    path = written(tmp_path, text)
    with pytest.raises(FileFormError, match=why):
        list(format_of(head_of(path)).read(path, Context(columns=GivenColumns(symbol="A"))))


def test_a_side_of_bid_or_ask_is_read_where_the_user_says_that_it_is_the_aggressors(tmp_path):
    path = written(tmp_path, "price,size,timestamp,symbol,ask_bid\n9,1,1735689600000,A,ASK\n")
    columns = GivenColumns(fields=(("side", "ask_bid"),))
    outputs = list(format_of(head_of(path), columns).read(path, Context(columns=columns)))
    assert told([outputs[0].message]) == [("trade", DAY_US, "A", 9.0, 1.0, "sell")]


def test_a_column_can_be_said_to_be_none(tmp_path):
    path = written(tmp_path, "timestamp,symbol,exchange,price,size\n1735689600000,A,N,1,1\n1735689600001,A,D,2,1\n")
    columns = GivenColumns(fields=(("venue", ""),))
    [job] = plan([path], columns)
    outputs = list(job.format.read(path, job.context))
    assert [out.message.price for out in outputs] == [1.0, 2.0] and job.market.name == "unnamed"
    assert plan([path], GivenColumns())[0].market.name == "n"


def test_levels_begin_with_any_number_and_empty_ones_are_filled_with_nothing(tmp_path):
    names = [f"{side}_{what}_{i}" for side in ("bid", "ask") for i in (1, 2) for what in ("price", "volume")]
    path = written(tmp_path, f"timestamp,symbol,{','.join(names)}\n1735689600000,A,9,5,8.5,6,10,1,0.00,0\n")
    assert told(read(path)[1]) == [("book", DAY_US, "A", [(9.0, 5.0), (8.5, 6.0)], [(10.0, 1.0)])]


def test_levels_with_names_are_read_by_them_and_others_are_refused(tmp_path):
    side = '"[{""size"": 2, ""price"": 99.5}]","[[100,1]]"'
    odd = '"[{""much"": 2, ""limit"": 99.5}]","[[100,1]]"\n1735689600000,A,"[[\'99\']]","[[100,1]]"'
    path = written(tmp_path, f"timestamp,symbol,bids,asks\n1735689600000,A,{side}\n1735689600000,A,{odd}\n")
    outputs = list(format_of(head_of(path)).read(path, Context()))
    assert told([outputs[0].message]) == [("book", DAY_US, "A", [(99.5, 2.0)], [(100.0, 1.0)])]
    assert all("is no JSON list of levels, each [price, size]" in one.detail for one in outputs[1:])
    levels = [[{"size": 2.0, "price": 99.5}], [{"size": 1.0, "price": 100.0}]]
    frame = pd.DataFrame({"timestamp": [DAY_US], "symbol": ["A"], "bids": [levels[0]], "asks": [levels[1]]})
    frame.to_parquet(tmp_path / "named.parquet")
    assert told(read(tmp_path / "named.parquet")[1]) == told([outputs[0].message])


@pytest.mark.parametrize(("encoding", "why"), [("utf-16", "save it as UTF-8"), ("tar", "unpack it")])
def test_what_is_no_plain_text_is_told(tmp_path, encoding: str, why: str):
    path = tmp_path / "file.csv.gz"
    text = "timestamp,symbol,price,size\n1735689600000,A,1,2\n"
    if encoding == "tar":
        written(tmp_path, text, "x.csv")
        with tarfile.open(path, "w:gz") as archive:
            archive.add(tmp_path / "x.csv", "x.csv")
    else:
        path.write_text(text, encoding=encoding)
    with pytest.raises(FileFormError, match=why):
        format_of(head_of(path))


def test_three_numbers_a_row_are_krakens_only_under_a_name_of_kraken(tmp_path):
    text = "1735689600,300.5,0.25\n"
    markets = [
        format_of(head).market(head).name
        for head in (head_of(written(tmp_path, text, name)) for name in ("XBTUSD.csv", "coinbaseUSD.csv"))
    ]
    assert markets == ["kraken", "unnamed"]


def test_captures_of_other_venues_are_refused_and_coin_futures_are_their_own_market(tmp_path):
    book = '1735689600000000000 {"channel":"l2Book","data":{"coin":"BTC","time":1735689600000,"levels":[[],[]]}}\n'
    with pytest.raises(FileFormError, match="a venue other than Binance"):
        read(written(tmp_path, book, "x.jsonl"))
    trade = (
        '1735689600000000000 {"stream":"btcusd_perp@trade","data":{"e":"trade","E":1735689600000,"T":1735689600000,"s":"BTCUSD_PERP",'
        '"t":1,"p":"9","q":"3","X":"MARKET","m":true}}\n'
    )
    head = head_of(written(tmp_path, trade, "y.jsonl"))
    assert format_of(head).market(head).name == "binance-coinm"
    head = head_of(written(tmp_path, trade.replace("USD_PERP", "USDT"), "z.jsonl"))
    assert format_of(head).market(head).name == "binance-futures"

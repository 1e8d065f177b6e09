"""Files in the exact forms that venues and vendors publish; the values beside them were computed by hand."""

import gzip
import json
import zipfile
from pathlib import Path

import pytest

from ingest.imports.formats.form import Context
from ingest.imports.formats.known import format_of
from ingest.imports.formats.table import head_of
from ingest.messages.kinds import OrderBook, Trade, time_us
from ingest.recordings.files import FileFormError
from ingest.recordings.lines import Rejected

L2 = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"
TRADES = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
BYBIT = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional\n"


def read(tmp_path: Path, name: str, text: str | bytes, **given: str):
    """Return the format's name, the messages, the refusals and the context of a file."""
    path = tmp_path / name
    data = text if isinstance(text, bytes) else text.encode()
    if name.endswith(".gz"):
        data = gzip.compress(data)
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name.removesuffix(".zip") + ".csv", data)
    else:
        path.write_bytes(data)
    context = Context(**given)
    found = format_of(head_of(path))
    assert found is not None
    outputs = list(found.read(path, context))
    good = [out.message for out in outputs if not isinstance(out, Rejected)]
    return found.name, good, [out.reason.value for out in outputs if isinstance(out, Rejected)], context


def trades(messages) -> list[tuple]:
    assert all(isinstance(one, Trade) for one in messages)
    return [(time_us(t), t.symbol, t.price, t.size, t.side, t.trade_id) for t in messages]


def test_trades_of_tardis_keep_both_times_and_an_unknown_side(tmp_path):
    text = TRADES + "bybit,BTCUSDT,1700000000000250,1700000000001001,7,BUY,1.5e2,0.25\n"
    text += (
        "bybit,BTCUSDT,1700000000000300,1700000000001001,8,unknown,150,1\nbybit,BTCUSDT,1700000000000300,,9,up,150,1"
    )
    name, good, bad, _ = read(tmp_path, "bybit_trades_2023-11-14_BTCUSDT.csv.gz", text)
    assert name == "Tardis trades"
    assert trades(good) == [
        (1700000000000250, "BTCUSDT", 150.0, 0.25, "buy", 7),
        (1700000000000300, "BTCUSDT", 150.0, 1.0, None, 8),
    ]
    assert [one.received for one in good] == [1700000000002, 1700000000002]
    assert bad == ["wrong_type"]


def test_liquidations_which_have_the_columns_of_trades_are_told_by_the_name(tmp_path):
    with pytest.raises(FileFormError, match="into the name of the file"):
        read(tmp_path, "BTCUSDT.csv", TRADES + "bybit,BTCUSDT,1700000000000250,1700000000001001,7,buy,150,1\n")


def test_a_chain_of_options_is_not_taken_for_quotes(tmp_path):
    names = "exchange,symbol,timestamp,local_timestamp,type,strike_price,expiration,bid_price,bid_amount,ask_price,ask_amount\n"
    with pytest.raises(FileFormError, match="a chain of options: import trades and books"):
        read(tmp_path, "o.csv", names + "deribit,BTC-9JUN20-9875-P,1,2,put,9875,3,0.01,1,0.02,2\n")


def test_changes_of_tardis_wait_for_a_snapshot_and_are_applied_a_message_at_a_time(tmp_path):
    at = "1700000000000000"
    rows = [
        f"x,A,{at},1700000000000100,false,bid,99,5",  # before the snapshot
        f"x,A,{at},1700000000000200,true,bid,100,1",
        f"x,A,{at},1700000000000200,true,bid,99,2",
        f"x,A,{at},1700000000000200,true,ask,101,3",
        # one message: its first row alone would cross the book
        "x,A,1700000000500000,1700000000500100,false,bid,101,4",
        "x,A,1700000000500000,1700000000500100,false,ask,101,0",
        "x,A,1700000000500000,1700000000500100,false,ask,102,7",
        "x,A,1700000001000000,1700000001000100,false,bid,100,0",
    ]
    _, good, bad, context = read(tmp_path, "i.csv", L2 + "\n".join(rows))
    assert [(time_us(b), b.bids, b.asks) for b in good] == [
        (1700000000000000, [(100.0, 1.0), (99.0, 2.0)], [(101.0, 3.0)]),
        (1700000000500000, [(101.0, 4.0), (100.0, 1.0), (99.0, 2.0)], [(102.0, 7.0)]),
        (1700000001000000, [(101.0, 4.0), (99.0, 2.0)], [(102.0, 7.0)]),
    ]
    assert bad == []
    assert context.passed_over == {"change of a book before its snapshot": 1}


def test_a_change_that_crosses_the_book_makes_it_unknown_until_the_next_snapshot(tmp_path):
    rows = [
        "x,A,1700000000000000,1700000000000200,true,bid,100,1",
        "x,A,1700000000000000,1700000000000200,true,ask,101,3",
        "x,A,1700000000500000,1700000000500100,false,bid,105,4",
        "x,A,1700000001000000,1700000001000100,false,bid,99,4",
    ]
    _, good, bad, context = read(tmp_path, "i.csv", L2 + "\n".join(rows))
    assert [type(one).__name__ for one in good] == ["OrderBook", "Gap"]
    assert bad == ["crossed_book"]
    assert context.passed_over.total() == 1


def test_books_and_quotes_of_tardis_have_the_levels_that_they_tell(tmp_path):
    names = ",".join(f"{s}s[{i}].{w}" for i in range(2) for s in ("ask", "bid") for w in ("price", "amount"))
    text = f"exchange,symbol,timestamp,local_timestamp,{names}\r\nx,A,1700000000000000,1700000000000001,101,1,100,2,102,3,,\r\n"
    _, good, bad, _ = read(tmp_path, "b.csv", b"\xef\xbb\xbf" + text.encode())
    assert (good[0].bids, good[0].asks, bad) == ([(100.0, 2.0)], [(101.0, 1.0), (102.0, 3.0)], [])
    assert good[0].depth is None
    text = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n"
    text += "x,A,1700000000000000,1700000000000001,1,101,100,2\nx,A,1700000000000000,1700000000000001,,,100,2\n"
    name, good, bad, _ = read(tmp_path, "q.csv", text)
    assert (name, good[0].bids, good[0].asks) == ("Tardis quotes", [(100.0, 2.0)], [(101.0, 1.0)])
    assert bad == ["empty_book"]


def test_trades_of_bybit_have_seconds_with_fractions_and_come_newest_first(tmp_path):
    text = BYBIT + "1585180700.0647,BTCUSD,Buy,1,6698.5,ZeroMinusTick,late,14928.0,1,0.000149\n"
    text += "1585132572.9822,BTCUSD,Sell,2,6500.0,PlusTick,early,1e3,2,0.0003\n"
    name, good, bad, context = read(tmp_path, "BTCUSD2020-03-25.csv.gz", text)
    assert (name, bad) == ("Bybit or BitMEX trades", [])
    assert trades(good) == [
        (1585180700064700, "BTCUSD", 6698.5, 1.0, "buy", "late"),
        (1585132572982200, "BTCUSD", 6500.0, 2.0, "sell", "early"),
    ]
    assert any("contract_size" in note for note in context.notes)


def test_trades_of_bitmex_have_the_same_columns_and_another_time(tmp_path):
    text = BYBIT + "2024-01-01D00:00:01.000250000,XBTUSD,Sell,20,200,MinusTick,id-2,4000,0.2,40\n"
    _, good, _, _ = read(tmp_path, "20240101.csv", text)
    assert trades(good) == [(1704067201000250, "XBTUSD", 200.0, 20.0, "sell", "id-2")]


def test_the_ids_of_bybits_spot_count_rows_and_are_left_out(tmp_path):
    text = "id,timestamp,price,volume,side,rpi\n1,1672531202252,16542.75,0.017389,buy,0\n"
    _, good, _, _ = read(tmp_path, "BTCUSDT_2023-01-01.csv.gz", text)
    assert trades(good) == [(1672531202252000, "BTCUSDT", 16542.75, 0.017389, "buy", None)]


def test_trades_of_okx_are_read_in_all_three_forms(tmp_path):
    text = "instrument_name,trade_id,side,price,size,created_time,source\nBTC-USDT-SWAP,28,SELL,64927.5,1.772e-05,1784822400188,0\n"
    _, good, _, _ = read(tmp_path, "x.zip", text)
    assert trades(good) == [(1784822400188000, "BTC-USDT-SWAP", 64927.5, 1.772e-05, "sell", 28)]
    old = "trade_id/撮合id,side/交易方向,size/数量,price/价格,created_time/成交时间\n9,buy,3,100.5,1641000000000\n".encode(
        "gbk"
    )
    _, good, bad, _ = read(tmp_path, "BTC-USDT-SWAP-aggtrades-2022-01-01.csv", old)
    assert (trades(good), bad) == ([(1641000000000000, "BTC-USDT-SWAP", 100.5, 3.0, "buy", 9)], [])
    name, good, _, _ = read(tmp_path, "ETH-USDT-trades-2021-09-01.csv", "9,buy,3,100.5,1641000000000\n")
    assert name == "OKX trades without names"
    assert trades(good) == [(1641000000000000, "ETH-USDT", 100.5, 3.0, "buy", 9)]


def test_trades_of_kraken_have_no_side_and_bars_are_refused(tmp_path):
    _, good, _, _ = read(tmp_path, "XBTUSD.csv", "1559347203.7998,8552.9,0.0319027\n1559347204,8553,1")
    assert trades(good) == [
        (1559347203799800, "XBTUSD", 8552.9, 0.0319027, None, None),
        (1559347204000000, "XBTUSD", 8553.0, 1.0, None, None),
    ]
    with pytest.raises(FileFormError, match="--symbol"):
        read(tmp_path, "my trades.csv", "1559347203.7998,8552.9,0.0319027\n")
    with pytest.raises(FileFormError, match="import the file of trades"):
        read(tmp_path, "XBTUSD_60.csv", "1559347200,100,110,90,105,12.5,40\n")


def test_the_side_of_coinbase_is_the_makers_and_null_where_nobody_says_coinbase(tmp_path):
    text = 'side,"size",price,trade_id,time\nbuy,0.5,100,74,2024-01-01T00:00:01.000250Z\n'
    _, good, _, _ = read(tmp_path, "coinbase_BTC-USD_2024.csv", text)
    assert trades(good) == [(1704067201000250, "BTC-USD", 100.0, 0.5, "sell", 74)]
    _, good, _, context = read(tmp_path, "t.csv", text, symbol="BTC-USD")
    assert good[0].side is None
    assert any("--venue coinbase" in note for note in context.notes)
    assert read(tmp_path, "t.csv", text, symbol="B", venue="coinbase")[1][0].side == "sell"


def test_exports_of_ccxt_are_read_as_an_array_lines_and_a_table(tmp_path):
    one = {
        "id": "5",
        "timestamp": 1700000000123,
        "datetime": "2023-11-14T22:13:20.123Z",
        "symbol": "BTC/USDT:USDT",
        "order": None,
        "type": None,
        "takerOrMaker": None,
        "side": "sell",
        "price": "100.5",
        "amount": 2.0,
        "cost": 201.0,
        "info": {"a": [1]},
    }
    expected = (1700000000123000, "BTC/USDT:USDT", 100.5, 2.0, "sell", 5)
    for text in (json.dumps([one, one]), json.dumps([one, one], indent=2), f"{json.dumps(one)}\n{json.dumps(one)}"):
        assert trades(read(tmp_path, "t.json", text)[1]) == [expected, expected]
    table = ",id,timestamp,datetime,symbol,side,price,amount,cost\n"
    table += "0,5,1700000000123,2023-11-14T22:13:20.123Z,BTC/USDT:USDT,sell,100.5,2,201\n"
    assert trades(read(tmp_path, "t.csv", table)[1]) == [expected]
    _, good, bad, _ = read(tmp_path, "own.json", json.dumps([one | {"takerOrMaker": "maker"}]))
    assert (good, bad) == ([], ["wrong_type"])
    assert read(tmp_path, "order.json", json.dumps([one | {"status": "closed"}]))[2] == ["wrong_type"]


def test_books_of_ccxt_need_a_time(tmp_path):
    book = {
        "symbol": "BTC/USDT",
        "bids": [["100", 1.0, 3]],
        "asks": [[101.0, 2.0]],
        "timestamp": 1700000000123,
        "datetime": "x",
        "nonce": 7,
    }
    _, good, bad, _ = read(tmp_path, "b.json", json.dumps(book) + json.dumps(book | {"timestamp": None}))
    assert (good[0].bids, good[0].asks, time_us(good[0])) == ([(100.0, 1.0)], [(101.0, 2.0)], 1700000000123000)
    assert bad == ["missing_field"]


def bybit(kind: str, ts: int, update: int, bids: list, asks: list) -> str:
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": update, "seq": 1}
    return json.dumps({"topic": "orderbook.500.BTCUSDT", "ts": ts, "type": kind, "data": data})


def test_books_of_bybit_follow_their_updates_and_are_lost_where_one_is_missing(tmp_path):
    lines = [
        bybit("delta", 1700000000000, 4, [["1", "1"]], []),
        bybit("snapshot", 1700000000100, 5, [["100", "1"], ["99", "2"]], [["101", "3"]]),
        bybit("delta", 1700000000200, 6, [["100", "0"]], [["100.5", "4"]]),
        bybit("delta", 1700000000300, 8, [["98", "1"]], []),
        bybit("delta", 1700000000400, 9, [["98", "1"]], []),
        bybit("snapshot", 1700000000500, 1, [["97", "1"]], [["101", "3"]]),
    ]
    name, good, bad, context = read(tmp_path, "2024-01-01_BTCUSDT_ob500.data.zip", "\n".join(lines))
    assert name == "Bybit order books"
    books = [(time_us(b), b.bids, b.asks) for b in good if isinstance(b, OrderBook)]
    assert books == [
        (1700000000100000, [(100.0, 1.0), (99.0, 2.0)], [(101.0, 3.0)]),
        (1700000000200000, [(99.0, 2.0)], [(100.5, 4.0), (101.0, 3.0)]),
        (1700000000500000, [(97.0, 1.0)], [(101.0, 3.0)]),
    ]
    assert [time_us(one) for one in good if not isinstance(one, OrderBook)] == [1700000000200000]
    assert bad == ["sequence_gap"]
    assert context.passed_over.total() == 2


def test_damaged_and_short_rows_are_refused_and_the_rest_is_read(tmp_path):
    text = BYBIT + "1585180700.0647,BTCUSD,Buy,1\n1585180700.06,BTCUSD,Buy,1_0,6698.5,T,a,1,1,1\n"
    text += "1585180700.06,BTCUSD,Buy,nan,6698.5,T,a,1,1,1\n1585180700.06,BTCUSD,Buy,1,0,T,a,1,1,1\n"
    text += "1585180700.06,,Buy,1,2,T,a,1,1,1\n1585180700,B,Buy,1,2,T,a,1,1,1"
    _, good, bad, _ = read(tmp_path, "x.csv", text)
    assert bad == ["undecodable", "wrong_type", "not_finite", "not_positive", "bad_symbol"]
    assert len(good) == 1


def test_a_damaged_row_among_changes_makes_the_book_unknown(tmp_path):
    rows = [
        "x,A,1700000000000000,1700000000000200,true,bid,100,1",
        "x,A,1700000000000000,1700000000000200,true,ask,101,3",
        "x,A,1700000000100000,1700000000100100,false,bid,100,2",
        "x,A,1700000000500000",
        "x,A,1700000001000000,1700000001000100,false,bid,99,4",
    ]
    _, good, bad, _ = read(tmp_path, "i.csv", L2 + "\n".join(rows))
    assert [type(one).__name__ for one in good] == ["OrderBook", "OrderBook", "Gap"]
    assert bad == ["undecodable"]


def test_snapshots_one_after_another_are_each_a_book_and_one_in_two_messages_is_one(tmp_path):
    at = "1700000000000000"
    rows = [
        f"x,A,{at},1700000000000100,true,bid,100,1",
        f"x,A,{at},1700000000000200,true,ask,101,3",  # the second part
        f"x,A,{at},1700000000000300,true,bid,100,2",  # the next snapshot
        f"x,A,{at},1700000000000300,true,ask,102,4",
    ]
    _, good, bad, _ = read(tmp_path, "i.csv", L2 + "\n".join(rows))
    assert [(b.bids, b.asks) for b in good] == [
        ([(100.0, 1.0)], [(101.0, 3.0)]),
        ([(100.0, 2.0)], [(102.0, 4.0)]),
    ]
    assert bad == []


def test_an_id_that_fits_no_column_is_refused(tmp_path):
    one = {
        "id": 2**70,
        "timestamp": 1700000000123,
        "datetime": "x",
        "symbol": "A",
        "side": "buy",
        "price": 1,
        "amount": 1,
    }
    assert read(tmp_path, "t.json", json.dumps([one]))[2] == ["out_of_range"]

"""Files about perpetuals in the exact forms that Tardis and Binance publish."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from ingest.imports.formats.form import Context
from ingest.imports.formats.known import format_of
from ingest.imports.formats.table import head_of
from ingest.messages.kinds import time_us
from ingest.recordings.files import FileFormError
from ingest.recordings.lines import Rejected

TICKER = (
    "exchange,symbol,timestamp,local_timestamp,funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,"
    "index_price,mark_price\n"
)
LIQUIDATIONS = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
METRICS = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,sum_toptrader_long_short_ratio,"
    "count_long_short_ratio,sum_taker_long_short_vol_ratio\n"
)
BARS = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
IGNORED = "open_time,open,high,low,close,ignore,close_time,ignore,ignore,ignore,ignore,ignore\n"
FORCED = (
    "time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,last_fill_quantity,"
    "accumulated_fill_quantity\n"
)
QUOTES = "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
BAR = "1704067200000,42312.1,42335.8,42289.6,42330.25,0,1704067259999,0,60,0,0,0\n"


def read(folder: Path, name: str, text: str, **given: str) -> tuple[str, str, list[Any], list[str], Context]:
    """The names of format and market, the messages, why rows are refused, and the context."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(path.stem + ".csv", text)
    else:
        path.write_text(text)
    head, context = head_of(path), Context(**given)
    form = format_of(head)
    outputs = list(form.read(path, context))
    good = [output.message for output in outputs if not isinstance(output, Rejected)]
    return form.name, form.market(head).name, good, [str(o.reason) for o in outputs if isinstance(o, Rejected)], context


def test_a_ticker_of_tardis_tells_what_its_row_has(tmp_path: Path) -> None:
    rows = (
        "binance-futures,BTCUSDT,1704067200000250,1704067200123456,1704096000000000,0.0001,,1234.5,45002.0,45001.2,45000.5\n"
        "binance-futures,BTCUSDT,1704067201000000,1704067201234567,,,,,45002.5,,\n"
        "binance-futures,BTCUSDT,1704067202000000,1704067202234567,1704067200000000,0.0002,,,45002.5,,\n"
        "binance-futures,BTCUSDT,1704067203000000,1704067203234567,,,,,,,-1\n"
        "bybit,BTCUSDT,1704067203000000,1704067203234567,,,,,,,1\n"
    )
    name, _, (first, second), refused, context = read(tmp_path, "t.csv", TICKER + rows)
    assert name == "Tardis derivative_ticker"
    assert (time_us(first), first.received) == (1704067200000250, 1704067200124)
    assert (first.mark, first.index, first.funding_rate, first.next_funding_time, first.open_interest) == (
        45000.5, 45001.2, 0.0001, 1704096000000, 1234.5,
    )  # fmt: skip
    # the time of a settlement that has passed is none to come
    assert (second.mark, second.funding_rate, second.next_funding_time) == (None, 0.0002, None)
    assert refused == ["not_positive", "other_market"]
    assert dict(context.passed_over) == {"a ticker of the last price alone": 1}


def test_liquidations_of_tardis_have_the_side_of_the_forced_order(tmp_path: Path) -> None:
    rows = (
        "binance-futures,BTCUSDT,1704067200000250,1704067200123456,,sell,45000.5,0.25\n"
        "binance-futures,BTCUSDT,1704067200000300,1704067200123456,,BUY,45000,2\n"
        "binance-futures,BTCUSDT,1704067200000300,1704067200123456,,unknown,45000,2\n"
    )
    name, _, good, refused, _ = read(tmp_path, "liquidations/BTCUSDT.csv", LIQUIDATIONS + rows)
    assert name == "Tardis liquidations"
    assert [(one.side, one.price, one.size) for one in good] == [("sell", 45000.5, 0.25), ("buy", 45000.0, 2.0)]
    assert refused == ["wrong_type"]


@pytest.mark.parametrize(("symbol", "market"), [("BTCUSDT", "binance-futures"), ("BTCUSD_PERP", "binance-coinm")])
def test_metrics_of_binance_tell_open_interest(tmp_path: Path, symbol: str, market: str) -> None:
    rows = f"2025-10-07 00:00:00,{symbol},100243.058,12494186585.40,0.69,1.82,0.56,1.15\n2025-10-07 00:05:00,{symbol},,,,,,\n"
    name, told, (only,), refused, _ = read(tmp_path, f"{symbol}-metrics-2025-10-07.zip", METRICS + rows, prefix="P:")
    assert (name, told, refused) == ("Binance metrics", market, ["missing_field"])
    assert (only.symbol, only.open_interest, only.timestamp) == (f"P:{symbol}", 100243.058, 1759795200000)


def test_rates_of_binance_are_those_that_were_settled(tmp_path: Path) -> None:
    text = "calc_time,funding_interval_hours,last_funding_rate\n1751328000007,8,0.00008191\n1751356800001,8,much\n"
    name, market, (only,), refused, _ = read(tmp_path, "ETHUSDT-fundingRate-2025-07.zip", text)
    assert (name, market, refused) == ("Binance fundingRate", "binance-futures", ["wrong_type"])
    assert (only.symbol, only.timestamp, only.funding_rate) == ("ETHUSDT", 1751328000007, 0.00008191)


def test_forced_orders_of_binance_count_as_they_were_filled_and_once_where_a_row_stands_twice(tmp_path: Path) -> None:
    twice = "1687656471926,BUY,LIMIT,IOC,7,30741.3,30631.6,FILLED,6,7\n"
    rows = (
        f"{twice}{twice}"
        "1687656473356,SELL,LIMIT,IOC,43,30756.6,30630.1,PARTIALLY_FILLED,1,42\n"
        "1687656473400,SELL,LIMIT,IOC,43,30756.6,0,NEW,0,0\n"
        "1687656473500,HOLD,LIMIT,IOC,43,30756.6,30630.1,FILLED,1,42\n"
    )
    name, market, good, refused, context = read(
        tmp_path, "BTCUSD_PERP-liquidationSnapshot-2023-06-25.zip", FORCED + rows
    )
    assert (name, market) == ("Binance liquidationSnapshot", "binance-coinm")
    assert [(one.symbol, one.timestamp, one.side, one.price, one.size) for one in good] == [
        ("BTCUSD_PERP", 1687656471926, "buy", 30631.6, 7.0),
        ("BTCUSD_PERP", 1687656473356, "sell", 30630.1, 42.0),
    ]
    assert refused == ["wrong_type"]
    assert dict(context.passed_over) == {"a row like the one before it": 1, "a forced order that is not filled": 1}


def test_equal_rows_of_tardis_are_messages_and_left_to_the_kernel_that_refuses_repeats(tmp_path: Path) -> None:
    row = "bybit,BTCUSDT,1704067200000000,1704067200123456,,buy,45000.5,2\n"
    _, _, good, refused, context = read(tmp_path, "liquidations.csv", LIQUIDATIONS + row + row)
    assert ([one.size for one in good], refused, dict(context.passed_over)) == ([2.0, 2.0], [], {})


def test_quotes_of_binances_futures_are_books_of_one_level(tmp_path: Path) -> None:
    rows = (
        "1,27077.3,19.35,27077.4,8.6,1684237787209,1684237787214\n2,27077.3,0,27077.4,8.6,1684237787218,1684237787222\n"
    )
    name, market, (only,), refused, _ = read(tmp_path, "BTCUSDT-bookTicker-2023-05-16.zip", QUOTES + rows)
    assert (name, market, refused) == ("Binance bookTicker", "binance-futures", ["not_positive"])
    assert (only.symbol, only.timestamp, only.bids, only.asks) == (
        "BTCUSDT",
        1684237787214,
        [(27077.3, 19.35)],
        [(27077.4, 8.6)],
    )


@pytest.mark.parametrize("names", ["", BARS, IGNORED])
@pytest.mark.parametrize(("folder", "field"), [("markPriceKlines", "mark"), ("indexPriceKlines", "index")])
def test_bars_of_mark_and_index_give_their_close_at_their_end(
    tmp_path: Path, names: str, folder: str, field: str
) -> None:
    name, market, (only,), refused, _ = read(
        tmp_path, f"um/daily/{folder}/BTCUSDT/1m/BTCUSDT-1m-2024-01-01.zip", names + BAR
    )
    assert (name, market, refused) == (f"Binance {field}PriceKlines", "binance-futures", [])
    assert (only.symbol, only.timestamp, getattr(only, field)) == ("BTCUSDT", 1704067259999, 42330.25)
    assert (only.mark is None) != (only.index is None)


def test_contracts_that_are_paid_in_coins_are_told_by_the_folder_where_a_name_does_not(tmp_path: Path) -> None:
    _, market, *_ = read(tmp_path, "cm/daily/indexPriceKlines/BTCUSD/1m/BTCUSD-1m-2024-01-01.zip", BAR)
    assert market == "binance-coinm"


def test_bars_of_trades_are_refused_and_the_sentence_says_which_bars_are_read(tmp_path: Path) -> None:
    with pytest.raises(FileFormError, match="bars of a mark or an index price are read from a folder"):
        read(tmp_path, "BTCUSDT-1m-2024-01-01.zip", BAR)

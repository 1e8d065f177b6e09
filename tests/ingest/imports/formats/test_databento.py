"""DBN files made by Databento's own package, and the CSV that its own transcoder makes of them; books by hand."""

import io
from datetime import date
from types import SimpleNamespace

import databento_dbn as dbn
import pandas as pd
import pyarrow as pa
import pytest

from ingest.imports.formats import orders
from ingest.imports.formats.orders import TooManyOrdersError
from ingest.recordings.files import FileFormError
from tests.ingest.imports.formats.reading import read, told

LAST, SNAPSHOT, BAD_TS, BAD_BOOK = dbn.F_LAST, dbn.F_SNAPSHOT, dbn.F_BAD_TS_RECV, dbn.F_MAYBE_BAD_BOOK
UNDEF = dbn.UNDEF_PRICE
A, B, N = dbn.Side.ASK, dbn.Side.BID, dbn.Side.NONE
ADD, CANCEL, MODIFY, CLEAR, TRADE, FILL = (dbn.Action(c) for c in "ACMRTF")
T = pd.Timestamp("2024-03-05 14:30:00.000000250", tz="UTC").value
AT = T // 1000
DELAY = 1_500_000
DAYS = {"start_date": date(2024, 3, 5), "end_date": date(2024, 3, 6)}


def interval(begin, end, symbol):
    return SimpleNamespace(start_date=begin, end_date=end, symbol=symbol)


def mapping(symbol, intervals):
    return SimpleNamespace(raw_symbol=symbol, intervals=intervals)


def px(price):
    return UNDEF if price is None else round(price * 10**9)


def base(at, price, size, action, side):
    return {
        "publisher_id": 1,
        "instrument_id": 7,
        "ts_event": T + at,
        "price": px(price),
        "size": size,
        "action": action,
        "side": side,
    }


def trade(at, price, size, side=B, flags=LAST, **given):
    return dbn.TradeMsg(
        **{**base(at, price, size, TRADE, side), "depth": 0, "ts_recv": T + at + DELAY, "flags": flags, **given}
    )


def quote(at, bid, ask, action=ADD, flags=LAST, kind=dbn.MBP1Msg, **given):
    levels = [dbn.BidAskPair(px(b[0]), px(a[0]), b[1], a[1]) for b, a in zip(bid, ask, strict=True)]
    levels += [dbn.BidAskPair(UNDEF, UNDEF)] * ((1 if kind is dbn.MBP1Msg else 10) - len(levels))
    return kind(
        **{
            **base(at, 99.5, 4, action, B),
            "depth": 0,
            "ts_recv": T + at + DELAY,
            "flags": flags,
            "levels": levels[0] if kind is dbn.MBP1Msg else levels,
            **given,
        }
    )


def order(at, action, side, order_id, price, size, flags=LAST, **given):
    return dbn.MBOMsg(
        **{
            **base(at, price, size, action, side),
            "order_id": order_id,
            "ts_recv": T + at + DELAY,
            "flags": flags,
            **given,
        }
    )


def file(tmp_path, schema, records, *, mappings=None, name="a.dbn", cut=0, stype_in=dbn.SType.RAW_SYMBOL):
    if mappings is None:
        mappings = [mapping("ESH4", [interval(DAYS["start_date"], DAYS["end_date"], "7")])]
    metadata = dbn.Metadata(
        dataset="GLBX.MDP3", start=T, stype_in=stype_in, stype_out=dbn.SType.INSTRUMENT_ID,
        schema=dbn.Schema(schema), symbols=["ESH4"], partial=[], not_found=[], mappings=mappings,
    )  # fmt: skip
    data = metadata.encode() + b"".join(map(bytes, records))
    data = data[: len(data) - cut]
    path = tmp_path / name
    path.write_bytes(data if name.endswith("dbn") else pa.Codec("zstd").compress(data, asbytes=True))
    return path


def csv_of(path, *, pretty=True, symbols=True):
    out = io.BytesIO()
    coder = dbn.Transcoder(
        out, dbn.Encoding.CSV, dbn.Compression.NONE, pretty_px=pretty, pretty_ts=pretty, map_symbols=symbols
    )
    coder.write(path.read_bytes())
    coder.flush()
    target = path.with_suffix(".csv")
    target.write_bytes(out.getvalue())
    return target


TRADES = [trade(0, 100.25, 3), trade(1_000_000, 100.5, 2, A), trade(2_000_000, 100.5, 1, N)]
WANTED = [
    ("trade", AT, "ESH4", 100.25, 3.0, "buy"),
    ("trade", AT + 1_000, "ESH4", 100.5, 2.0, "sell"),
    ("trade", AT + 2_000, "ESH4", 100.5, 1.0, None),
]


@pytest.mark.parametrize("name", ["a.dbn", "a.dbn.zst", "wrong.csv"])
def test_trades_have_the_aggressors_side_and_the_symbol_of_the_metadata(tmp_path, name):
    path = file(tmp_path, "trades", TRADES, name="a.dbn" if name == "wrong.csv" else name)
    path = path.rename(tmp_path / name)
    form, good, bad, _ = read(path)
    assert form == "Databento DBN"
    assert told(good) == WANTED
    assert [one.received for one in good] == [-(-(T + at + 1_500_000) // 10**6) for at in (0, 10**6, 2 * 10**6)]
    assert bad == []


@pytest.mark.parametrize("pretty", [True, False])
def test_csv_of_databentos_own_transcoder_gives_what_its_dbn_gives(tmp_path, pretty):
    quotes = [quote(0, [(99.5, 4)], [(100.25, 5)]), quote(1000, [(None, 0)], [(100.25, 5)]), *TRADES[:0]]
    events = [order(0, CLEAR, N, 0, None, 0), order(0, ADD, B, 1, 99.5, 4), order(0, ADD, A, 2, 100.25, 5)]
    for schema, records in (("trades", TRADES), ("mbp-1", quotes), ("mbo", events)):
        path = file(tmp_path, schema, records)
        wanted = told(read(path)[1])
        form, good, bad, _ = read(csv_of(path, pretty=pretty))
        assert form == "Databento CSV"
        assert told(good) == wanted
        assert wanted
        assert bad == []


def test_csv_that_pandas_wrote_of_decimal_prices_and_times_is_read_alike(tmp_path):
    table = pd.read_csv(csv_of(file(tmp_path, "trades", TRADES)), parse_dates=["ts_recv", "ts_event"])
    table.set_index("ts_recv").to_csv(tmp_path / "p.csv")
    assert told(read(tmp_path / "p.csv")[1]) == WANTED


def test_a_price_in_csv_that_may_be_in_either_unit_is_refused(tmp_path):
    path = csv_of(file(tmp_path, "trades", TRADES))
    path.write_text(path.read_text().replace("100.250000000", "100"))
    _, good, bad, _ = read(path)
    assert told(good) == WANTED[1:]
    assert bad == ["wrong_type"]


def test_rows_without_symbols_need_one_from_the_user_and_never_make_two_instruments_one(tmp_path):
    path = csv_of(file(tmp_path, "trades", [*TRADES, trade(3_000_000, 1.0, 1, instrument_id=8)]), symbols=False)
    assert read(path)[2] == ["bad_symbol"] * 4
    _, good, bad, _ = read(path, symbol="ESH4", prefix="CME:")
    assert [one.symbol for one in good] == ["CME:ESH4"] * 3
    assert bad == ["other_market"]


def test_a_dbn_file_without_mappings_does_the_same(tmp_path):
    path = file(tmp_path, "trades", [*TRADES, trade(3_000_000, 1.0, 1, instrument_id=8)], mappings=[])
    assert read(path)[2] == ["bad_symbol"] * 4
    _, good, bad, _ = read(path, symbol="ESH4")
    assert told(good) == WANTED
    assert bad == ["other_market"]


def test_a_symbol_is_that_of_the_day_of_its_record(tmp_path):
    later = date(2024, 3, 6), date(2024, 3, 8)
    mappings = [
        mapping("ESH4", [interval(DAYS["start_date"], DAYS["end_date"], "7")]),
        mapping("NQH4", [interval(*later, "7")]),
    ]
    day = 86_400 * 10**9
    path = file(tmp_path, "trades", [trade(0, 1.0, 1), trade(day, 1.0, 1), trade(5 * day, 1.0, 1)], mappings=mappings)
    _, good, bad, _ = read(path)
    assert [one.symbol for one in good] == ["ESH4", "NQH4"]
    assert bad == ["bad_symbol"]


def test_the_symbol_of_a_file_of_one_instrument_is_the_one_that_the_user_gives(tmp_path):
    mappings = [mapping("BRN FMJ0024!", [interval(DAYS["start_date"], DAYS["end_date"], "7")])]
    path = file(tmp_path, "trades", [trade(0, 1.0, 1)], mappings=mappings)
    assert read(path)[2] == ["bad_symbol"]
    assert [one.symbol for one in read(path, symbol="BRN")[1]] == ["BRN"]
    mappings.append(mapping("ESH4", [interval(DAYS["start_date"], DAYS["end_date"], "8")]))
    path = file(tmp_path, "trades", [trade(0, 1.0, 1, instrument_id=8)], mappings=mappings)
    assert [one.symbol for one in read(path, symbol="BRN")[1]] == ["ESH4"]


def test_csv_without_its_index_is_refused_with_what_to_do(tmp_path):
    path = csv_of(file(tmp_path, "trades", TRADES))
    pd.read_csv(path, dtype=str).drop(columns="ts_recv").to_csv(path, index=False)
    with pytest.raises(FileFormError, match="without the column ts_recv"):
        read(path)


def test_a_quote_is_given_after_the_last_record_of_its_event_and_never_by_a_trade(tmp_path):
    path = file(
        tmp_path,
        "mbp-1",
        [
            quote(0, [(99.5, 4)], [(100.25, 5)]),
            quote(1000, [(99.5, 4)], [(100.25, 5)], TRADE, flags=0),
            quote(1000, [(99.5, 3)], [(100.25, 5)], CANCEL, flags=0),
            quote(1000, [(99.5, 2)], [(100.25, 5)], CANCEL),
            quote(2000, [(99.5, 9)], [(100.25, 5)], flags=0),  # the last record of its event did not change the level
            quote(3000, [(99.5, 1)], [(None, 0)]),
            quote(4000, [(99.5, 1)], [(99.5, 1)]),
            quote(5000, [(99.5, 1)], [(99.75, 1)]),
        ],
    )
    _, good, bad, context = read(path)
    assert told(good) == [
        ("book", AT, "ESH4", [(99.5, 4.0)], [(100.25, 5.0)]),
        ("trade", AT + 1, "ESH4", 99.5, 4.0, "buy"),
        ("book", AT + 1, "ESH4", [(99.5, 2.0)], [(100.25, 5.0)]),
        ("book", AT + 2, "ESH4", [(99.5, 9.0)], [(100.25, 5.0)]),
        ("gap", AT + 3, "ESH4", "book"),
        ("book", AT + 5, "ESH4", [(99.5, 1.0)], [(99.75, 1.0)]),
    ]
    assert bad == []
    assert context.passed_over == {
        "book with an empty side": 1,
        "crossed or locked book, as before an opening auction": 1,
    }


def test_ten_levels_are_given_without_those_that_are_undefined(tmp_path):
    record = quote(0, [(99.5, 4), (99.25, 1)], [(100.25, 5), (None, 0)], kind=dbn.MBP10Msg)
    path = file(tmp_path, "mbp-10", [record])
    wanted = [("book", AT, "ESH4", [(99.5, 4.0), (99.25, 1.0)], [(100.25, 5.0)])]
    assert told(read(path)[1]) == wanted
    assert told(read(csv_of(path))[1]) == wanted


def test_of_tbbo_only_the_trades_are_read_because_a_quote_before_a_trade_says_nothing_of_later(tmp_path):
    path = file(tmp_path, "tbbo", [quote(0, [(99.5, 4)], [(100.25, 5)], TRADE)])
    _, good, _, context = read(path)
    assert told(good) == [("trade", AT, "ESH4", 99.5, 4.0, "buy")]
    assert any("only the trades are read" in note for note in context.notes)


def test_a_book_is_made_of_its_orders(tmp_path):
    path = file(
        tmp_path,
        "mbo",
        [
            order(0, ADD, B, 50, 99.0, 1),  # before the first clear
            order(0, CLEAR, N, 0, None, 0, SNAPSHOT | BAD_TS, ts_recv=T + 10_000),
            order(-(10**15), ADD, B, 1, 99.5, 4, SNAPSHOT | BAD_TS, ts_recv=T + 10_000),
            order(-(10**14), ADD, A, 2, 100.5, 5, SNAPSHOT | BAD_TS | LAST, ts_recv=T + 10_000),
            order(1_000_000, ADD, B, 3, 99.5, 6),
            order(2_000_000, TRADE, A, 0, 99.5, 5, 0),
            order(2_000_000, FILL, B, 1, 99.5, 4, 0),
            order(2_000_000, CANCEL, B, 1, 99.5, 4, 0),
            order(2_000_000, CANCEL, B, 3, 99.5, 1),
            order(3_000_000, MODIFY, A, 2, 100.25, 7),
            order(4_000_000, MODIFY, B, 9, 99.25, 2),  # one that was not there is added
            order(5_000_000, CANCEL, A, 77, 100.25, 1),  # nobody heard of it
            order(6_000_000, ADD, B, 80, 99.0, 1),
            order(7_000_000, CLEAR, N, 0, None, 0),
            order(8_000_000, ADD, B, 81, 98.0, 1),
            order(9_000_000, ADD, A, 82, 98.5, 1),
        ],
    )
    _, good, bad, context = read(path)
    assert told(good) == [
        ("book", AT + 10, "ESH4", [(99.5, 4.0)], [(100.5, 5.0)]),
        ("book", AT + 1_000, "ESH4", [(99.5, 10.0)], [(100.5, 5.0)]),
        ("trade", AT + 2_000, "ESH4", 99.5, 5.0, "sell"),
        ("book", AT + 2_000, "ESH4", [(99.5, 5.0)], [(100.5, 5.0)]),
        ("book", AT + 3_000, "ESH4", [(99.5, 5.0)], [(100.25, 7.0)]),
        ("book", AT + 4_000, "ESH4", [(99.5, 5.0), (99.25, 2.0)], [(100.25, 7.0)]),
        ("gap", AT + 5_000, "ESH4", "book"),
        ("book", AT + 9_000, "ESH4", [(98.0, 1.0)], [(98.5, 1.0)]),
    ]
    # 99.5 is 0.25 % from the mid of 100: within 50 bps, and not within 25
    assert good[0].depth == ((0.0, 0.0, 398.0), (0.0, 0.0, 502.5))
    assert bad == ["sequence_gap"]
    assert context.passed_over["change of a book before its snapshot"] == 2


@pytest.mark.parametrize("cell", ["1.5e", ""])
def test_a_row_of_orders_that_cannot_be_read_makes_the_book_unknown(tmp_path, cell):
    records = [
        order(0, CLEAR, N, 0, None, 0),
        order(1_000_000, ADD, B, 1, 99.5, 4),
        order(2_000_000, ADD, A, 2, 100.5, 5),
        order(3_000_000, ADD, B, 3, 99.75, 77),
        order(4_000_000, ADD, B, 4, 99.25, 6),
    ]
    path = csv_of(file(tmp_path, "mbo", records))
    text = path.read_text()
    assert text.count(",77,") == 1
    path.write_text(text.replace(",77,", f",{cell},"))
    _, good, bad, _ = read(path)
    assert told(good) == [
        ("book", AT + 2_000, "ESH4", [(99.5, 4.0)], [(100.5, 5.0)]),
        ("gap", AT + 2_000, "ESH4", "book"),
    ]
    assert bad == ["wrong_type"]


def test_a_damaged_channel_makes_the_book_and_the_trades_before_it_unknown(tmp_path):
    path = file(
        tmp_path,
        "mbp-1",
        [
            quote(0, [(99.5, 4)], [(100.25, 5)]),
            quote(1000, [(99.5, 4)], [(100.25, 5)], TRADE),
            quote(2000, [(99.5, 4)], [(100.25, 5)], flags=LAST | BAD_BOOK),
            quote(3000, [(99.5, 4)], [(100.25, 5)], flags=LAST | BAD_BOOK),
            quote(4000, [(99.5, 4)], [(100.25, 5)]),
        ],
    )
    _, good, _, _ = read(path)
    assert [row[0] for row in told(good)] == ["book", "trade", "gap", "gap", "book"]
    assert [(one.channel, one.since_us) for one in good[2:4]] == [("book", None), ("trade", AT + 1)]


def test_a_second_publisher_is_another_market(tmp_path):
    _, good, bad, _ = read(file(tmp_path, "trades", [*TRADES, trade(3_000_000, 1.0, 1, publisher_id=2)]))
    assert told(good) == WANTED
    assert bad == ["other_market"]


def test_undefined_times_and_prices_are_refused(tmp_path):
    records = [trade(0, None, 1), trade(0, 1.0, 0), trade(0, 1.0, 1, ts_event=dbn.UNDEF_TIMESTAMP), trade(0, -1.0, 1)]
    path = file(tmp_path, "trades", records)
    wanted = ["missing_field", "not_positive", "missing_field", "not_positive"]
    assert read(path)[2] == wanted
    assert read(csv_of(path))[2] == wanted


def test_a_cut_file_gives_the_records_before_the_cut(tmp_path):
    for name in ("a.dbn", "a.dbn.zst"):
        _, good, bad, _ = read(file(tmp_path, "trades", TRADES, cut=10, name=name))
        assert told(good) == WANTED[:2]
        assert bad == ["undecodable"]
    path = file(tmp_path, "trades", TRADES)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(FileFormError, match="ends before its metadata does"):
        read(path)


def test_bars_are_refused_with_what_to_get(tmp_path):
    bar = dbn.OHLCVMsg(
        rtype=dbn.RType.OHLCV_1S, publisher_id=1, instrument_id=7, ts_event=T, open=1, high=1, low=1, close=1, volume=1
    )
    path = file(tmp_path, "ohlcv-1s", [bar])
    for one in (path, csv_of(path)):
        with pytest.raises(FileFormError, match="only the schemas trades, tbbo, mbp-1, mbp-10 and mbo are read"):
            read(one)


def test_orders_are_bounded_so_that_no_file_can_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(orders, "ORDERS_MAX", 2)
    records = [order(0, CLEAR, N, 0, None, 0), *(order(0, ADD, B, i, 1.0, 1) for i in (1, 2, 3))]
    with pytest.raises(TooManyOrdersError, match="write a file for each symbol"):
        read(file(tmp_path, "mbo", records))

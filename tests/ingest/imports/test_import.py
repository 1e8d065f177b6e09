"""Files onto the tape, read back from it with pandas as the oracle."""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from deltalake import DeltaTable

from ingest.cli import main
from ingest.imports import run as imports
from ingest.imports import writing
from ingest.imports.rows import Done, OrderError
from ingest.imports.writing import OtherMarketError
from ingest.messages.decode import encode
from ingest.messages.kinds import Trade
from ingest.recordings.columns import COMMON, GivenColumns
from ingest.recordings.files import FileFormError
from ingest.recordings.lines import Parsed
from ingest.recordings.recording import Recording
from ingest.settings import Settings
from ingest.streams.keys import partition_of
from ingest.tape import verify
from ingest.tape.columns import EVENTS, table_of
from ingest.tape.export import export
from ingest.tape.table import Batch, Tape, open_tape, open_to_append

DAY_US = 1_735_689_600_000_000  # 2025-01-01
SPOT = ["id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch"]
SIDES = {True: "sell", False: "buy"}


@pytest.fixture
def conf(tmp_path: Path) -> Settings:
    return Settings(partitions=2, tape=str(tmp_path / "tape"))


def spot_trades(n: int, *, begin: int = DAY_US, step: int = 40_000_000, first_id: int = 1) -> pd.DataFrame:
    rng = random.Random(n)
    times = sorted(begin + rng.randrange(step * 50) for _ in range(n))
    rows = [
        (
            first_id + i,
            round(rng.uniform(90, 110), 2),
            round(rng.uniform(0.001, 2), 5),
            1.0,
            t,
            rng.random() < 0.5,
            True,
        )
        for i, t in enumerate(times)
    ]
    return pd.DataFrame(rows, columns=SPOT)


def write(path: Path, frame: pd.DataFrame, *, names: bool = False) -> Path:
    text = frame.to_csv(index=False, header=names)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(path.stem + ".csv", text)
    else:
        path.write_text(text)
    return path


def bring(conf: Settings, *paths: Path, columns: GivenColumns = COMMON, venue: str = "") -> list[Done]:
    jobs = imports.plan(paths, columns, venue=venue)
    return [imports.run(job, conf, None, lambda done: None) for job in jobs]


def on_tape(conf: Settings) -> pd.DataFrame:
    """The rows of the tape as any reader of Delta Lake reads them, in the order of their ids, with the fields of their messages."""
    found = DeltaTable(conf.tape).to_pandas().sort_values(["id_ms", "id_n"], ignore_index=True)
    told = pd.DataFrame([msgspec.msgpack.decode(data) for data in found["data"]])
    return pd.concat([found.drop(columns=["symbol"]), told], axis=1)


def event_us(rows: pd.DataFrame) -> list[int]:
    fine = rows["timestamp_us"] if "timestamp_us" in rows else pd.Series([None] * len(rows))
    return [int(u) if u == u and u is not None else int(t) * 1000 for t, u in zip(rows["timestamp"], fine, strict=True)]


def is_right(conf: Settings) -> bool:
    return all(day.is_right for day in verify.days(open_tape(conf)))


def same(rows: pd.DataFrame, frame: pd.DataFrame, unit_us: int = 1) -> bool:
    told = list(zip(event_us(rows), rows["price"], rows["size"], rows["side"], rows["trade_id"], strict=True))
    us, sides = frame["time"] * unit_us, frame["isBuyerMaker"].map(SIDES)
    return told == list(zip(us, frame["price"], frame["qty"], sides, frame["id"], strict=True))


def test_spot_trades_of_binance_are_on_the_tape_as_pandas_reads_them(tmp_path, conf) -> None:
    frame = spot_trades(500)
    path = write(tmp_path / "BTCUSDT-trades-2025-01-01.zip", frame)
    [done] = bring(conf, path)
    rows = on_tape(conf)
    assert same(rows, frame) and done.new == 500
    assert set(rows["symbol"]) == {"BTCUSDT"} and set(rows["source"]) == {"import"} and rows["recorded"].all()
    assert set(rows["partition"]) == {partition_of("BTCUSDT", 2)} and is_right(conf)
    [again] = bring(conf, path)
    assert again.was_done and len(on_tape(conf)) == 500


@pytest.mark.parametrize("name", ["BTCUSDT", "BTCUSD_PERP"])
def test_futures_with_names_are_of_another_symbol_and_in_milliseconds(tmp_path, conf, name) -> None:
    frame = spot_trades(50, begin=DAY_US // 1000, step=40_000).drop(columns="isBestMatch")
    bring(conf, write(tmp_path / f"{name}-trades-2025-01.csv", frame, names=True))
    rows = on_tape(conf)
    assert same(rows, frame, 1000)
    assert set(rows["symbol"]) == {{"BTCUSDT": "BINANCE-FUTURES:BTCUSDT"}.get(name, f"BINANCE-COINM:{name}")}


def test_trades_and_aggregates_of_a_day_are_one_history_whichever_comes_first(tmp_path, conf) -> None:
    frame = spot_trades(30)
    cells = [(i, 100.5, 1.5, 2 * i, 2 * i + 1, DAY_US + i, True, True) for i in range(10)]
    aggregates = write(tmp_path / "BTCUSDT-aggTrades-2025-01-01.csv", pd.DataFrame(cells))
    later = [(i, 100.5, 1.5, 2 * i, 2 * i + 1, DAY_US + 86_400_000_000 + i, True, True) for i in range(10)]
    next_day = write(tmp_path / "BTCUSDT-aggTrades-2025-01-02.csv", pd.DataFrame(later))
    done = bring(conf, aggregates, next_day, write(tmp_path / "BTCUSDT-trades-2025-01-01.zip", frame))
    assert [(one.new, one.other_form) for one in done] == [(30, 0), (0, 10), (10, 0)]
    assert same(on_tape(conf).head(30), frame)


def test_aggregates_that_a_live_feed_heard_count_and_not_the_trades_of_a_file(tmp_path, conf) -> None:
    name = "BINANCE-FUTURES:BTCUSDT"
    data = encode(Trade(DAY_US // 1000, name, 100.0, 1.0, "buy", 7))
    heard = [(b"%d-0" % (DAY_US // 1000), {b"kind": b"trade", b"data": data})]
    p = partition_of(name, 2)
    open_to_append(conf, "").append([Batch(f"events:{{{p}}}", table_of(heard, EVENTS, p), heard[0][0])])
    frame = spot_trades(20, begin=DAY_US // 1000, step=1000).drop(columns="isBestMatch")
    [done] = bring(conf, write(tmp_path / "BTCUSDT-trades-2025-01-01.csv", frame))
    assert (done.new, done.other_form) == (0, 20) and is_right(conf)


def test_a_file_that_begins_with_the_newest_is_turned_round_with_the_trades_of_one_time(tmp_path, conf) -> None:
    frame = spot_trades(200, step=10)  # several in one microsecond
    assert frame["time"].duplicated().any()
    bring(conf, write(tmp_path / "BTCUSDT-trades-2025-01-01.csv", frame[::-1]))
    assert same(on_tape(conf), frame)


def test_a_file_without_order_is_put_in_the_order_of_time(tmp_path, conf) -> None:
    frame = spot_trades(300).drop_duplicates("time")
    bring(conf, write(tmp_path / "BTCUSDT-trades-2025-01-01.csv", frame.sample(frac=1, random_state=1)))
    assert same(on_tape(conf), frame)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("is_behind", [False, True])
def test_an_import_that_was_killed_goes_on_where_it_was(tmp_path, conf, monkeypatch, is_behind) -> None:
    frame = spot_trades(100)
    path = write(tmp_path / "BTCUSDT-trades-2025-01-01.csv", frame)
    monkeypatch.setattr(writing, "ROWS", 30)
    commit, calls = Tape.commit, []

    def dying(tape: Tape, *args: Any) -> None:
        calls.append(1)
        if len(calls) == 2 and not is_behind:
            raise KilledError
        commit(tape, *args)
        if len(calls) == 2:
            raise KilledError

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(Tape, "commit", dying)
        bring(conf, path)
    [done] = bring(conf, path)
    assert done.new == (40 if is_behind else 70)
    assert same(on_tape(conf), frame) and is_right(conf)


def test_an_append_of_another_writer_between_is_not_lost_and_nothing_is_doubled(tmp_path, conf, monkeypatch) -> None:
    path = write(tmp_path / "BTCUSDT-trades-2025-01-01.csv", spot_trades(40))
    other = write(tmp_path / "BTCUSDT-trades-2025-01-02.csv", spot_trades(25, first_id=900))  # of the same day
    commit = Tape.commit

    def overtaken(tape: Tape, *args: Any) -> None:
        monkeypatch.setattr(Tape, "commit", commit)
        bring(conf, other)
        commit(tape, *args)

    monkeypatch.setattr(Tape, "commit", overtaken)
    [done] = bring(conf, path)
    assert done.new == 40 and len(on_tape(conf)) == 65 and is_right(conf)


@pytest.mark.parametrize(("symbol", "market"), [("BTCUSDT", "binance-futures"), ("BTCUSD_PERP", "binance-coinm")])
def test_the_market_of_futures_is_told_by_the_symbol_that_is_given(tmp_path, symbol, market) -> None:
    path = write(tmp_path / "trades.csv", spot_trades(5, begin=DAY_US // 1000, step=10).drop(columns="isBestMatch"))
    [job] = imports.plan([path], GivenColumns(symbol=symbol))
    assert job.market.name == market


def test_two_markets_are_never_one_symbol(tmp_path, conf) -> None:
    bring(conf, write(tmp_path / "BTCUSDT-trades-2025-01-01.csv", spot_trades(5)))
    bybit = tmp_path / "bybit.csv"
    bybit.write_text("timestamp,symbol,side,size,price,tickDirection,trdMatchID\n1735689600.5,BTCUSDT,Buy,1,100,x,a\n")
    with pytest.raises(OtherMarketError, match=r"BTCUSDT of binance, and this file is of bybit: .*--prefix BYBIT:"):
        bring(conf, bybit)
    [done] = bring(conf, bybit, columns=GivenColumns(prefixes=(("*", "BYBIT:"),)))
    assert done.symbols == {"BYBIT:BTCUSDT"}


def test_a_table_is_read_by_the_columns_that_the_user_names(tmp_path, conf) -> None:
    frame = pd.DataFrame(
        {
            "at": pd.date_range("2024-05-01", periods=50, freq="137ms", tz="UTC"),
            "last": [100 + i / 4 for i in range(50)],
            "lots": [i + 1 for i in range(50)],
            "who": ["Buy", "SELL"] * 25,
            "action": ["T"] * 50,
        }
    )
    frame.to_parquet(tmp_path / "odd.parquet")
    with pytest.raises(FileFormError, match="events of orders"):
        bring(conf, tmp_path / "odd.parquet")
    fields = (("price", "last"), ("size", "lots"), ("side", "who"))
    bring(conf, tmp_path / "odd.parquet", columns=GivenColumns(timestamp="at", symbol="X/Y", fields=fields))
    rows = on_tape(conf)
    assert rows["price"].tolist() == frame["last"].tolist() and rows["size"].tolist() == frame["lots"].tolist()
    assert rows["side"].tolist() == frame["who"].str.lower().tolist()
    assert rows["timestamp"].tolist() == (frame["at"].astype("int64") // 1_000_000).tolist()


CAPTURE = """\
1723161255123000000 {"e":"trade","E":1723161255100,"s":"BTCUSDT","t":1,"p":"100","q":"1","T":1723161255100,"m":true,"M":true}
1723161255423000000 {"e":"trade","E":1723161255400,"s":"BTCUSDT","t":3,"p":"101","q":"2","T":1723161255400,"m":false,"M":true}
"""


def test_a_capture_is_imported_as_it_is_replayed(tmp_path, conf) -> None:
    path = tmp_path / "capture.jsonl"
    path.write_text(CAPTURE)
    outputs = [one for one in Recording([path]).market() if isinstance(one, Parsed)]
    assert [one.kind for one in outputs] == ["trade", "gap", "trade"]
    bring(conf, path)
    rows = on_tape(conf)
    assert rows["kind"].tolist() == [one.kind for one in outputs]
    assert rows["data"].tolist() == [encode(one.message) for one in outputs]
    assert rows["id_ms"].tolist() == [1723161255123, 1723161255423, 1723161255423]


def test_an_export_of_a_tape_keeps_arrivals_and_leaves_out_what_made_time_pass(tmp_path, conf) -> None:
    data = [encode(Trade(DAY_US // 1000, "BTCUSDT", 100.0, 1.0 + i, "buy", 7 + i)) for i in range(2)]
    heard = [(b"%d-%d" % (DAY_US // 1000 + 5, i), {b"kind": b"trade", b"data": one}) for i, one in enumerate(data)]
    heard.append((b"%d-0" % (DAY_US // 1000 + 6), {b"kind": b"tick", b"data": b'{"timestamp":1,"symbol":"BTCUSDT"}'}))
    p = partition_of("BTCUSDT", 2)
    tape = open_to_append(conf, "")
    tape.append([Batch(f"events:{{{p}}}", table_of(heard, EVENTS, p), heard[-1][0])])
    since = pd.Timestamp("2025-01-01", tz="UTC").to_pydatetime()
    export(tape, conf, tmp_path / "x.jsonl", since, since + pd.Timedelta("1h"))
    other = Settings(partitions=3, tape=str(tmp_path / "other"))
    bring(other, tmp_path / "x.jsonl")
    rows = DeltaTable(other.tape).to_pandas().sort_values(["id_ms", "id_n"])
    assert rows["id_ms"].tolist() == [DAY_US // 1000 + 5] * 2
    assert [msgspec.msgpack.decode(one)["size"] for one in rows["data"]] == [1.0, 2.0]


def test_changes_of_a_book_that_are_not_in_order_are_refused(tmp_path, conf) -> None:
    path = tmp_path / "l2.csv"
    rows = [f"x,A,{DAY_US},{DAY_US + 9000 - i * 1000},true,bid,99,5\n" for i in range(3)]
    rows += [f"x,A,{DAY_US},{DAY_US + 9000 - i * 1000},true,ask,101,5\n" for i in range(3)]
    rows += [f"x,A,{DAY_US},{DAY_US + at},false,bid,99,{at}\n" for at in (9000, 4000)]
    path.write_text("exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n" + "".join(rows))
    with pytest.raises(OrderError, match="sort it"):
        bring(conf, path)


OTHERS: dict[str, Callable[[], str]] = {
    "bars": lambda: "Date,Open,High,Low,Close,Volume\n2024-01-01,1,2,1,2,5\n",
    "write a row of each trade": lambda: '[{"a": 1}]',
    "bars: .* import trades or aggTrades": lambda: (
        "1499040000000,0.0163,0.8,0.0157,0.0157,148,1499644799999,2434.1,308,1756.8,28.4,0\n"
    ),
    "--column price=NAME": lambda: "when,what,much\nx,y,z\n",
}


@pytest.mark.parametrize("told", OTHERS)
def test_a_file_that_is_not_read_says_what_to_do(tmp_path, conf, told) -> None:
    path = tmp_path / "file.csv"
    path.write_text(OTHERS[told]())
    with pytest.raises(FileFormError, match=told):
        bring(conf, path)
    assert not Path(conf.tape).exists()


def test_the_exit_code_and_the_kept_rows_tell_what_was_refused(tmp_path, conf, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TFS_TAPE", conf.tape)
    path = tmp_path / "a.csv"
    path.write_text("timestamp,symbol,price,size\n1735689600000,BTC USDT,1,1\n1735689600000,BTC,-1,1\n")
    assert main(["import", str(path)]) == 1
    assert "nothing of a.csv could be read (bad_symbol" in capsys.readouterr().err
    [kept] = (tmp_path / "refused").glob("import-*.jsonl")
    assert [json.loads(line)["reason"] for line in kept.read_text().splitlines()] == ["bad_symbol", "not_positive"]
    path.write_text("timestamp,symbol,price,size\n1735689600000,BTC,2,1\n")
    assert main(["import", str(path), "--dry-run"]) == 0
    assert not (tmp_path / "tape" / "day=2025-01-01").exists()
    assert main(["import", str(tmp_path / "none.csv")]) == 2
    assert main(["import", str(path), "--json"]) == 0
    told = json.load(io.StringIO(capsys.readouterr().out.splitlines()[-1]))
    assert told["files"][0]["new"] == 1 and told["files"][0]["format"] == "columns"


def test_a_table_with_semicolons_is_read_and_a_list_of_orders_is_not(tmp_path, conf) -> None:
    path = tmp_path / "semi.csv"
    path.write_text("timestamp;symbol;price;size;side\n1735689600000;A;1,5;2;buy\n1735689600001;A;1.5;2;sell\n")
    [done] = bring(conf, path)
    assert on_tape(conf)["price"].tolist() == [1.5] and done.refused == {"wrong_type": 1}
    path.write_text("timestamp,symbol,price,amount,side,status\n1735689600000,A,1,2,buy,open\n")
    with pytest.raises(FileFormError, match="events of orders"):
        bring(conf, path)


def test_a_file_of_bitmex_is_not_taken_for_one_of_bybit(tmp_path, conf) -> None:
    path = tmp_path / "x.csv"
    path.write_text("timestamp,symbol,side,size,price,tickDirection,trdMatchID\n2024-01-01D00:00:01.5,X,Sell,1,2,x,a\n")
    assert [job.market.name for job in imports.plan([path], COMMON)] == ["bitmex"]


def test_a_pipe_and_an_empty_file_are_refused_and_a_name_commands_no_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFS_TAPE", str(tmp_path / "tape"))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a\x1b[31m.csv").touch()
    for name, told in (("pipe", "is a pipe or a device"), ("a\x1b[31m.csv", "a\\x1b[31m.csv is empty")):
        assert main(["import", str(tmp_path / name)]) == 2
        said = capsys.readouterr().err
        assert told in said
        assert "\x1b" not in said


def test_a_file_of_which_every_row_is_passed_over_is_no_success(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFS_TAPE", str(tmp_path / "tape"))
    path = tmp_path / "AAPL_2012-06-21_34200000_57600000_message_10.csv"
    path.write_text("34200.5,1,7,100,1180000,1\n")
    assert main(["import", str(path)]) == 1
    assert "1 event of an order, which is in the books passed over" in capsys.readouterr().err


def test_a_lobster_file_of_another_day_is_another_import_and_so_are_books_with_other_messages(tmp_path, conf) -> None:
    messages = tmp_path / "ABC_2012-06-21_34200000_57600000_message_1.csv"
    messages.write_text("34200.5,4,1,100,1000000,-1\n34201.5,1,2,50,990000,1\n")
    books = tmp_path / "ABC_2012-06-21_34200000_57600000_orderbook_1.csv"
    books.write_text("1000000,5,980000,7\n1000000,5,990000,50\n")
    given = GivenColumns(symbol="ABC")
    assert bring(conf, messages, books, columns=given)[0].new == 1
    assert all(done.was_done for done in bring(conf, messages, books, columns=given))
    renamed = messages.rename(tmp_path / "ABC_2012-06-22_34200000_57600000_message_1.csv")
    assert bring(conf, renamed, columns=given)[0].new == 1
    messages.write_text("34200.5,4,1,100,1000000,-1\n34202.5,1,2,50,990000,1\n")
    [done] = bring(conf, books, columns=given)
    assert not done.was_done and done.new == 2


@pytest.mark.parametrize(
    ("name", "text", "market"),
    [
        ("BTCUSDT-2024-01-01.csv", "id,timestamp,price,volume,side\n1,1704067200123,42000.5,0.01,buy\n", "bybit"),
        (
            "BTC-USDT-trades-2024-01-01.csv",
            "trade_id,side,size,price,created_time\n7,buy,0.5,42000.5,1704067200123\n",
            "okx",
        ),
        ("XBTUSD.csv", "1704067200,42000.5,0.01\n", "kraken"),
        (
            "coinbase_BTC-USD.csv",
            "time,trade_id,price,size,side\n2024-01-01T00:00:00Z,1,42000.5,0.01,buy\n",
            "coinbase",
        ),
        ("BTC-USD.csv", "time,trade_id,price,size,side\n2024-01-01T00:00:00Z,1,42000.5,0.01,buy\n", "unnamed"),
    ],
)
def test_a_file_that_one_venue_publishes_is_of_its_market(tmp_path, name: str, text: str, market: str) -> None:
    (tmp_path / name).write_text(text)
    [job] = imports.plan([tmp_path / name], COMMON)
    assert job.market.name == market

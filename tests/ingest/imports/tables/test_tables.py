"""Raw tables of the database onto the tape: their messages in the order of arrival, each once, also after rows were added."""

import json

import msgspec
import pandas as pd
import psycopg
import pytest
from deltalake import DeltaTable

from ingest.cli import main
from ingest.imports.tables import run as tables
from ingest.imports.tables.raw import open_source
from ingest.imports.tables.run import TableChangedError, job_of
from ingest.imports.writing import OtherMarketError
from ingest.settings import Settings

DAY_MS = 1_735_689_600_000  # 2025-01-01T00:00:00Z
TABLES = """
CREATE TABLE trades (time timestamptz, symbol text, price double precision, size numeric, side text, trade_id bigint, received bigint);
CREATE TABLE books (time bigint, symbol text, bids jsonb, asks jsonb);"""


@pytest.fixture
def conf(tmp_path):
    return Settings(partitions=2, tape=str(tmp_path / "tape"))


@pytest.fixture
def database(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(TABLES)
        yield connection


def trade(database, ms, n, symbol="A", price=100.0, received=None):
    at = pd.Timestamp(DAY_MS + ms, unit="ms", tz="UTC").to_pydatetime()
    row = (at, symbol, price, n, "buy", n, DAY_MS + (ms if received is None else received))
    database.execute("INSERT INTO trades VALUES (%s, %s, %s, %s, %s, %s, %s)", row)


def book(database, ms, bids, asks, symbol="A"):
    row = (DAY_MS + ms, symbol, *(None if side is None else json.dumps(side) for side in (bids, asks)))
    database.execute("INSERT INTO books VALUES (%s, %s, %s, %s)", row)


def bring(conf, url, *names, given=(), venue="", prefix="", folder=None):
    job = job_of(open_source(url, names or ("trades", "books"), given), url, venue=venue, prefix=prefix)
    return tables.run(job, conf, folder, lambda done: None)


def on_tape(conf):
    rows = DeltaTable(conf.tape).to_pandas().sort_values(["id_ms", "id_n"])
    told = [
        {"kind": kind, **msgspec.msgpack.decode(data)} for kind, data in zip(rows["kind"], rows["data"], strict=True)
    ]
    times = [one.get("timestamp_us", one["timestamp"] * 1000) // 1000 - DAY_MS for one in told]
    return rows, [(one["kind"], one["symbol"], ms, one.get("size")) for one, ms in zip(told, times, strict=True)]


def test_rows_of_tables_are_on_the_tape_in_the_order_of_arrival(conf, database, postgres_url) -> None:
    trade(database, 20, 2)
    trade(database, 10, 1, received=30)  # it happened first and was received last
    book(database, 15, [[99, 1]], [[101, 2]])
    book(database, 40, None, None)
    trade(database, 86_400_005, 4)
    trade(database, 5, 3, symbol="B")
    done = bring(conf, postgres_url, venue="x")
    rows, told = on_tape(conf)
    assert told == [
        ("trade", "B", 5, 3.0), ("book", "A", 15, None), ("trade", "A", 20, 2.0), ("trade", "A", 10, 1.0), ("gap", "A", 40, None),
        ("trade", "A", 86_400_005, 4.0),
    ]  # fmt: skip
    assert [ms - DAY_MS for ms in rows["id_ms"]] == [5, 15, 20, 30, 40, 86_400_005]
    assert set(rows["source"]) == {"import"} and done.new == 6 and done.read == {"trade": 4, "book": 1, "gap": 1}
    assert bring(conf, postgres_url, venue="x").was_done
    with pytest.raises(OtherMarketError, match="--prefix"):
        trade(database, 30, 5, symbol="B")
        bring(conf, postgres_url, venue="y")


def test_rows_that_were_added_behind_the_last_one_are_added_and_no_others_again(conf, database, postgres_url) -> None:
    for n in (1, 2):
        trade(database, n, n)
    bring(conf, postgres_url)
    trade(database, 3, 3)
    trade(database, 86_400_001, 4)
    done = bring(conf, postgres_url)
    assert done.new == 2 and not done.was_done
    assert [size for *_, size in on_tape(conf)[1]] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("change", ["INSERT", "UPDATE", "DELETE"])
def test_a_day_that_does_not_begin_as_on_the_tape_is_refused(conf, database, postgres_url, change) -> None:
    for n in (1, 2):
        trade(database, 10 * n, n)
    bring(conf, postgres_url)
    if change == "INSERT":
        trade(database, 15, 3)
    elif change == "UPDATE":
        database.execute("UPDATE trades SET price = 7 WHERE trade_id = 1")
        trade(database, 30, 3)
    else:
        database.execute("DELETE FROM trades WHERE trade_id = 2")
    with pytest.raises(
        TableChangedError, match="rows of A on 2025-01-01 in trades, books do not begin with those that the tape has"
    ):
        bring(conf, postgres_url)
    assert len(on_tape(conf)[1]) == 2


def test_a_table_is_always_imported_with_the_same_tables_and_columns(conf, database, postgres_url) -> None:
    trade(database, 1, 1)
    bring(conf, postgres_url, "trades")
    with pytest.raises(TableChangedError, match="give the same --table"):
        bring(conf, postgres_url, "trades", "books")
    with pytest.raises(TableChangedError, match="give the same --table"):
        bring(conf, postgres_url, "trades", given=[("", "side", "")])
    assert bring(conf, postgres_url, "trades", "books", prefix="P:").new == 1
    assert {symbol for _, symbol, *_ in on_tape(conf)[1]} == {"A", "P:A"}


def test_an_import_of_tables_that_was_killed_goes_on_where_it_was(conf, database, postgres_url, monkeypatch) -> None:
    from ingest.imports import writing
    from ingest.tape.table import Tape

    monkeypatch.setattr(writing, "ROWS", 2)
    for n in range(1, 8):
        trade(database, n, n, symbol="AB"[n % 2])
    commit, commits = Tape.commit, []

    def dies(self, rows, numbers):
        commits.append(1)
        if len(commits) == 3:
            raise KeyboardInterrupt
        commit(self, rows, numbers)

    monkeypatch.setattr(Tape, "commit", dies)
    with pytest.raises(KeyboardInterrupt):
        bring(conf, postgres_url)
    assert len(on_tape(conf)[1]) == 4
    bring(conf, postgres_url)
    assert sorted(size for *_, size in on_tape(conf)[1]) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


def test_impossible_rows_are_kept_with_their_reasons(conf, database, postgres_url, tmp_path) -> None:
    trade(database, 1, 1)
    trade(database, 2, -2)
    trade(database, 3, 3, symbol="NO SYMBOL")
    done = bring(conf, postgres_url, folder=tmp_path / "refused")
    assert done.refused == {"bad_symbol": 1, "not_positive": 1} and done.new == 1
    [kept] = (tmp_path / "refused").glob("import-*.jsonl")
    [told] = [json.loads(line) for line in kept.read_text().splitlines()]
    assert told["reason"] == "not_positive" and '"trade_id":-2' in told["data"]


def test_the_command_imports_tables(conf, database, postgres_url, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TFS_TAPE", conf.tape)
    monkeypatch.setenv("TFS_PARTITIONS", "2")
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    database.execute("ALTER TABLE trades RENAME COLUMN size TO lots")
    trade(database, 1, 1)
    trade(database, 86_400_001, 2)
    trades = ["import", "--table", "trades", "--column", "trades:size=lots"]
    assert main([*trades, "--before", "2025-01-02", "--dry-run"]) == 0
    assert main([*trades, "--before", "2025-01-02", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["files"][0]
    assert told["files"] == ["trades"] and told["new"] == 1 and told["format"] == "raw tables of the database"
    assert main(trades) == 0
    assert "1 messages of days that the tape has" in capsys.readouterr().out
    trade_of_tomorrow = "INSERT INTO trades SELECT time + interval '2 days', symbol, -price, lots, side, trade_id, NULL FROM trades LIMIT 1"
    database.execute(trade_of_tomorrow)  # it is refused, and the days before are well
    assert main(trades) == 0
    assert [size for *_, size in on_tape(conf)[1]] == [1.0, 2.0]
    for wrong, why in (
        (["import"], "name files, or raw tables"),
        ([*trades, "x.csv"], "with --table give no files"),
        (["import", "x.csv", "--since", "2025-01-01"], "go with --table"),
        (["import", "x.csv", "--column", "arrival=n"], "goes with --table"),
        (["import", "--table", "none"], "there is no table none"),
        ([*trades, "--column", "others:size=x"], "which no --table does"),
        ([*trades, "--prefix", "a.csv=P:"], "names no file"),
    ):
        assert main(wrong) == 2
        assert why in capsys.readouterr().err

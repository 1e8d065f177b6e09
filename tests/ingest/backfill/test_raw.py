"""Raw tables: a recording that was loaded into them gives the rows of its backfill, whatever the columns are called and typed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import psycopg
import pytest
from psycopg import sql

from ingest import settings
from ingest.backfill import feed, table
from ingest.backfill.days.run import backfill_from_tape
from ingest.backfill.run import backfill
from ingest.cli import main
from ingest.imports.tables import raw, raw_read
from ingest.imports.tables.run import job_of
from ingest.imports.tables.run import run as import_tables
from ingest.messages.kinds import Gap, OrderBook, time_us
from ingest.replay import messages
from ingest.simulate import history
from transforms.times import datetime_of_ms, datetime_of_us

from .test_run import differing, replay, stored

MIDNIGHT = 1_700_006_400_000
CONF = settings.load({"TFS_PARTITIONS": "1"})
PLAIN = """
CREATE TABLE trades (time timestamptz NOT NULL, symbol text NOT NULL, price double precision, size double precision,
    side text, trade_id bigint, received timestamptz);
CREATE TABLE books (time timestamptz NOT NULL, symbol text NOT NULL, bids jsonb, asks jsonb, sequence bigint, received timestamptz,
    depths jsonb);
CREATE INDEX ON trades (symbol, time);
CREATE INDEX ON books (symbol, time);"""
ODD = """
CREATE SCHEMA "Raw data";
CREATE TABLE "Raw data"."the ""odd"" trades" (ts bigint, pair varchar(20), px numeric, qty numeric, aggressor text, trade_id text,
    recv bigint, arrival integer);
CREATE TABLE "Raw data".snapshots ("when" timestamp, pair varchar(20), bids numeric[], asks double precision[], seq bigint,
    recv timestamp, arrival bigint);"""


def at(ms: int) -> datetime:
    return datetime_of_ms(ms)


def load(url, some, *, odd=False):
    """Load messages in a shuffled order, which nobody has promised to keep."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ODD if odd else PLAIN)
        rows = {"trade": [], "book": []}
        for n, (kind, m) in enumerate(some):
            time, received = (m.timestamp, m.received) if odd and kind == "trade" else (at(m.timestamp), at(m.received))
            if odd and kind != "trade":
                time, received = time.replace(tzinfo=None), received.replace(tzinfo=None)
            if kind == "trade":
                row = [time, m.symbol, m.price, m.size, m.side, m.trade_id, received]
                row[2:4] = map(str, row[2:4]) if odd else row[2:4]
                row[5] = str(row[5]) if odd and row[5] is not None else row[5]
            elif kind == "gap":
                row = [time, m.symbol, None, None, None, received, *([] if odd else [None])]
            else:
                sides = [[list(level) for level in side] for side in (m.bids, m.asks)]
                row = [time, m.symbol, *(sides if odd else map(json.dumps, sides)), m.sequence, received]
                row += [] if odd else [json.dumps(m.depth)]
            rows["trade" if kind == "trade" else "book"].append([*row, n] if odd else row)
        names = {
            "trade": ("Raw data", 'the "odd" trades') if odd else ("trades",),
            "book": ("Raw data", "snapshots") if odd else ("books",),
        }
        for kind, of_kind in rows.items():
            of_kind.sort(key=lambda row: hash((row[0], str(row[2]))))
            holes = sql.SQL(", ").join([sql.Placeholder()] * (len(of_kind[0]) if of_kind else 1))
            insert = sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(*names[kind]), holes)
            connection.cursor().executemany(insert, of_kind)


def source(url, *names, **given):
    with psycopg.connect(url, autocommit=True) as connection:
        return raw.Source(tuple(raw.describe(connection, name, given) for name in names or ("trades", "books")))


def without_silence(rows):
    """The values of stored rows: the rows that were made by hand do not say how long the feed had been silent."""
    return {key: row[8:] for key, row in rows.items()}


@pytest.fixture(scope="module")
def market():
    """Two symbols across midnight, with a gap; some messages are received after midnight that happened before."""
    some = list(
        history(MIDNIGHT - 90_000, MIDNIGHT + 60_000, symbols=("SIM-BTC", "ODD"), kinds=("book", "trade"), seed=8)
    )
    lost = Gap(MIDNIGHT - 30_000, "ODD", received=MIDNIGHT - 29_990)
    some = [
        (kind, m)
        for kind, m in some
        if not (m.symbol == "ODD" and kind == "book" and -30 < (m.timestamp - MIDNIGHT) / 1000 < -25)
    ]
    return sorted([*some, ("gap", lost)], key=lambda one: one[1].received)


@pytest.fixture(scope="module")
def expected(market):
    """What a replay of the same messages gives; a gap has no form as a line, so this is by hand."""
    from ingest.check.runs import Run

    rows = {}
    for symbol in ("SIM-BTC", "ODD"):
        run = Run(symbol, CONF)
        run.symbol.engine = type(run.symbol.engine)(CONF.instrument(symbol), CONF.emit_us)  # without the stand-in table
        for kind, message in market:
            if message.symbol == symbol:
                run.accept(kind, message)
        for t_us in run.last_ticks():
            run.tick(t_us)
        rows |= {(view, symbol, t): data for t, of_t in run.take_rows().items() for view, data in of_t.items()}
    return rows


def test_both_captures_in_raw_tables_give_the_rows_of_their_files(recordings, postgres_url):
    captures = sorted((recordings / "ws_binance_hftbacktest").glob("*.jsonl.gz"))
    some = list(messages(captures))
    load(postgres_url, some)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        books = raw.describe(connection, "books", {"depth": "depths"})
        tables = raw.Source((raw.describe(connection, "trades", {}), books))
    done = backfill([], postgres_url, CONF, source=tables, delay_ms=250)
    assert (done.lines, done.of, done.taken.total()) == (len(some), len(some), len(some))
    rows, delays = stored(postgres_url)
    assert differing(rows, replay(captures)) == []
    assert delays == {timedelta(milliseconds=250)}


@pytest.mark.parametrize("odd", [False, True], ids=["plain", "odd"])
def test_tables_of_any_names_and_types_give_the_rows_of_the_messages(market, expected, postgres_url, odd):
    load(postgres_url, market, odd=odd)
    if odd:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            trades = raw.describe(connection, '"Raw data"."the ""odd"" trades"', {"received": "recv"})
            books = raw.describe(
                connection, '"Raw data".snapshots', {"time": "when", "received": "recv", "sequence": "seq"}
            )
        tables = raw.Source((books, trades))
    else:
        tables = source(postgres_url)
    done = backfill([], postgres_url, CONF, source=tables)
    assert not done.refused
    assert differing(without_silence(stored(postgres_url)[0]), expected) == []


@pytest.mark.parametrize("odd", [False, True], ids=["plain", "odd"])
def test_tables_that_are_imported_give_the_same_rows_from_the_tape(market, expected, postgres_url, tmp_path, odd):
    load(postgres_url, market, odd=odd)
    conf = replace(CONF, tape=str(tmp_path / "tape"))
    names = ('"Raw data"."the ""odd"" trades"', '"Raw data".snapshots') if odd else ("trades", "books")
    columns = [(names[1], "time", "when"), ("", "received", "recv"), (names[1], "sequence", "seq")] if odd else []
    job = job_of(raw.open_source(postgres_url, names, columns), postgres_url, venue="", prefix="")
    import_tables(job, conf, None, lambda done: None)
    assert job.done.new == len(market) and not job.done.refused
    backfill_from_tape(postgres_url, conf, delay_ms=1000)
    assert differing(without_silence(stored(postgres_url)[0]), expected) == []


def test_several_processes_give_the_same_rows_and_say_how_far_they_are(market, expected, postgres_url):
    load(postgres_url, market)
    said = []
    done = backfill([], postgres_url, CONF, source=source(postgres_url), jobs=2, progress=said.append)
    assert differing(without_silence(stored(postgres_url)[0]), expected) == []
    assert said[-1].lines == said[-1].of == done.lines == len(market)


def test_a_run_that_was_stopped_is_carried_on(market, expected, postgres_url, monkeypatch):
    load(postgres_url, market)
    monkeypatch.setattr(feed, "CHECK_EVERY", 100)
    monkeypatch.setattr(table, "ROWS", 200)

    def stop(done):
        if done.lines > len(market) * 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backfill([], postgres_url, CONF, source=source(postgres_url), progress=stop)
    assert 0 < len(stored(postgres_url)[0]) < len(expected)
    done = backfill([], postgres_url, CONF, source=source(postgres_url))
    assert differing(without_silence(stored(postgres_url)[0]), expected) == []
    assert done.skipped > 0


def test_rows_that_cannot_be_are_refused_with_their_reasons_and_cost_nothing_else(market, expected, postgres_url):
    load(postgres_url, market)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE trades ALTER time DROP NOT NULL, ALTER symbol DROP NOT NULL")
        insert = "INSERT INTO trades (time, symbol, price, size, side, received) VALUES (%s, %s, %s, %s, %s, %s)"
        time = at(MIDNIGHT - 10_000)
        bad = [
            (time, "ODD", "NaN", 1, "buy", time),
            (time, "ODD", -1, 1, "buy", time),
            (time, "ODD", 1, None, "buy", time),
            (time, "ODD", 1, 1, "up", time),
            (time, "ODD", 1, 1, "buy", "infinity"),
            (time, "ODD", 1, 1, "buy", at(MIDNIGHT - 60_000)),
            (None, "ODD", 1, 1, "buy", time),
            (time, None, 1, 1, "buy", time),
            (time, "x'; DROP TABLE trades; --", 1, 1, "buy", time),
            ("infinity", "ODD", 1, 1, "buy", time),
            ("1960-01-01", "ODD", 1, 1, "buy", time),
        ]
        connection.cursor().executemany(insert, bad)
        connection.execute(
            "INSERT INTO books (time, symbol, bids, asks, received) VALUES (%s, 'NEW', '{\"a\": 1}', '[[1, 2]]', %s)",
            (time, time),
        )
    done = backfill([], postgres_url, CONF, source=source(postgres_url))
    assert done.refused == {
        "not_finite": 1,
        "not_positive": 1,
        "wrong_type": 4,
        "future_time": 1,
        "missing_field": 2,
        "bad_symbol": 1,
        "out_of_range": 2,
    }
    assert done.lines == len(market) + 12
    assert differing(without_silence(stored(postgres_url)[0]), expected) == []


def test_only_the_time_that_is_asked_for_is_read(market, postgres_url):
    load(postgres_url, market)
    asked = raw.Source(source(postgres_url).tables, MIDNIGHT - 20_000, MIDNIGHT + 10_000)
    done = backfill([], postgres_url, CONF, source=asked)
    inside = [m for _, m in market if MIDNIGHT - 20_000 <= m.timestamp < MIDNIGHT + 10_000]
    assert done.lines == len(inside)
    assert {t // 1000 for _, _, t in stored(postgres_url)[0]} <= set(range(MIDNIGHT - 20_000, MIDNIGHT + 10_001, 1000))


@pytest.mark.parametrize(
    ("kind", "scale"), [("timestamptz", None), ("timestamp", None), ("bigint", 1), ("bigint", 1000)]
)
def test_a_table_keeps_what_its_times_know_of_microseconds(postgres_url: str, kind: str, scale: int | None) -> None:
    event_us, received_us = MIDNIGHT * 1000 + 700, MIDNIGHT * 1000 + 900_001
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE TABLE t (time {0}, symbol text, price float8, size float8, received {0})").format(
                sql.SQL(kind)
            )
        )
        for us in (event_us, event_us + 300):
            both = [datetime_of_us(t) if scale is None else t // scale for t in (us, received_us)]
            connection.execute("SET TIME ZONE 'UTC'")
            connection.execute("INSERT INTO t VALUES (%s, 'A', 1, 2, %s)", both)
        tables = raw.Source((raw.describe(connection, "t", {}),))
        (days, _) = raw_read.days(connection, tables)
        outputs = list(raw_read.messages(connection, tables, "A", sorted(days["A"]), 5000))
    rest = [700, 1000] if scale != 1000 else [0, 1000]
    assert [time_us(out.message) - MIDNIGHT * 1000 for out in outputs] == rest  # type: ignore[union-attr]
    assert {out.message.received for out in outputs} == {MIDNIGHT + (901 if scale != 1000 else 900)}  # type: ignore[union-attr]


def test_rows_that_were_added_are_another_run(market, postgres_url):
    load(postgres_url, [one for one in market if one[1].timestamp < MIDNIGHT])
    first = backfill([], postgres_url, CONF, source=source(postgres_url))
    again = backfill([], postgres_url, CONF, source=source(postgres_url))
    assert (again.new, again.skipped) == (0, first.made)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("INSERT INTO trades VALUES (%s, 'ODD', 1, 1)", (at(MIDNIGHT - 1),))
    assert backfill([], postgres_url, CONF, source=source(postgres_url)).skipped == 0


@pytest.mark.parametrize(
    ("create", "given", "wrong"),
    [
        ("other (a int)", {}, "there is no table t"),
        ("t (time timestamptz, price int, size int)", {}, "no column for symbol: say which with --column symbol=NAME"),
        ("t (time timestamptz, symbol text, price int)", {}, "no column for size"),
        ("t (time timestamptz, symbol text, bids jsonb)", {}, "no column for asks"),
        ("t (time text, symbol text, price int, size int)", {}, "t.time is text: time must be"),
        ("t (time timestamptz, symbol text, bids text, asks text)", {}, "bids must be an array, json or jsonb"),
        ("t (time timestamptz, symbol text, price int, size int)", {"size": "lots"}, "has no column 'lots'"),
    ],
)
def test_a_table_that_cannot_be_read_is_told_before_anything_is_done(postgres_url, create, given, wrong):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {create}")
        with pytest.raises(raw.RawTableError, match=wrong):
            raw.describe(connection, "t", given)


def test_a_column_can_be_said_to_be_none(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (time bigint, symbol text, bids jsonb, asks jsonb, sequence bigint)")
        assert "sequence" not in raw.describe(connection, "t", {"sequence": ""}).columns


def test_the_command_reads_tables(market, expected, postgres_url, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    load(postgres_url, market, odd=True)
    tables = ["--table", '"Raw data"."the ""odd"" trades"', "--table", '"Raw data".snapshots']
    columns = ["--column", "received=recv", "--column", '"Raw data".snapshots:time=when', "--column", "sequence=seq"]
    assert main(["backfill", *tables, *columns, "--json"]) == 2
    assert "has no column 'seq'" in capsys.readouterr().err
    columns[-1] = '"Raw data".snapshots:sequence=seq'
    assert main(["backfill", *tables, *columns, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows_new"] == len(expected) and report["symbols"] == ["ODD", "SIM-BTC"]
    assert differing(without_silence(stored(postgres_url)[0]), expected) == []
    path = tmp_path / "market.jsonl"
    path.write_bytes(msgspec.json.encode(OrderBook(MIDNIGHT, "A", [(1.0, 1.0)], [(2.0, 1.0)])))
    assert main(["backfill", str(path), *tables, *columns]) == 2
    assert "hold posts" in capsys.readouterr().err
    assert main(["backfill"]) == 2
    assert main(["backfill", *tables, "--column", "nowhere:size=x"]) == 2
    assert "which no --table does" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "true", "false"), [("boolean", True, False), ("int", 1, 0), ("text", "True", "false")]
)
def test_the_side_of_a_table_may_be_told_by_whether_the_buyer_was_the_maker(postgres_url, kind, true, false):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            f"CREATE TABLE t (time bigint, symbol text, price float8, qty float8, is_buyer_maker {kind})"
        )
        rows = [(MIDNIGHT + n, value) for n, value in enumerate((true, false, None))]
        connection.cursor().executemany("INSERT INTO t VALUES (%s, 'A', 1, 2, %s)", rows)
        described = raw.Source((raw.describe(connection, "t", {}),))
        days = sorted(raw_read.days(connection, described)[0]["A"])
        found = [output.message.side for output in raw_read.messages(connection, described, "A", days, 5000)]
    assert found == ["sell", "buy", None]

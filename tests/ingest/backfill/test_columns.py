"""Trades and books in Parquet and CSV files: the rows of the same messages as JSON lines."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from itertools import chain

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest import settings
from ingest.backfill.run import backfill
from ingest.cli import main
from ingest.recordings.columns import GivenColumns
from ingest.recordings.rows import TableFileError
from ingest.simulate import history
from transforms.times import datetime_of_ms

from .test_run import differing, replay, stored

MIDNIGHT = 1_700_006_400_000
CONF = settings.load({"TFS_PARTITIONS": "1"})


@pytest.fixture(scope="module")
def market():
    """A minute and a half of two symbols across midnight."""
    return list(
        history(MIDNIGHT - 60_000, MIDNIGHT + 30_000, symbols=("SIM-BTC", "ODD"), kinds=("book", "trade"), seed=9)
    )


@pytest.fixture(scope="module")
def lines(market, tmp_path_factory):
    path = tmp_path_factory.mktemp("lines") / "market.jsonl"
    path.write_bytes(b"\n".join(msgspec.json.encode(message) for _, message in market))
    return path


def parquet(folder, market):
    """Times as timestamps of milliseconds, sides as lists of lists."""
    paths = []
    stamp = pa.timestamp("ms", "UTC")
    for kind, fields in (("book", ("bids", "asks", "sequence")), ("trade", ("price", "size", "side", "trade_id"))):
        rows = [m for k, m in market if k == kind]
        columns = {f: [getattr(m, f) for m in rows] for f in ("symbol", *fields)}
        for f in ("bids", "asks"):
            if f in columns:
                columns[f] = [[list(level) for level in side] for side in columns[f]]
        columns["time"] = pa.array([m.timestamp for m in rows], stamp)
        columns["received"] = pa.array([m.received for m in rows], stamp)
        paths.append(folder / f"{kind}s.parquet")
        pq.write_table(pa.table(columns), paths[-1])
    return paths


def text(folder, market):
    """Times as ISO text, sides as JSON; books with a column a level."""
    paths = [folder / "trades.csv", folder / "books.csv"]
    with paths[0].open("w", newline="") as trades, paths[1].open("w", newline="") as books:
        of_trades, of_books = csv.writer(trades), csv.writer(books)
        of_trades.writerow(["ts", "ticker", "px", "qty", "aggressor", "trade_id", "received_at"])
        n = max(len(side) for kind, m in market if kind == "book" for side in (m.bids, m.asks))
        levels = [f"{side}_{what}_{i}" for side in ("bid", "ask") for what in ("px", "qty") for i in range(n)]
        of_books.writerow(["ts_ms", "symbol", *levels, "sequence", "received"])
        for kind, m in market:
            if kind == "trade":
                received = datetime_of_ms(m.received)
                time = datetime_of_ms(m.timestamp)
                of_trades.writerow(
                    [time.isoformat(), m.symbol, m.price, m.size, m.side or "", m.trade_id, received.isoformat()]
                )
            else:
                of_sides = [
                    [side[i][j] if i < len(side) else "" for i in range(n)] for side in (m.bids, m.asks) for j in (0, 1)
                ]
                of_books.writerow([m.timestamp, m.symbol, *chain.from_iterable(of_sides), m.sequence, m.received])
    return paths


@pytest.mark.parametrize(("write", "jobs"), [(parquet, 2), (text, 1)])
def test_columns_give_the_rows_of_the_lines(market, lines, tmp_path, postgres_url, write, jobs):
    done = backfill(write(tmp_path, market), postgres_url, CONF, jobs=jobs, delay_ms=250)
    assert not done.refused
    assert done.taken.total() == done.lines == len(market)
    rows, delays = stored(postgres_url)
    assert differing(rows, replay([lines])) == []
    assert delays == {timedelta(milliseconds=250)}


def test_a_second_run_writes_nothing(market, tmp_path, postgres_url):
    paths = parquet(tmp_path, market)
    first = backfill(paths, postgres_url, CONF)
    again = backfill(paths, postgres_url, CONF)
    assert (again.new, again.skipped) == (0, first.made)


def test_recorded_snapshots_of_twenty_levels_are_read_as_they_are(recordings, postgres_url, monkeypatch, capsys):
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    path = recordings / "l2_okcoin_btccny_2016" / "book20_20160303.parquet"
    assert main(["backfill", str(path), "--symbol", "BTCCNY", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    n = pq.read_metadata(path).num_rows
    assert report["taken"].get("book", 0) + sum(report["refused"].values()) == n
    assert report["taken"]["book"] > 0.99 * n
    assert report["symbols"] == ["BTCCNY"]


def test_bad_rows_are_refused_with_their_reasons(tmp_path, postgres_url):
    path = tmp_path / "t.csv"
    rows = [
        "ok,A,1,1,buy",
        "yesterday,A,1,1,buy",
        ",A,1,1,buy",
        "ok,A,nan,1,buy",
        "ok,A,x,1,buy",
        "ok,A,1,,buy",
        "ok,,1,1,",
        "ok,A,1,1,up",
    ]
    text = "\n".join(["time,symbol,price,size,side", *rows])
    path.write_text(text.replace("ok", str(MIDNIGHT)))
    done = backfill([path], postgres_url, CONF)
    assert done.taken == {"trade": 1}
    assert done.refused == {"wrong_type": 4, "missing_field": 2, "not_finite": 1}


@pytest.mark.parametrize(("head", "wrong"), [("symbol,price,size", "--time-column"), ("time,price,size", "--symbol")])
def test_a_missing_column_is_told(tmp_path, postgres_url, head, wrong):
    path = tmp_path / "t.csv"
    path.write_text(head + "\n")
    with pytest.raises(TableFileError, match=wrong):
        backfill([path], postgres_url, CONF)
    backfill([path], postgres_url, CONF, columns=GivenColumns(timestamp="price", symbol="A"))

"""Served rows against the tape: equal, differing, lost, of other kernels and of imported history are told apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from feature_repo.stores.offline.kernels import number_of
from ingest import settings
from ingest.backfill.days.run import backfill_from_tape
from ingest.check import from_tape
from ingest.cli import main
from ingest.messages.decode import encode
from ingest.messages.kinds import time_us
from ingest.settings import Settings
from ingest.simulate import history
from ingest.streams import keys
from ingest.tape.table import open_tape
from ingest.worker import basis
from tests.ingest.backfill.days import tapes
from tests.ingest.backfill.days.tapes import DAY, MIDNIGHT, SYMBOLS

BTC, ETH = SYMBOLS
DAYS = 3
AT = "2023-11-15 23:59:57+00"


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a tape of three days of a log, a day's last seconds each."""
    environ = {"TFS_TAPE": str(tmp_path / "tape"), "TFS_PARTITIONS": "1"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    conf = settings.load()
    for day in range(DAYS):
        end = MIDNIGHT + (day + 1) * DAY
        messages = history(end - 8000, end, symbols=SYMBOLS, seed=day, kinds=("book", "trade"))
        entries = [
            (b"%d-%d" % (time_us(one) // 1000 + 40, n), {b"kind": kind.encode(), b"data": encode(one)})
            for n, (kind, one) in enumerate(messages)
        ]
        tapes.put_entries(conf, entries, 0)
    return conf


@pytest.fixture
def database(conf: Settings, postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The database with the rows that a worker makes of the log."""
    tapes.serve(conf, postgres_url, close=False)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def check(conf: Settings, connection: psycopg.Connection[Any], **which: Any) -> from_tape.Served:
    return from_tape.compare_served(open_tape(conf), connection, conf, from_tape.sample(100), **which)


def test_rows_of_a_worker_are_those_of_the_tape_with_and_without_kept_states(conf, database, postgres_url) -> None:
    (n,) = database.execute(
        "SELECT (SELECT count(*) FROM microstructure) + (SELECT count(*) FROM technical)"
    ).fetchone()
    read = []
    found = check(conf, database, progress=lambda done, of: read.append((done, of)))
    assert found.exit_code == 0 and len(found.days) == 2 * DAYS
    assert (found.differing, found.missing, found.extra, found.other_kernels, found.outside) == (0, [], [], 0, 0)
    of = {view: found.features[view, name].compared for view, name in found.features}
    assert of["microstructure"] + of["technical"] == n > 100
    last = tapes.nth(DAYS - 1)
    read.clear()
    alone = check(conf, database, symbols=[BTC], since=last)
    assert alone.days == [(BTC, last)] and alone.exit_code == 0 and alone.rows
    check(conf, database, since=last, progress=lambda done, of: read.append((done, of)))
    whole = read[-1]
    backfill_from_tape(postgres_url, conf)  # its recomputed rows are not looked at, its states are used
    again = check(conf, database, since=last, progress=lambda done, of: read.append((done, of)))
    assert again.exit_code == 0 and again.rows == 2 * alone.rows and read[-1][0] == read[-1][1] < whole[0] / 2


def test_a_bit_a_null_a_lost_row_and_an_invented_one_are_told(conf, database) -> None:
    database.execute(
        "UPDATE microstructure SET mid_price = mid_price * (1 + 2.3e-16) WHERE symbol = %s AND event_timestamp = %s",
        (BTC, AT),
    )
    database.execute(
        "UPDATE microstructure SET imbalance_l5 = NULL WHERE symbol = %s AND event_timestamp = %s", (ETH, AT)
    )
    found = check(conf, database)
    assert found.exit_code == 1 and found.differing == 2 and not found.after_others
    (bit,) = [r for r in found.features.values() if r.differing and r.feature == "mid_price"]
    assert bit.example.startswith(f"{BTC} at 2023-11-15T23:59:57.000")
    database.execute("DELETE FROM microstructure WHERE (symbol, event_timestamp) = (%s, %s)", (BTC, AT))
    database.execute(
        "UPDATE order_flow SET event_timestamp = event_timestamp + interval '1 ms' WHERE symbol = %s AND event_timestamp = %s",
        (ETH, AT),
    )
    found = check(conf, database)
    assert [(row.view, row.symbol) for row in found.missing] == [("microstructure", BTC), ("order_flow", ETH)]
    assert [(row.view, row.symbol) for row in found.extra] == [("order_flow", ETH)]


def test_rows_of_other_kernels_are_counted_and_what_differs_after_them_is_said_to_come_after(conf, database) -> None:
    number = number_of(database, {"none": 1})
    count = database.execute(
        "UPDATE technical SET kernels = %s, hour_sin = 7 WHERE event_timestamp < %s", (number, AT)
    ).rowcount
    count += database.execute("UPDATE order_flow SET kernels = NULL").rowcount
    found = check(conf, database)
    assert found.exit_code == 0 and found.other_kernels == count > 0
    database.execute("UPDATE technical SET hour_sin = 7 WHERE event_timestamp >= %s AND symbol = %s", (AT, ETH))
    found = check(conf, database)
    assert found.exit_code == 1 and found.after_others == {ETH}


def test_imported_history_counts_for_nothing_that_was_served(conf, database, postgres_url) -> None:
    tapes.put(conf, tapes.market(0, seconds=(0, 3)))
    backfill_from_tape(postgres_url, conf)
    found = check(conf, database, since=tapes.nth(DAYS - 1))
    assert found.exit_code == 0 and found.rows


def test_other_settings_than_those_of_the_worker_are_found(conf, database) -> None:
    found = check(replace(conf, emit_interval_ms=2000), database)
    assert found.exit_code == 1 and found.extra and not found.missing and not found.differing


def test_the_command_says_what_it_compared(
    conf, database, postgres_url, redis_url, redis_client, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    assert main(["check", "consistency", "--from-tape", "--samples", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] and len(found["symbol_days"]) == 2 and found["rows"] and not found["differing"]
    database.execute("TRUNCATE order_flow")
    assert main(["check", "consistency", "--from-tape", "--before", str(tapes.FIRST)]) == 1
    assert "FAILED: 0 symbol-days, 0 rows compared" in capsys.readouterr().out.replace("\n", " ")
    assert main(["check", "consistency", "--since", "2026-01-01"]) == 2
    redis_client.hset(keys.checkpoint(0), basis.FIELD, basis.encode(replace(conf, allowed_lateness_ms=7)))
    assert main(["check", "consistency", "--from-tape"]) == 2
    assert "the workers run with another TFS_ALLOWED_LATENESS_MS than is set here" in capsys.readouterr().err

"""A backfill from the tape: the rows of the worker, a day costs a day, and what changed is mended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psycopg
import pytest
from pyarrow import fs

from ingest.backfill import table
from ingest.backfill.days import contents, records, work
from ingest.backfill.days.run import backfill_from_tape
from ingest.backfill.run import backfill
from ingest.cli import main
from ingest.messages.kinds import PLAIN_STREAM, Trade
from ingest.microprice import tables as microprice
from ingest.settings import Settings, s3_address
from ingest.tape import compact, store
from ingest.tape.table import TapeError, open_tape
from tests.conftest import new_database
from tests.ingest.backfill.days.tapes import (
    DAY,
    MIDNIGHT,
    SYMBOLS,
    market,
    nth,
    put,
    serve,
    settings,
    stored,
    worker_rows,
)
from transforms.microstructure.layout import G_SIZE
from transforms.times import datetime_of_ms

BTC, ETH = SYMBOLS


@pytest.fixture
def conf(tmp_path: Path) -> Settings:
    return settings(str(tmp_path / "tape"))


@pytest.fixture
def other_url(servers: Any) -> Iterator[str]:
    """A second database, for what one run over everything makes."""
    with new_database(servers.postgres_url) as url:
        yield url


def test_the_rows_are_those_of_a_worker_that_is_given_the_tape(conf, postgres_url) -> None:
    n = sum(put(conf, market(day)) for day in range(3))
    found = backfill_from_tape(postgres_url, conf)
    rows = stored(postgres_url)
    assert rows == worker_rows(conf)
    assert all(rows[view] for view in ("microstructure", "order_flow", "technical", "normalized"))
    made = sum(map(len, rows.values()))
    assert (found.done.made, found.done.new, found.done.lines) == (made, made, n)
    assert (found.computed, found.passed, found.again) == (6, 0, {})
    assert found.done.taken.total() + found.done.refused.total() == n and found.done.symbols == set(SYMBOLS)


def test_another_day_reads_and_computes_that_day_alone_and_gives_the_rows_of_one_run(
    conf, postgres_url, other_url
) -> None:
    for day in range(3):
        put(conf, market(day))
    backfill_from_tape(postgres_url, conf)
    n = put(conf, market(3))
    found = backfill_from_tape(postgres_url, conf)
    assert (found.computed, found.passed, found.done.lines, found.again) == (2, 6, n, {})
    backfill_from_tape(other_url, conf)
    assert stored(postgres_url) == stored(other_url) == worker_rows(conf)
    found = backfill_from_tape(postgres_url, conf)
    assert (found.computed, found.passed, found.done.lines, found.done.new) == (0, 8, 0, 0)


def test_a_late_import_is_mended_with_all_days_that_depend_on_it_and_says_so(conf, postgres_url, other_url) -> None:
    for day in (0, 1, 2, 3):
        put(conf, market(day, seconds=(0, 6)) if day == 1 else market(day))
    backfill_from_tape(postgres_url, conf)
    late = market(1, (BTC,), (6, 12))
    put(conf, late, tag=1)
    found = backfill_from_tape(postgres_url, conf)
    assert found.again == {BTC: [nth(1), nth(2), nth(3)]} and not found.other_settings
    assert (found.computed, found.passed) == (3, 5)
    backfill_from_tape(other_url, conf)
    assert stored(postgres_url) == stored(other_url) == worker_rows(conf)


def test_a_day_imported_into_the_middle_is_mended(conf, postgres_url, other_url) -> None:
    for day in (0, 2):
        put(conf, market(day))
    backfill_from_tape(postgres_url, conf)
    put(conf, market(1))
    found = backfill_from_tape(postgres_url, conf)
    assert (found.computed, found.passed) == (4, 2)
    assert found.again == {BTC: [nth(2)], ETH: [nth(2)]}
    backfill_from_tape(other_url, conf)
    assert stored(postgres_url) == stored(other_url)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("calls", (1, 4, 6, 8, 11))
def test_a_run_that_is_killed_anywhere_is_carried_on_by_the_next(
    conf, postgres_url, other_url, monkeypatch, calls
) -> None:
    for day in range(2):
        put(conf, market(day))
    backfill_from_tape(postgres_url, conf)
    put(conf, market(0, seconds=(3, 4)), tag=1)  # repeated books and trades
    left = calls
    monkeypatch.setattr(work, "CHECK_EVERY", 100)
    monkeypatch.setattr("ingest.backfill.table.ROWS", 20)

    def mortal(method: Any, *, after: bool) -> Any:
        def call(*args: Any, **given: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and not after:
                raise KilledError
            found = method(*args, **given)
            if left == 0:
                raise KilledError
            return found

        return call

    with monkeypatch.context() as patch:
        patch.setattr(store.Store, "write", mortal(store.Store.write, after=calls % 2 == 1))
        patch.setattr(records.Writer, "collect", mortal(records.Writer.collect, after=calls % 2 == 0))
        patch.setattr(records.Writer, "write", mortal(records.Writer.write, after=calls % 2 == 0))
        with pytest.raises(KilledError):
            backfill_from_tape(postgres_url, conf)
    backfill_from_tape(postgres_url, conf)
    assert states(conf) == {nth(0): 2, nth(1): 2}
    backfill_from_tape(other_url, conf)
    assert stored(postgres_url) == stored(other_url)
    assert kept(postgres_url) == kept(other_url)


def mortal_at(day: date) -> Any:
    """Return a method that writes the rows of a day, and ends the run before those of this one."""
    write = records.Writer.write

    def call(self: records.Writer, plan: Any, unit: Any) -> None:
        if unit.day == day:
            raise KilledError
        write(self, plan, unit)

    return call


def states(conf: Settings) -> dict[date, int]:
    """Return how many states of symbols are kept of each day."""
    paths = Path(conf.tape, "_backfill", "states").glob("*/*/*")
    return dict(Counter(date.fromisoformat(path.parts[-3]) for path in sorted(paths)))


def test_a_state_that_was_replaced_is_deleted_whenever_a_run_was_killed(conf, postgres_url, monkeypatch) -> None:
    for day in range(3):
        put(conf, market(day, (BTC,)))
    backfill_from_tape(postgres_url, conf)
    before = {path.name for path in Path(conf.tape, "_backfill", "states").glob("*/*/*")}
    monkeypatch.setattr(work, "CHECK_EVERY", 10)
    monkeypatch.setattr("ingest.backfill.table.ROWS", 10)
    for killed in range(1, 4):
        put(conf, [("trade", Trade(MIDNIGHT + DAY - 11_500, BTC, 50_000.0, 3.0 + killed, "buy"))], tag=killed)
        with monkeypatch.context() as patch:
            patch.setattr(records.Writer, "write", mortal_at(nth(killed - 1)))
            with pytest.raises(KilledError):
                backfill_from_tape(postgres_url, conf)
    found = backfill_from_tape(postgres_url, conf)
    assert found.computed == 1 and states(conf) == {nth(0): 1, nth(1): 1, nth(2): 1}
    assert not before & {path.name for path in Path(conf.tape, "_backfill", "states").glob("*/*/*")}


def test_a_run_with_other_settings_that_is_killed_keeps_the_states_of_the_days_that_it_did_not_reach(
    conf, postgres_url, monkeypatch
) -> None:
    for day in range(3):
        put(conf, market(day, (BTC,)))
    backfill_from_tape(postgres_url, conf)
    with monkeypatch.context() as patch:
        patch.setattr(records.Writer, "write", mortal_at(nth(1)))
        with pytest.raises(KilledError):
            backfill_from_tape(postgres_url, replace(conf, allowed_lateness_ms=100))
    n = put(conf, market(3, (BTC,)))
    found = backfill_from_tape(postgres_url, conf, since=nth(3))
    assert found.done.lines >= n and states(conf)[nth(2)] == 1


def kept(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        about = "symbol, fingerprint, day, views, begin_us, end_us, rows"
        return connection.execute(f"SELECT {about} FROM backfill_days ORDER BY 1, 2").fetchall()  # noqa: S608


def test_served_rows_are_never_changed_though_their_key_is_that_of_a_recomputed_one(
    conf, postgres_url, other_url
) -> None:
    put(conf, market(0))
    put(conf, market(1))
    expected = worker_rows(conf)["order_flow"]
    served = [row for row in expected if row[0] == BTC][3]
    query = (
        "INSERT INTO order_flow (symbol, event_timestamp, created_timestamp, delta_volume_1m) VALUES (%s, %s, %s, 99)"
    )
    for url in (postgres_url, other_url):
        with psycopg.connect(url, autocommit=True) as connection:
            table.prepare(connection)
            connection.execute(query, served[:3])
    backfill_from_tape(postgres_url, conf)
    put(conf, market(0, seconds=(0, 1)), tag=1)
    put(conf, [("trade", Trade(MIDNIGHT + DAY - 11_500, BTC, 50_000.0, 3.0, "buy"))], tag=2)
    backfill_from_tape(postgres_url, conf)
    backfill_from_tape(other_url, conf)
    rows = stored(postgres_url, "recomputed")
    assert rows == stored(other_url, "recomputed") == worker_rows(conf)
    for url in (postgres_url, other_url):
        with psycopg.connect(url) as connection:
            kept = "SELECT symbol, event_timestamp, created_timestamp, delta_volume_1m FROM order_flow WHERE NOT recomputed"
            assert connection.execute(kept).fetchall() == [(*served[:3], 99)]


def test_other_settings_compute_everything_again_and_replace_the_rows(conf, postgres_url, other_url) -> None:
    put(conf, market(0))
    put(conf, market(1))
    backfill_from_tape(postgres_url, conf)
    slow = replace(conf, allowed_lateness_ms=100)
    found = backfill_from_tape(postgres_url, slow)
    assert (found.computed, found.passed) == (4, 0)
    assert found.other_settings == set(SYMBOLS)
    backfill_from_tape(other_url, slow)
    assert stored(postgres_url) == stored(other_url)


def test_days_that_were_served_and_backfilled_are_replaced_in_the_views_that_are_asked_for_and_served_rows_never(
    conf, postgres_url, other_url
) -> None:
    for day in range(2):
        put(conf, market(day))
    serve(conf, postgres_url)
    served = stored(postgres_url, "NOT recomputed")
    backfill_from_tape(postgres_url, conf)
    first = stored(postgres_url, "recomputed")
    assert first == worker_rows(conf)
    slow = replace(conf, emit_interval_ms=3000)
    found = backfill_from_tape(postgres_url, slow, views=["technical"])
    assert (found.computed, found.passed, found.other_settings) == (4, 0, set(SYMBOLS))
    backfill_from_tape(other_url, slow)
    wanted = stored(other_url)
    assert stored(postgres_url, "recomputed") == {**first, "technical": wanted["technical"]}
    again = backfill_from_tape(postgres_url, slow, views=["technical"])
    assert (again.computed, again.passed, again.done.new) == (0, 4, 0)
    rest = backfill_from_tape(postgres_url, slow)
    assert (rest.computed, rest.other_settings) == (4, set(SYMBOLS))
    assert stored(postgres_url, "recomputed") == wanted
    assert backfill_from_tape(postgres_url, slow).passed == 4
    assert kept(postgres_url) == kept(other_url)
    assert stored(postgres_url, "NOT recomputed") == served


def test_the_last_backfill_of_a_day_decides_and_those_before_know_that_it_is_theirs_no_longer(
    conf, postgres_url, tmp_path
) -> None:
    put(conf, market(0))
    put(conf, market(1))
    backfill_from_tape(postgres_url, conf)
    first = stored(postgres_url)
    path = tmp_path / "alone.jsonl"
    names = {kind: stream for stream, kind in PLAIN_STREAM.items()}
    with path.open("wb") as file:  # the second day, without what the kernels remember of the first one
        for kind, one in market(1):
            fields = {name: getattr(one, name) for name in one.__struct_fields__}
            file.write(msgspec.json.encode({"stream": names[kind], **fields}) + b"\n")
    assert backfill([path], postgres_url, conf).new > 0
    alone = stored(postgres_url)
    assert alone != first
    assert backfill([path], postgres_url, conf).new == 0
    found = backfill_from_tape(postgres_url, conf)
    assert found.again == {BTC: [nth(1)], ETH: [nth(1)]}
    assert stored(postgres_url) == first
    assert backfill([path], postgres_url, conf).new > 0
    assert stored(postgres_url) == alone


def test_since_and_before_choose_new_days_and_what_is_wrong_is_mended_all_the_same(
    conf, postgres_url, other_url
) -> None:
    for day in range(4):
        put(conf, market(day))
    found = backfill_from_tape(postgres_url, conf, symbols=[BTC], since=nth(1), before=nth(3))
    assert found.computed == 2
    every = worker_rows(conf)["technical"]
    # the row of 00:00 comes with the messages of the day that it begins
    spans = [row for row in every if row[0] == BTC and nth(1) <= row[1].date() < nth(3)]
    assert stored(postgres_url)["technical"] == spans
    put(conf, market(0, (BTC,), (0, 1)), tag=1)
    put(conf, [("trade", Trade(MIDNIGHT + DAY - 11_500, BTC, 50_000.0, 3.0, "buy"))], tag=2)
    found = backfill_from_tape(postgres_url, conf, symbols=[BTC], since=nth(3))
    assert found.again == {BTC: [nth(1), nth(2)]}
    assert found.computed == 3
    backfill_from_tape(postgres_url, conf)
    backfill_from_tape(other_url, conf)
    assert stored(postgres_url) == stored(other_url)


def test_processes_give_the_same_table(conf, postgres_url, other_url) -> None:
    for day in range(2):
        put(conf, market(day))
    backfill_from_tape(postgres_url, conf)
    found = backfill_from_tape(other_url, conf, jobs=2)
    assert stored(postgres_url) == stored(other_url)
    assert found.done.new == found.done.made > 0


def test_a_state_that_is_gone_is_made_again(conf, postgres_url, other_url) -> None:
    for day in range(2):
        put(conf, market(day))
    backfill_from_tape(postgres_url, conf)
    for path in Path(conf.tape, "_backfill", "states").glob("*/*/*"):
        path.unlink()
    n = put(conf, market(2))
    found = backfill_from_tape(postgres_url, conf)
    assert found.computed == 2 and found.done.lines > n
    backfill_from_tape(other_url, conf)
    assert stored(postgres_url) == stored(other_url)


def test_a_run_that_another_one_replaced_writes_nothing_more(conf, postgres_url) -> None:
    put(conf, market(0))

    def begin_another(_: Any) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            records.begin(connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "CHECK_EVERY", 20)
        with pytest.raises(records.OtherRunError, match="another backfill from the tape was begun"):
            backfill_from_tape(postgres_url, conf, progress=begin_another)
    assert not any(stored(postgres_url).values())


def test_a_tape_on_s3_gives_the_same_and_keeps_its_states_there(bucket, conf, postgres_url, other_url) -> None:
    there = replace(conf, tape=bucket)
    for at in (there, conf):
        put(at, market(0))
    backfill_from_tape(postgres_url, there)
    for at in (there, conf):
        put(at, market(1))
    found = backfill_from_tape(postgres_url, there)
    assert (found.computed, found.passed) == (2, 2)
    for at in (there, conf):
        put(at, [("trade", Trade(MIDNIGHT + DAY - 11_500, BTC, 50_000.0, 3.0, "buy"))], tag=1)
    kept_there = s3_names(bucket)
    assert len(kept_there) == 4
    backfill_from_tape(postgres_url, there)
    assert len(s3_names(bucket)) == 4 and len(s3_names(bucket) & kept_there) == 2
    backfill_from_tape(other_url, conf)
    assert stored(postgres_url) == stored(other_url)


def s3_names(bucket: str) -> set[str]:
    """Return the names of the states of a tape on S3."""
    there = fs.FileSelector(f"{bucket.removeprefix('s3://')}/_backfill/states", recursive=True)
    return {one.path for one in fs.S3FileSystem(**s3_address()).get_file_info(there) if one.is_file}


def test_the_command_counts_and_keeps_what_is_refused(conf, postgres_url, tmp_path, monkeypatch, capsys) -> None:
    for name, value in (("TFS_POSTGRES_URL", postgres_url), ("TFS_TAPE", conf.tape), ("TFS_PARTITIONS", "2")):
        monkeypatch.setenv(name, value)
    bad = Trade(MIDNIGHT + DAY - 11_000, BTC, -1.0, 3.0, "buy")
    put(conf, market(0))
    put(conf, [("trade", bad)], tag=1)
    call = ["backfill", "--from-tape", "--refused", str(tmp_path / "refused")]
    assert main([*call, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["days"] == {"computed": 2, "passed_over": 0, "again": {}}
    assert told["refused"] == {"not_positive": 1} and told["rows_new"] == told["rows"] > 0
    (path,) = (tmp_path / "refused").iterdir()
    (line,) = map(json.loads, path.read_text().splitlines())
    assert line["reason"] == "not_positive" and line["entry"]["data"]["price"] == -1.0
    put(conf, market(0, (ETH,), (0, 1)), tag=2)
    assert main(call) == 0
    said = capsys.readouterr().out
    assert f"{ETH} from 2023-11-15 on, as messages came to that day" in said
    assert "1 of a symbol each computed, 1 done before and unchanged; 1 of those computed had been done before" in said
    assert main([*call, "--symbols", "NOPE"]) == 2
    assert "the tape has no message of NOPE" in capsys.readouterr().err
    assert main([*call, "file.jsonl"]) == 2
    assert main(["backfill", "--symbols", "A", "file.jsonl"]) == 2


def test_a_day_that_is_not_as_it_was_appended_is_refused(conf, postgres_url) -> None:
    put(conf, market(0))
    open_tape(conf).table.delete("kind = 'trade'")
    with pytest.raises(TapeError, match="is not what was appended; run `python -m ingest tape verify`"):
        backfill_from_tape(postgres_url, conf)
    open_tape(conf).table.delete()
    with pytest.raises(TapeError, match="2 days of partitions have no rows any more"):
        backfill_from_tape(postgres_url, conf)


def test_days_that_were_rewritten_are_passed_over_and_the_states_outlive_the_deletion_of_old_files(
    conf, postgres_url
) -> None:
    for day in range(2):
        put(conf, market(day))
    backfill_from_tape(postgres_url, conf)
    tape = open_tape(conf)
    for p, day in tape.days():
        compact.compact(tape, p, day)
    tape.table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "_read", None)
        patch.setattr(work, "rows", None)
        found = backfill_from_tape(postgres_url, conf)
    assert (found.computed, found.passed) == (0, 4)
    n = put(conf, market(2))
    assert backfill_from_tape(postgres_url, conf).done.lines == n


def test_imported_history_takes_the_fitted_tables_of_the_database_from_their_time_on(conf, postgres_url) -> None:
    usable = MIDNIGHT + 2 * DAY - 4000
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        table.prepare(connection)
        microprice.prepare(connection)
        span = microprice.Span(*map(datetime_of_ms, (MIDNIGHT, MIDNIGHT + DAY, usable, MIDNIGHT + DAY)))
        fitted = np.concatenate([[0.0, 0.01], np.linspace(-1.0, 1.0, G_SIZE)])  # from, tick, moves of the mid
        microprice.append(connection, BTC, span, fitted, 1000)
    for day in range(3):
        put(conf, market(day))
        backfill_from_tape(postgres_url, conf)
    with psycopg.connect(postgres_url) as connection:
        query = "SELECT symbol, event_timestamp, microprice, mid_price FROM microstructure ORDER BY 1, 2"
        rows = connection.execute(query).fetchall()
    whole = [row for row in rows if row[3] is not None]
    known = [row[:2] for row in whole if row[2] is not None]
    assert known == [row[:2] for row in whole if row[0] == BTC and row[1] >= datetime_of_ms(usable)] != []

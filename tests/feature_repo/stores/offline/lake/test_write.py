"""Writing the lake: a writer that dies at any step leaves every day readable as it is or not at all, and nothing is written twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from deltalake import DeltaTable
from feast import FeatureStore, FeatureView
from feast.types import Float64, Int64

from feature_repo.stores.offline.join import from_lake
from feature_repo.stores.offline.lake import files, marks, read, tables
from feature_repo.stores.offline.lake.write import write
from feature_repo.stores.offline.tables import hypertable
from tests.feature_repo.stores.offline.lake import histories


@pytest.fixture
def store(
    open_store: Callable[..., FeatureStore],
    view: Callable[..., FeatureView],
    database: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> FeatureStore:
    monkeypatch.setattr(from_lake, "GROUP_COST", 0)
    made = open_store(view("quick", 5, {"a": Float64, "n": Int64}), view("slow", 0, {"b": Float64}))
    rng = np.random.default_rng(3)
    for name in histories.COLUMNS:
        histories.add(database, rng, name, 60)
    return made


def days(place: str, name: str = "quick") -> dict[Any, tables.Day]:
    table = tables.open_table(place, name)
    return tables.days(table) if table else {}


def same(store: FeatureStore, place: str) -> bool:
    frame = histories.frame(np.random.default_rng(5), 80)
    found = []
    for lake in (None, place):
        with histories.lake(lake):
            found.append(histories.bits(store.get_historical_features(frame, histories.FEATURES).to_arrow()))
    return bool(found[0] == found[1])


def readable(database: psycopg.Connection[Any], place: str, name: str = "quick") -> list[str]:
    states = marks.states(database, (name,))
    return [str(day) for day, of in days(place, name).items() if states is not None and of.state == states[day]]


def test_days_that_did_not_change_are_not_written_again_and_one_that_did_is(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path
) -> None:
    place = str(tmp_path)
    histories.write_lake(database, store, place)
    before = days(place)
    filled = database.execute("SELECT DISTINCT (event_timestamp AT TIME ZONE 'UTC')::date FROM quick").fetchall()
    assert {day for day, of in before.items() if of.files[0][1]} == {day for (day,) in filled}
    assert len(readable(database, place)) == len(before) >= histories.DAYS
    histories.write_lake(database, store, place)
    assert days(place) == before
    database.execute(
        "UPDATE quick SET a = a WHERE event_timestamp BETWEEN '2024-01-01' AND '2024-01-01 23:59:59.999999'"
    )
    assert len(readable(database, place)) == len(before) - 1
    histories.write_lake(database, store, place)
    changed = [str(day) for day, of in days(place).items() if of != before[day]]
    assert changed == ["2024-01-01"]
    assert len(readable(database, place)) == len(before)


def test_a_day_is_not_readable_after_each_kind_of_change_or_when_its_changes_are_not_seen(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path
) -> None:
    place = str(tmp_path)
    for change in (
        "INSERT INTO quick VALUES ('A', '2024-01-02 05:00Z', '2024-01-02 05:00Z', 1, 2, NULL, NULL, false)",
        "UPDATE quick SET event_timestamp = event_timestamp + interval '1 day' WHERE event_timestamp < '2024-01-02' AND symbol = 'A'",
        "DELETE FROM quick WHERE event_timestamp >= '2024-01-02' AND event_timestamp < '2024-01-03'",
        "ALTER TABLE quick ADD COLUMN later double precision",
        "ALTER TABLE quick DISABLE TRIGGER lake_deleted",
        "ALTER TABLE quick ENABLE TRIGGER lake_deleted; TRUNCATE quick",
    ):
        if "SET event_timestamp" in change and hypertable.installed(database):
            continue  # TimescaleDB moves no row to another chunk
        if "ENABLE" not in change:
            histories.write_lake(database, store, place)
        database.execute(change)
        assert "2024-01-02" not in readable(database, place), change
        assert same(store, place), change


def test_today_is_not_written_and_its_live_rows_leave_no_marks(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path
) -> None:
    histories.write_lake(database, store, str(tmp_path))
    now = datetime.now(UTC)
    begin = (now + timedelta(hours=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    (before,) = database.execute("SELECT count(*) FROM lake_marks").fetchone() or (None,)
    put = "INSERT INTO quick (symbol, event_timestamp, created_timestamp) VALUES (%s, %s, %s)"
    database.execute(put, ("A", begin, begin))
    assert database.execute("SELECT count(*) FROM lake_marks").fetchone() == (before,)
    database.execute(put, ("A", begin - timedelta(microseconds=1), begin))
    assert database.execute("SELECT count(*) FROM lake_marks").fetchone() == (before + 1,)
    histories.write_lake(database, store, str(tmp_path))
    assert max(days(str(tmp_path))) < datetime.now(UTC).date()


def test_a_writer_that_dies_at_any_step_leaves_a_lake_that_reads_as_the_database(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path
) -> None:
    rng = np.random.default_rng(11)
    with histories.killed(at=0) as steps:
        histories.write_lake(database, store, str(tmp_path / "whole"))
    place = str(tmp_path / "broken")
    for at in sorted(rng.integers(1, steps[0], 5).tolist()):
        with histories.killed(at):
            histories.write_lake(database, store, place)
        assert same(store, place), at
        database.execute("UPDATE quick SET a = a + 0.5 WHERE symbol = 'A'")
        assert same(store, place), at
    histories.write_lake(database, store, place)
    assert len(readable(database, place)) == len(days(place))
    assert same(store, place)


def test_deletions_of_a_transaction_leave_one_mark_for_a_day_and_none_where_they_are_taken_back(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path
) -> None:
    histories.write_lake(database, store, str(tmp_path))
    count = "SELECT count(*) FROM lake_marks WHERE day = '2024-01-02'"
    ((before,),) = database.execute(count).fetchall()
    delete = (
        "DELETE FROM quick WHERE event_timestamp >= '2024-01-02' AND event_timestamp < '2024-01-03' AND symbol = %s"
    )
    with database.transaction():
        with contextlib.suppress(psycopg.errors.DivisionByZero), database.transaction():
            database.execute(delete, ("A",))
            database.execute("SELECT 1 / 0")
        assert database.execute(count).fetchone() == (before,)
        for symbol in ("A", "B", "Bb"):
            database.execute(delete, (symbol,))
    assert database.execute(count).fetchone() == (before + 1,)
    assert "2024-01-02" not in readable(database, str(tmp_path))


def test_a_snapshot_that_is_older_than_the_copy_and_a_day_that_another_program_rewrote_are_not_read(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path
) -> None:
    place = str(tmp_path)
    with psycopg.connect(database.info.dsn, password=database.info.password) as older:
        older.execute("SELECT 1")
        histories.write_lake(database, store, place)
        assert read.view(older, place, ("quick",)) is None
        assert read.view(database, place, ("quick",)) is not None
    before = readable(database, place)
    table = DeltaTable(f"{place}/quick")
    table.delete("symbol = 'A' AND day = '2024-01-01'")
    assert set(before) - set(readable(database, place)) == {"2024-01-01"}
    assert same(store, place)


def test_a_day_that_timescaledb_packs_keeps_its_state_and_is_told_as_packed(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path
) -> None:
    if not hypertable.version(database):
        pytest.skip("this server does not load TimescaleDB")
    histories.write_lake(database, store, str(tmp_path))
    before = marks.states(database, ("quick",))
    database.execute("SELECT compress_chunk(c) FROM show_chunks('quick') AS c")
    after = marks.states(database, ("quick",))
    assert before is not None
    assert after is not None
    assert (after.of_table, after.of_day) == (before.of_table, before.of_day)
    assert before.packed == frozenset()
    assert after.packed >= {day for day, of in days(str(tmp_path)).items() if sum(rows for _, rows in of.files)}
    assert len(readable(database, str(tmp_path))) == len(days(str(tmp_path)))
    assert same(store, str(tmp_path))


def test_two_writers_of_a_day_at_once_do_not_double_it(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path)
    save = files.save
    other: list[int] = []

    def after_another(*given: Any) -> Any:
        saved = save(*given)
        if not other:
            other.append(1)
            with psycopg.connect(database.info.dsn, password=database.info.password, autocommit=True) as second:
                histories.write_lake(second, store, place)
        return saved

    monkeypatch.setattr(files, "save", after_another)
    with pytest.raises(tables.ConflictError):
        histories.write_lake(database, store, place)
    assert {len(of.files) for of in days(place).values()} == {1}
    assert same(store, place)


def test_polars_reads_the_lake_as_it_is(store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path) -> None:
    import polars as pl

    histories.write_lake(database, store, str(tmp_path))
    rows = database.execute("SELECT count(*), sum(n) FROM quick").fetchone() or (0, 0)
    found = pl.scan_delta(str(tmp_path / "quick")).collect()
    assert (found.height, sum(n for n in found["n"].to_list() if n is not None)) == (rows[0], int(rows[1]))
    assert set(found["day"].to_list()) == set(days(str(tmp_path)))


def test_a_column_is_what_arrow_reads_where_row_groups_have_nulls_or_none_and_a_file_that_is_cut_off_is_refused(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "GROUP_ROWS", 4)
    database.execute("TRUNCATE quick")
    database.execute(
        "INSERT INTO quick (symbol, event_timestamp, created_timestamp, a, n) SELECT 'A', t, t, i / 7.0, "
        "CASE WHEN i NOT IN (5, 9, 10) THEN -i END FROM generate_series(0, 18) AS i, LATERAL (SELECT %s + i * interval '1 s' AS t) AS at",
        (histories.T0,),
    )
    histories.write_lake(database, store, str(tmp_path))
    view = read.view(database, str(tmp_path), ("quick",))
    assert view is not None
    day = (histories.T0.date().toordinal()) - read.EPOCH_ORDINAL
    groups = [view.groups(day)[i] for i in (4, 1, 2, 0)]
    buffer = np.full(40, 7.0)
    for name in ("a", "n"):
        values, valid = view.column(groups, name, buffer)
        wanted, is_valid = read.numbers_of(view.read(groups, [name]).column(0))
        assert np.where(is_valid, values, 0).tobytes() == wanted.tobytes()
        assert (np.ones(15, np.bool_) if valid is None else valid).tolist() == is_valid.tolist()
        assert (valid is None) == (name == "a")
    assert buffer[15:].tolist() == [7.0] * 25
    path = Path(view.place, groups[0].path)
    with path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(OSError, match="is cut off"):
        view.column(groups, "a", buffer)


def test_a_day_that_was_written_without_a_new_feature_is_read_from_the_database(
    store: FeatureStore,
    database: psycopg.Connection[Any],
    tmp_path: Path,
    open_store: Callable[..., FeatureStore],
    view: Callable[..., FeatureView],
) -> None:
    older = histories.tables(store)
    newer = open_store(view("quick", 5, {"a": Float64, "n": Int64, "c": Float64}), view("slow", 0, {"b": Float64}))
    database.execute("UPDATE quick SET c = 1.5")
    for table in older:
        write(database, str(tmp_path), table)
    frame = histories.frame(np.random.default_rng(5), 80)
    found = []
    for lake in (None, str(tmp_path)):
        with histories.lake(lake):
            found.append(histories.bits(newer.get_historical_features(frame, ["quick:a", "quick:c"]).to_arrow()))
    assert found[0] == found[1]
    assert any(value is False for value in found[0]["c"][1])

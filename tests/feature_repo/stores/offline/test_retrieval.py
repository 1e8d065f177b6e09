"""What a retrieval gives back, and what training may see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, ValueType
from feast.errors import FeastEntityDFMissingColumnsError, SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import (
    PostgreSQLSource,
    SavedDatasetPostgreSQLStorage,
)
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float64, Int64, String

from feature_repo.stores.offline import job
from feature_repo.stores.offline.join import plan, retrieve
from feature_repo.stores.timescale import TimescaleOfflineStore

T0 = datetime(2024, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def put(store: FeatureStore, name: str, rows: list[tuple[Any, ...]]) -> None:
    """Write rows ``(symbol, event, created, feature ...)`` of a view; times in seconds after `T0`."""
    view = store.get_feature_view(name)
    columns = ["symbol", "event_timestamp", "created_timestamp", *(f.name for f in view.features)]
    timed = [(r[0], at(r[1]), at(r[2]), *r[3:]) for r in rows]
    data = pa.table({c: [r[i] for r in timed] for i, c in enumerate(columns)})
    TimescaleOfflineStore.offline_write_batch(store.config, view, data, None)


def asked(*rows: tuple[Any, float], **extra: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"symbol": [s for s, _ in rows], "event_timestamp": [at(t) for _, t in rows], **extra})


@pytest.fixture
def store(pair: Any) -> FeatureStore:
    ours: FeatureStore = pair.ours
    put(ours, "quick", [("A", 0, 0, 1.5, 10), ("A", 10, 10, 2.5, None), ("B", 0, 0, None, 20)])
    put(ours, "slow", [("A", 0, 0, 7.0), ("B", 5, 5, 8.0)])
    return ours


FEATURES = ["quick:a", "quick:n", "slow:b"]


def test_every_row_is_kept_in_the_callers_order_with_its_columns(store: FeatureStore) -> None:
    rows = [("B", 7), ("A", 12), ("Z", 1), ("A", 5), ("A", 5.000001), ("A", 12), (None, 3)]
    frame = asked(*rows, label=[0.1, None, 3, 4, 5, 6, 7], note=list("gfedcba"))
    frame.index = [9, 9, 3, 2, 1, 0, 5]
    result = store.get_historical_features(frame, FEATURES).to_df()
    assert list(result.columns) == ["symbol", "event_timestamp", "label", "note", "a", "n", "b"]
    assert result["note"].tolist() == list("gfedcba")
    assert result.index.tolist() == list(range(7))
    table = store.get_historical_features(frame, FEATURES).to_arrow()
    # At 7 B's quick row is older than 5 s; at 5.000001 A's is too; slow has no ttl.
    assert table.column("a").to_pylist() == [None, 2.5, None, 1.5, None, 2.5, None]
    assert table.column("n").to_pylist() == [None, None, None, 10, None, None, None]
    assert table.column("b").to_pylist() == [8.0, 7.0, None, 7.0, 7.0, 7.0, None]
    assert table.column("label").to_pylist() == [0.1, None, 3, 4, 5, 6, 7]


def test_times_without_a_zone_are_utc_and_texts_of_times_are_read(store: FeatureStore) -> None:
    aware = asked(("A", 5), ("A", 12))
    naive = aware.assign(event_timestamp=aware["event_timestamp"].dt.tz_localize(None))
    elsewhere = aware.assign(event_timestamp=aware["event_timestamp"].dt.tz_convert("Asia/Tokyo"))
    written = aware.assign(event_timestamp=["2024-01-01T00:00:05Z", "2024-01-01T01:00:12+01:00"])
    moment = aware.assign(event_timestamp=[at(5), None])
    wanted = store.get_historical_features(aware, FEATURES).to_arrow()
    for frame in (naive, elsewhere, written):
        assert store.get_historical_features(frame, FEATURES).to_arrow() == wanted
    assert store.get_historical_features(moment, FEATURES).to_arrow().column("a").to_pylist() == [1.5, None]


def test_another_name_of_the_time_column_is_found(store: FeatureStore, capsys: pytest.CaptureFixture[str]) -> None:
    frame = asked(("A", 5)).rename(columns={"event_timestamp": "moment"})
    result = store.get_historical_features(frame, FEATURES).to_arrow()
    assert result.column_names[:2] == ["symbol", "moment"]
    assert result.column("a").to_pylist() == [1.5]
    assert "moment" in capsys.readouterr().out


def test_a_frame_without_rows_gives_the_columns(store: FeatureStore) -> None:
    for frame in (asked(("A", 5)).iloc[:0], pd.DataFrame(columns=["symbol", "event_timestamp"])):
        result = store.get_historical_features(frame, FEATURES).to_arrow()
        assert result.num_rows == 0
        assert result.column_names == ["symbol", "event_timestamp", "a", "n", "b"]
        assert result.schema.field("n").type == pa.int64()


def test_a_frame_without_a_key_is_refused_by_name(store: FeatureStore) -> None:
    with pytest.raises(FeastEntityDFMissingColumnsError, match="symbol"):
        store.get_historical_features(asked(("A", 5)).drop(columns="symbol"), FEATURES).to_arrow()


def test_a_column_of_a_features_name_is_refused_unless_features_carry_their_view(store: FeatureStore) -> None:
    frame = asked(("A", 5), a=[1.0])
    with pytest.raises(ValueError, match="a: columns of the result would share a name"):
        store.get_historical_features(frame, FEATURES).to_arrow()
    result = store.get_historical_features(frame, FEATURES, full_feature_names=True).to_arrow()
    assert result.column_names == ["symbol", "event_timestamp", "a", "quick__a", "quick__n", "slow__b"]


def test_the_frame_is_taken_as_it_was_when_asked(store: FeatureStore) -> None:
    frame = asked(("A", 5))
    job = store.get_historical_features(frame, FEATURES)
    frame["symbol"] = "Z"
    assert job.to_arrow().column("a").to_pylist() == [1.5]


def test_sql_gives_entity_rows_too(store: FeatureStore) -> None:
    query = (
        "SELECT v.symbol, v.t::timestamptz AS event_timestamp, 1.5::numeric AS weight FROM "
        "(VALUES ('B', '2024-01-01 00:00:03Z'), ('A', '2024-01-01 00:00:04Z')) AS v(symbol, t)"
    )
    job = store.get_historical_features(query, FEATURES)
    result = job.to_arrow()
    assert result.column("symbol").to_pylist() == ["B", "A"]
    assert result.column("weight").to_pylist() == [1.5, 1.5]
    assert result.column("n").to_pylist() == [20, 10]
    assert sorted(job.metadata.keys) == ["symbol", "weight"]
    assert job.metadata.max_event_timestamp == at(4).replace(tzinfo=None)


def test_the_statement_of_a_retrieval_gives_the_same_when_run_by_hand(
    store: FeatureStore, database: psycopg.Connection[Any]
) -> None:
    hostile = asked(("B", 4), ("A'); DROP TABLE quick; --", 4), ("A", 12), (None, 1), note=["x", "'", '"', None])
    for frame in (hostile, "SELECT symbol, event_timestamp, 'n' AS note FROM quick ORDER BY 2 DESC, 1"):
        job = store.get_historical_features(frame, FEATURES)
        with database.cursor() as cursor:
            cursor.execute(job.to_sql())
            rows = [tuple(r) for r in cursor.fetchall()]
        table = job.to_arrow()
        utc = table.set_column(1, "event_timestamp", table.column(1).cast(pa.timestamp("us", "UTC")))
        assert [list(r) for r in rows] == [list(r.values()) for r in utc.to_pylist()]


def test_several_views_under_other_names_and_keys(
    open_store: Callable[..., FeatureStore], view: Callable[..., FeatureView]
) -> None:
    base = view("quick", 5, {"a": Float64})
    traded, hedge = base.with_name("traded"), base.with_name("hedge").with_join_key_map({"symbol": "hedged_with"})
    store = open_store(base, FeatureService(name="both", features=[traded, hedge]))
    put(store, "quick", [("A", 0, 0, 1.0), ("B", 0, 0, 2.0)])
    frame = asked(("A", 1), ("B", 1), hedged_with=["B", "Z"])
    service = store.get_feature_service("both")
    result = store.get_historical_features(frame, service, full_feature_names=True).to_arrow()
    assert result.column("traded__a").to_pylist() == [1.0, 2.0]
    assert result.column("hedge__a").to_pylist() == [2.0, None]


def test_mapped_fields_composite_keys_and_queries(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE raw (v text, nr bigint, t timestamptz, px double precision)")
    database.execute(
        "INSERT INTO raw VALUES ('X', 1, %(t)s, 1.5), ('X', 2, %(t)s, 2.5), ('Y', 1, %(t)s, 3.5)", {"t": T0}
    )
    venue = Entity(name="venue", join_keys=["venue"], value_type=ValueType.STRING)
    number = Entity(name="number", join_keys=["number"], value_type=ValueType.INT64)
    prices = FeatureView(
        name="prices",
        entities=[venue, number],
        ttl=timedelta(0),
        schema=[
            Field(name="venue", dtype=String),
            Field(name="number", dtype=Int64),
            Field(name="price", dtype=Float64),
        ],
        source=PostgreSQLSource(
            name="raw_prices",
            query="SELECT * FROM raw WHERE px < 3",
            timestamp_field="t",
            field_mapping={"v": "venue", "nr": "number", "px": "price"},
        ),
    )
    store = open_store(venue, number, prices)
    frame = pd.DataFrame({"venue": ["X", "Y", "X"], "number": [2, 1, 1], "event_timestamp": [at(1)] * 3})
    result = store.get_historical_features(frame, ["prices:price"]).to_arrow()
    assert result.column("price").to_pylist() == [2.5, None, 1.5]


@pytest.mark.filterwarnings("ignore:.* is an experimental feature:RuntimeWarning")  # so Feast calls it
def test_an_on_demand_view_is_computed_from_what_was_joined(
    open_store: Callable[..., FeatureStore], view: Callable[..., FeatureView]
) -> None:
    base = view("quick", 5, {"a": Float64})

    @on_demand_feature_view(sources=[base], schema=[Field(name="double_a", dtype=Float64)], mode="python")
    def doubled(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"double_a": [None if x is None else 2 * x for x in inputs["a"]]}

    store = open_store(base, doubled)
    put(store, "quick", [("A", 0, 0, 1.5)])
    result = store.get_historical_features(asked(("A", 1), ("Z", 1)), ["quick:a", "doubled:double_a"]).to_arrow()
    assert result.column("double_a").to_pylist() == [3.0, None]


def test_types_that_are_not_decoded_here_take_feasts_own_way(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE vectors (symbol text, t timestamptz, v double precision[], at date, id uuid)")
    database.execute("INSERT INTO vectors VALUES ('A', %s, '{1,2}', '2024-01-02', gen_random_uuid())", (T0,))
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    source = PostgreSQLSource(name="vectors_table", query="SELECT * FROM vectors", timestamp_field="t")
    vectors = FeatureView(
        name="vectors",
        entities=[symbol],
        schema=[Field(name="symbol", dtype=String), Field(name="v", dtype=Array(Float64))],
        source=source,
    )
    store = open_store(vectors)
    assert store.get_historical_features(asked(("A", 1)), ["vectors:v"]).to_arrow().column("v").to_pylist() == [
        [1.0, 2.0]
    ]
    pulled = TimescaleOfflineStore.pull_all_from_table_or_query(
        store.config, source, ["symbol"], ["at", "v"], "t", None, T0, at(1)
    )
    assert pulled.to_arrow().column("at").to_pylist() == [datetime(2024, 1, 2)]  # noqa: DTZ001  # as Feast gives it


def test_training_sees_late_rows_and_corrections_only_from_when_they_were_there(store: FeatureStore) -> None:
    """Event 20 is written 2 s late as 1, corrected to 2 at 24; event 21 arrives at 23."""
    put(store, "quick", [("L", 20, 22, 1.0, 1), ("L", 20, 24, 2.0, 2), ("L", 21, 23, 3.0, 3)])
    moments = [20, 21.9, 22, 22.9, 23, 24, 24.5, 26, 26.1]
    frame = asked(*(("L", t) for t in moments))
    known = store.get_historical_features(frame, ["quick:a"], filter_by_created_timestamp=True).to_arrow()
    assert known.column("a").to_pylist() == [None, None, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0, None]
    hindsight = store.get_historical_features(frame, ["quick:a"]).to_arrow()
    assert hindsight.column("a").to_pylist() == [2.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, None]


@pytest.mark.parametrize("known", [False, True])
def test_a_scan_in_slices_gives_what_look_ups_give(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    rng = np.random.default_rng(7)
    rows = [
        (s, t, t + float(rng.choice([0, 1, 9])), float(rng.normal()), int(rng.integers(9)))
        for s in ("P", "Q", "R")
        for t in range(100, 400)
    ]
    put(store, "quick", rows)
    put(store, "slow", [(s, t, c, a) for s, t, c, a, _ in rows if t % 50 == 0])
    frame = asked(*((str(rng.choice(["P", "Q", "S"])), float(t)) for t in rng.uniform(80, 420, 500).round(6)))
    results = []
    for packed, cells in ((1e12, 1), (-1e12, 10**6), (-1e12, 300)):
        monkeypatch.setattr(plan, "PACKED_COST", packed)
        monkeypatch.setattr(plan, "SLICE_CELLS", cells)
        results.append(store.get_historical_features(frame, FEATURES, filter_by_created_timestamp=known).to_arrow())
    assert results[0].column("a").null_count < 400
    assert results[1] == results[0]
    assert results[2] == results[0]


def test_views_read_side_by_side_are_of_one_snapshot(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = asked(*(("A", float(t)) for t in range(20)))
    wanted = store.get_historical_features(frame, FEATURES).to_arrow()
    monkeypatch.setattr(job, "MANY", 1)
    monkeypatch.setattr(job.os, "cpu_count", lambda: 2)
    used: list[int] = []
    join = retrieve.join

    def after_a_write(connections: Any, spine: Any, lookups: Any) -> Any:
        used.append(len(connections))
        put(store, "quick", [("A", 11, 11, 9.5, 9)])
        put(store, "slow", [("A", 11, 11, 9.5)])
        return join(connections, spine, lookups)

    monkeypatch.setattr(retrieve, "join", after_a_write)
    assert store.get_historical_features(frame, FEATURES).to_arrow() == wanted
    assert used == [3]


def test_a_stored_nan_stays_a_nan_and_a_null_a_null(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, database: psycopg.Connection[Any]
) -> None:
    database.execute("INSERT INTO slow VALUES ('N', %s, %s, 'NaN'), ('M', %s, %s, NULL)", (T0, T0, T0, T0))
    for packed in (1e12, -1e12):
        monkeypatch.setattr(plan, "FEW", 0)
        monkeypatch.setattr(plan, "PACKED_COST", packed)
        column = store.get_historical_features(asked(("N", 1), ("M", 1)), ["slow:b"]).to_arrow().column("b")
        assert column.null_count == 1
        assert np.isnan(column[0].as_py())


def test_a_range_of_one_view_gives_its_rows_and_of_two_what_held_at_each_moment(store: FeatureStore) -> None:
    one = store.get_historical_features(features=["quick:a"], start_date=T0, end_date=at(10)).to_arrow()
    assert one.column_names == ["event_timestamp", "created_timestamp", "symbol", "a"]
    assert one.num_rows == 3
    two = store.get_historical_features(features=FEATURES, start_date=at(1), end_date=at(10)).to_arrow()
    # Rows before the range do not count, as with Feast: A's slow row of second 0 is not seen.
    assert two.to_pylist() == [
        {"event_timestamp": at(5).replace(tzinfo=None), "symbol": "B", "a": None, "n": None, "b": 8.0},
        {"event_timestamp": at(10).replace(tzinfo=None), "symbol": "A", "a": 2.5, "n": None, "b": None},
    ]
    with pytest.raises(ValueError, match="needs an entity frame"):
        store.get_historical_features(
            features=FEATURES, start_date=T0, end_date=at(9), filter_by_created_timestamp=True
        )


def test_materialize_writes_the_newest_row_of_each_symbol(store: FeatureStore) -> None:
    store.materialize(T0 - timedelta(seconds=1), at(11), feature_views=["quick"])
    online = store.get_online_features(["quick:a", "quick:n"], [{"symbol": "A"}, {"symbol": "B"}]).to_dict()
    assert online["a"] == [2.5, None]
    assert online["n"] == [None, 20]


def test_pulling_the_latest_takes_the_last_correction(store: FeatureStore) -> None:
    put(store, "slow", [("A", 0, 3, 70.0), ("A", 0, 2, 60.0)])
    job = TimescaleOfflineStore.pull_latest_from_table_or_query(
        store.config,
        store.get_feature_view("slow").batch_source,
        ["symbol"],
        ["b"],
        "event_timestamp",
        "created_timestamp",
        T0,
        at(4),
    )
    assert job.to_arrow().select(["symbol", "b"]).to_pylist() == [{"symbol": "A", "b": 70.0}]


@pytest.mark.filterwarnings("ignore:.* is an experimental feature:RuntimeWarning")  # so Feast calls it
def test_a_result_is_stored_once_and_overwritten_only_when_told(
    store: FeatureStore, database: psycopg.Connection[Any]
) -> None:
    job = store.get_historical_features(asked(("A", 5), ("Z", 1)), FEATURES)
    saved = store.create_saved_dataset(job, "training", SavedDatasetPostgreSQLStorage("training_set"))
    assert saved.to_df()[["symbol", "a", "n"]].sort_values("symbol")["a"].tolist()[0] == 1.5
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(SavedDatasetPostgreSQLStorage("training_set"))
    store.get_historical_features(asked(("B", 1)), FEATURES).persist(
        SavedDatasetPostgreSQLStorage("training_set"), allow_overwrite=True
    )
    assert database.execute("SELECT symbol, n FROM training_set").fetchall() == [("B", 20)]


def test_nothing_is_left_on_the_server_and_a_statement_may_have_a_limit(
    store: FeatureStore, database: psycopg.Connection[Any]
) -> None:
    before = database.execute("SELECT count(*) FROM pg_class").fetchone()
    store.get_historical_features(asked(("A", 5)), FEATURES).to_df()
    assert database.execute("SELECT count(*) FROM pg_class").fetchone() == before
    slow = "SELECT 'A' AS symbol, now() AS event_timestamp FROM pg_sleep(30)"
    with pytest.raises(psycopg.errors.QueryCanceled):
        store.get_historical_features(slow, FEATURES).to_arrow(timeout=1)

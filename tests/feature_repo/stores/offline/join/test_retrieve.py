"""Every plan gives what Feast's own store gives, on the frames that one is right for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from feast import FeatureStore, FeatureView
from feast.types import Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from feature_repo.stores.offline.append import append_columns
from feature_repo.stores.offline.binary.encode import doubles, integers, small_integers, texts, times
from feature_repo.stores.offline.join import plan as planning
from feature_repo.stores.offline.join.latest import NONE, latest
from feature_repo.stores.offline.tables.schema import table_of_feature_view
from feature_repo.stores.timescale import TimescaleOfflineStore
from tests.feature_repo.stores.offline.two_views import FEATURES, asked, put

BASE = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


# Half seconds make ties and ttl edges; the odd microseconds stand just beside them.
moment = st.builds(lambda half, off: BASE + half * 500_000 + off, st.integers(0, 40), st.sampled_from([0, 0, 0, 1, -1]))

delay = st.sampled_from([0, 1, 500_000, 3_000_000, 12_000_000])

value = st.one_of(st.none(), st.floats(allow_nan=False), st.sampled_from([0.0, -0.0]))

row = st.tuples(st.sampled_from("AB"), moment, delay, value, st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)))

entity = st.tuples(st.sampled_from(["A", "B", "C", None]), moment)


def write(pair: Any, name: str, rows: list[tuple[Any, ...]]) -> None:
    table = table_of_feature_view(pair.ours.get_feature_view(name))
    pair.connection.execute(f"TRUNCATE {name}")
    if not rows:
        return
    event = np.array([r[1] for r in rows], np.int64)
    number = np.array([0 if r[4] is None else r[4] for r in rows], np.int64)
    silent = [r[5] if len(r) > 5 else None for r in rows]  # milliseconds, null where nothing is said
    columns = [texts([r[0] for r in rows]), times(event), times(event + np.array([r[2] for r in rows]))]
    columns.append(doubles(np.array([np.nan if r[3] is None else r[3] for r in rows], np.float64)))
    if name == "quick":
        columns.append(integers(number, np.array([r[4] is None for r in rows])))
    columns.append(small_integers(np.array([s or 0 for s in silent]), np.array([s is None for s in silent])))
    append_columns(pair.connection, table, columns)


def take(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every retrieval take one plan."""
    if plan != "look-up":
        monkeypatch.setattr(planning, "FEW", 0)
        for price in ("PACKED_COST", "PLAIN_COST"):
            monkeypatch.setattr(planning, price, -1e12)
    if plan == "scan in slices":
        # Slices of a few rows: the planner's estimate is wrong for them, so they are halved too.
        monkeypatch.setattr(planning, "SLICE_CELLS", 8)


def framed(asked: list[tuple[Any, int]]) -> pd.DataFrame:
    start = pd.Timestamp("1970-01-01", tz="UTC")
    asked = [("A", BASE), *asked]  # a frame of null symbols alone is one that stock cannot upload
    return pd.DataFrame(
        {
            "symbol": pd.Series([s for s, _ in asked], dtype=object),
            "event_timestamp": [start + timedelta(microseconds=us) for _, us in asked],
            "number": np.arange(len(asked)),
        }
    )


S = 1_000_000

NAMED = {
    "quick": [
        ("A", BASE + 10 * S, 0, 1.0, 1),
        ("B", BASE + 10 * S, 0, 2.0, 2),  # the same moment of another symbol
        ("A", BASE + 10 * S, 3 * S, 3.0, 3),  # a correction
        ("A", BASE + 10 * S + 1, 1, -0.0, 6),  # a microsecond later
        ("A", BASE + 12 * S, 12 * S, 4.0, None),  # known late
        ("B", BASE + 12 * S, 1, None, 5),
        ("B", BASE + 12 * S, 1, None, 5),  # written twice
    ],
    "slow": [
        ("A", BASE, 0, 7.0, None),
        ("A", BASE, 500_000, 8.0, None),
        ("B", BASE + 12 * S, 0, 9.0, None),
    ],
    "asked": [
        ("A", BASE - 1),  # before anything
        ("A", BASE),
        ("A", BASE + 10 * S),
        ("A", BASE + 15 * S),  # as old as the ttl
        ("A", BASE + 15 * S + 1),
        ("A", BASE + 15 * S + 2),  # past it
        ("B", BASE + 17 * S),
        ("B", BASE + 17 * S + 1),
        ("C", BASE + 12 * S),  # not there
        (None, BASE + 12 * S),
        ("A", BASE + 12 * S + 999_999),
        ("A", BASE + 10 * S),  # again
        ("A", BASE + 24 * S),
    ],
}


@pytest.mark.parametrize("plan", ["look-up", "scan", "scan in slices"])
def test_values_equal_those_of_stock_feast(pair: Any, plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(plan, monkeypatch)

    @example(**NAMED, known=False, full=False)
    @example(**NAMED, known=True, full=True)
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        quick=st.lists(row, max_size=30),
        slow=st.lists(row, max_size=30),
        asked=st.lists(entity, max_size=12),
        known=st.booleans(),
        full=st.booleans(),
    )
    def check(quick: Any, slow: Any, asked: Any, known: bool, full: bool) -> None:
        write(pair, "quick", quick)
        write(pair, "slow", slow)
        frame = framed(asked)
        results = [
            store.get_historical_features(
                frame, FEATURES, full_feature_names=full, filter_by_created_timestamp=known
            ).to_arrow()
            for store in (pair.ours, pair.stock)
        ]
        ours, stock = results[0], results[1].sort_by("number")
        assert ours.schema == stock.schema
        assert ours.to_pylist() == stock.to_pylist()

    check()


silent_row = st.tuples(st.sampled_from("AB"), moment, delay, value, st.none(), st.none() | st.integers(0, 7_000))


@pytest.mark.parametrize("plan", ["look-up", "scan", "scan in slices"])
def test_a_value_whose_feed_fell_silent_past_the_ttl_is_null_as_it_is_in_serving(
    pair: Any, plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest row of the symbol decides, and its age counts from its feed's last message: by a plain loop."""
    take(plan, monkeypatch)

    def holds(rows: list[Any], symbol: Any, t: int, *, known: bool) -> Any:
        there = [r for r in rows if r[0] == symbol and r[1] <= t and (not known or r[1] + r[2] <= t)]
        if not there:
            return None
        newest = max(there, key=lambda r: (r[1], r[1] + r[2]))
        return newest[3] if newest[1] - 1000 * (newest[5] or 0) >= t - 5 * S else None

    @example(
        rows=[("A", BASE, 0, 1.0, None, 3_000), ("B", BASE, 0, 2.0, None, None)],
        asked=[("A", BASE + 2 * S), ("A", BASE + 2 * S + 1), ("B", BASE + 5 * S), ("B", BASE + 5 * S + 1)],
        known=False,
    )
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        rows=st.lists(silent_row, max_size=30, unique_by=lambda r: (r[0], r[1], r[2])),
        asked=st.lists(entity, max_size=12),
        known=st.booleans(),
    )
    def check(rows: Any, asked: Any, known: bool) -> None:
        write(pair, "quick", rows)
        frame = framed(asked)
        found = pair.ours.get_historical_features(frame, ["quick:a"], filter_by_created_timestamp=known)
        wanted = [holds(rows, s, t, known=known) for s, t in [("A", BASE), *asked]]
        table = found.to_arrow()
        assert table.column_names == ["symbol", "event_timestamp", "number", "a"], "the silence is not a feature"
        assert list(map(repr, table.column("a").to_pylist())) == list(map(repr, wanted))

    check()


KINDS: dict[str, Any] = {
    "s": String,
    "b": Bool,
    "t": UnixTimestamp,
    "f": Float32,
    "i": Int32,
    "n": Int64,
    "d": Float64,
    "y": Bytes,
}

cells = st.fixed_dictionaries(
    {
        "s": st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
        "b": st.none() | st.booleans(),
        "t": st.none() | moment,
        "f": st.none() | st.floats(allow_nan=False, width=32),
        "i": st.none() | st.integers(-(2**31), 2**31 - 1),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "d": value,
        "y": st.none() | st.binary(max_size=5),
    }
)


@pytest.mark.parametrize("plan", ["look-up", "scan", "scan in slices"])
def test_every_type_comes_by_every_plan(
    plan: str,
    open_store: Callable[..., FeatureStore],
    database: psycopg.Connection[Any],
    view: Callable[..., FeatureView],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is written is what is read, at the moment of each row."""
    take(plan, monkeypatch)
    typed = view("typed", 5, KINDS)
    ours = open_store(typed)
    stamp = pa.timestamp("us", "UTC")

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.sampled_from("AB"), moment, cells), max_size=20, unique_by=lambda r: r[:2]))
    def check(rows: Any) -> None:
        database.execute("TRUNCATE typed")
        columns = {name: [r[2][name] for r in rows] for name in KINDS}
        table = pa.table(
            {"symbol": pa.array([r[0] for r in rows], pa.string())}
            | {name: pa.array([r[1] for r in rows], stamp) for name in ("event_timestamp", "created_timestamp")}
            | {name: pa.array(columns[name]) for name in "sbind"}
            | {"t": pa.array(columns["t"], stamp), "f": pa.array(columns["f"], pa.float32())}
            | {"y": pa.array(columns["y"], pa.binary())}
        )
        TimescaleOfflineStore.offline_write_batch(ours.config, typed, table, None)
        frame = framed([(r[0], r[1]) for r in rows])
        result = ours.get_historical_features(frame, [f"typed:{name}" for name in KINDS]).to_arrow().slice(1)
        for name in KINDS:
            wanted = columns[name]
            if name == "t":
                wanted = [None if us is None else datetime(1970, 1, 1) + timedelta(microseconds=us) for us in wanted]  # noqa: DTZ001  # as Feast gives it
            assert list(map(repr, result.column(name).to_pylist())) == list(map(repr, wanted)), name

    check()


@pytest.mark.parametrize("plan", ["look-up", "scan", "scan in slices"])
def test_a_desks_own_tables_are_read_as_they_are(
    plan: str,
    open_store: Callable[..., FeatureStore],
    desk_views: list[FeatureView],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Keys are varchar, times have no zone, a row is there twice; types are numeric, real, integer, text[], jsonb."""
    take(plan, monkeypatch)
    store = open_store(*desk_views)
    frame = framed([("A", BASE + 10 * S - 1), ("A", BASE + 10 * S), ("B", BASE + 70 * S), ("B", BASE + 70 * S + 1)])
    wanted = {
        "desk_fills_price": 101.25,
        "desk_fills_size": 0.5,
        "desk_fills_lots": 7,
        "desk_fills_tags": ["x", None],
        "desk_fills_note": '{"k": 1}',
        "desk_prices_price": 101.25,
    }
    features = [f"{name.rpartition('_')[0]}:{name}" for name in wanted]
    caplog.clear()
    found = store.get_historical_features(frame, features).to_arrow()
    for name, value in wanted.items():
        assert found.column(name).to_pylist() == [None, None, value, value, None], name
    assert found.schema.field("desk_fills_lots").type == pa.int32()
    assert caplog.text == ""
    online = TimescaleOfflineStore.pull_latest_from_table_or_query(
        config=store.config,
        data_source=desk_views[0].batch_source,
        join_key_columns=["symbol"],
        feature_name_columns=["price", "tags"],
        timestamp_field="at",
        created_timestamp_column=None,
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        end_date=datetime(2024, 1, 2, tzinfo=UTC),
    )
    assert sorted(online.to_arrow().select(["symbol", "price"]).to_pylist(), key=str) == [
        {"symbol": "A", "price": 101.25},
        {"symbol": "B", "price": 101.25},
    ]


def test_only_the_view_with_an_unknown_type_is_read_as_text(
    open_store: Callable[..., FeatureStore],
    database: psycopg.Connection[Any],
    view: Callable[..., FeatureView],
    caplog: pytest.LogCaptureFixture,
) -> None:
    database.execute("CREATE TABLE spans (symbol text, event_timestamp timestamptz, span interval)")
    database.execute("INSERT INTO spans VALUES ('A', '2024-01-01Z', '90 s')")
    where = {"table": None, "query": "SELECT * FROM spans; -- all", "created_timestamp_column": ""}
    store = open_store(view("spans", 5, {"span": String}, **where), view("quick", 5, {"a": Float64, "n": Int64}))
    put(store, "quick", [("A", 0, 0, 1.5, 10)])
    for _ in range(2):
        found = store.get_historical_features(framed([]), ["spans:span", "quick:a"]).to_arrow()
        assert found.select(["span", "a"]).to_pylist() == [{"span": "00:01:30", "a": 1.5}]
    assert [r.message for r in caplog.records if "text" in r.message] == [
        "spans: column span of type interval is read as text"
    ]


def test_identifiers_are_keys_and_values(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any], view: Callable[..., FeatureView]
) -> None:
    ids = [f"00000000-0000-0000-0000-00000000000{i}" for i in (1, 2)]
    database.execute("CREATE TABLE orders (symbol uuid, event_timestamp timestamptz, parent uuid)")
    database.execute("INSERT INTO orders VALUES (%s, '2024-01-01Z', %s)", ids)
    orders = view(
        "orders", 5, {"parent": String}, created_timestamp_column="", table=None, query="SELECT * FROM orders"
    )
    frame = pd.DataFrame({"symbol": ids, "event_timestamp": [pd.Timestamp("2024-01-01T00:00:01Z")] * 2})
    found = open_store(orders).get_historical_features(frame, ["orders:parent"]).to_arrow()
    assert found.column("parent").to_pylist() == [ids[1], None]


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


def test_a_column_of_a_features_name_is_refused_unless_features_carry_their_view(store: FeatureStore) -> None:
    frame = asked(("A", 5), a=[1.0])
    with pytest.raises(ValueError, match="a: columns of the result would share a name"):
        store.get_historical_features(frame, FEATURES).to_arrow()
    result = store.get_historical_features(frame, FEATURES, full_feature_names=True).to_arrow()
    assert result.column_names == ["symbol", "event_timestamp", "a", "quick__a", "quick__n", "slow__b"]


def test_training_sees_late_rows_and_corrections_only_from_when_they_were_there(store: FeatureStore) -> None:
    """Event 20 is written 2 s late as 1, corrected to 2 at 24; event 21 arrives at 23."""
    put(store, "quick", [("L", 20, 22, 1.0, 1), ("L", 20, 24, 2.0, 2), ("L", 21, 23, 3.0, 3)])
    moments = [20, 21.9, 22, 22.9, 23, 24, 24.5, 26, 26.1]
    frame = asked(*(("L", t) for t in moments))
    known = store.get_historical_features(frame, ["quick:a"], filter_by_created_timestamp=True).to_arrow()
    assert known.column("a").to_pylist() == [None, None, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0, None]
    hindsight = store.get_historical_features(frame, ["quick:a"]).to_arrow()
    assert hindsight.column("a").to_pylist() == [2.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, None]


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_the_row_at_the_very_moment_holds_and_so_does_one_as_old_as_the_ttl() -> None:
    found = latest(ints(9, 10, 19, 15, 25, 26), ints(10, 20), ints(10, 20), 5, known=False)
    assert found.tolist() == [NONE, 0, NONE, 0, 1, NONE]


def test_a_correction_is_seen_from_when_it_was_made_and_the_earlier_value_before() -> None:
    # Event 10 is written at 12, corrected at 30; event 20 arrives at 40 only.
    event, created = ints(10, 10, 20), ints(12, 30, 40)
    moments = ints(11, 12, 29, 30, 39, 40)
    assert latest(moments, event, created, 0, known=True).tolist() == [NONE, 0, 0, 1, 1, 2]
    assert latest(moments, event, created, 0, known=False).tolist() == [1, 1, 2, 2, 2, 2]


def test_a_day_that_arrived_a_day_late_is_skipped_without_walking_it() -> None:
    n = 86_400
    event = np.arange(n, dtype=np.int64)
    created = np.where(event < 100, event, event + n)
    found = latest(event, event, created, 0, known=True)
    assert found.tolist() == np.minimum(event, 99).tolist()


def test_known_rows_need_a_created_time() -> None:
    with pytest.raises(ValueError, match="created times"):
        latest(ints(1), ints(1), None, 0, known=True)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 25)), max_size=40),
    st.lists(st.integers(0, 40), max_size=10),
    st.integers(0, 10),
    st.booleans(),
)
def test_it_is_the_latest_of_all_rows_that_may_hold(
    rows: list[tuple[int, int]], moments: list[int], ttl: int, known: bool
) -> None:
    rows = sorted((event, event + delay) for event, delay in rows)
    columns = np.array(rows, np.int64).reshape(-1, 2).T
    found = latest(np.array(moments, np.int64), columns[0], columns[1], ttl, known=known)
    for moment, position in zip(moments, found.tolist(), strict=True):
        may = [
            i
            for i, (event, created) in enumerate(rows)
            if event <= moment and (not ttl or event >= moment - ttl) and (not known or created <= moment)
        ]
        assert position == max(may, default=NONE)

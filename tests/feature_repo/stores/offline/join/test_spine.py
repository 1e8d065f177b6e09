"""An entity frame may hold its symbols, its times and its other columns in any form that pandas has: the answer is the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from feast import FeatureStore

from feature_repo.stores.timescale import TimescaleOfflineStore

T0 = pd.Timestamp("2024-01-01", tz="UTC")

SYMBOLS = ["A", "B", "A", "C", "A"]

SECONDS = [4, 4, 12, 4, 0]

WANTED = [(1.5, 10), (None, 20), (2.5, None), (None, None), (1.5, 10)]
"""``quick:a`` and ``quick:n`` of each row, by hand."""

FEATURES = ["quick:a", "quick:n"]


@pytest.fixture
def store(pair: Any) -> FeatureStore:
    rows = [("A", 0, 1.5, 10), ("A", 10, 2.5, None), ("B", 0, None, 20)]
    at = [T0 + pd.Timedelta(seconds=row[1]) for row in rows]
    data = pa.table(
        {
            "symbol": [row[0] for row in rows],
            "event_timestamp": pa.array(at, pa.timestamp("us", "UTC")),
            "created_timestamp": pa.array(at, pa.timestamp("us", "UTC")),
            "a": pa.array([row[2] for row in rows], pa.float64()),
            "n": pa.array([row[3] for row in rows], pa.int64()),
        }
    )
    ours: FeatureStore = pair.ours
    TimescaleOfflineStore.offline_write_batch(ours.config, ours.get_feature_view("quick"), data, None)
    return ours


def plain() -> pd.DataFrame:
    times = [T0 + pd.Timedelta(seconds=s) for s in SECONDS]
    return pd.DataFrame({"symbol": SYMBOLS, "event_timestamp": times})


def times(of: Callable[[pd.Series], Any]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(event_timestamp=of(frame["event_timestamp"]))


def symbols(of: Callable[[pd.Series], Any]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(symbol=of(frame["symbol"]))


def zones(column: pd.Series) -> pd.Series:
    """Each time in a zone of its own."""
    names = ["Asia/Kathmandu", "UTC", "America/New_York", "Europe/Berlin", "Pacific/Chatham"]
    moments = [t.to_pydatetime().astimezone(ZoneInfo(z)) for t, z in zip(column, names, strict=True)]
    return pd.Series(moments, dtype=object)


FORMS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "symbols as strings": symbols(lambda s: s.astype("string")),
    "symbols as Arrow strings": symbols(lambda s: s.astype("string[pyarrow]")),
    "symbols as large strings": symbols(lambda s: s.astype(pd.ArrowDtype(pa.large_string()))),
    "symbols as categories": symbols(lambda s: s.astype("category")),
    "times in seconds": times(lambda t: t.dt.as_unit("s")),
    "times in milliseconds": times(lambda t: t.dt.as_unit("ms")),
    "times in microseconds": times(lambda t: t.dt.as_unit("us")),
    "times without a zone": times(lambda t: t.dt.tz_localize(None)),
    "times of another zone": times(lambda t: t.dt.tz_convert("Asia/Kathmandu")),
    "times as objects": times(lambda t: pd.Series([x.to_pydatetime() for x in t], dtype=object)),
    "times of mixed zones": times(zones),
    "times as texts": times(lambda t: [x.isoformat() for x in t]),
    "times of Arrow": times(lambda t: t.astype(pd.ArrowDtype(pa.timestamp("us", "UTC")))),
    "an index of its own": lambda frame: frame.set_index(pd.Index([7, 7, 3, 1, 0], name="symbol_index")),
    "an index of times": lambda frame: frame.set_index("event_timestamp", drop=False).rename_axis(None),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_symbols_and_times_does_not_matter(
    store: FeatureStore, database: psycopg.Connection[Any], form: str
) -> None:
    frame = FORMS[form](plain())
    job = store.get_historical_features(frame, FEATURES)
    found = job.to_arrow()
    assert list(zip(found["a"].to_pylist(), found["n"].to_pylist(), strict=True)) == WANTED
    assert found["symbol"].to_pylist() == SYMBOLS
    assert len(job.to_df()) == len(frame)
    assert [row[-2:] for row in database.execute(job.to_sql()).fetchall()] == WANTED  # type: ignore[arg-type]


EXTRA: dict[str, list[Any]] = {
    "bytes": [b"\x00'", b"", None, b"\\x", b"\xff"],
    "odd numbers": [np.inf, -np.inf, np.nan, -0.0, 1e300],
    "decimals": [Decimal("1.5"), Decimal("-2"), None, Decimal("0"), Decimal("123456789.25")],
    "dates": [dt.date(2024, 1, 1), None, dt.date(1969, 12, 31), dt.date(9999, 12, 31), dt.date(2000, 2, 29)],
    "lists": [[1, 2], [], None, [3], [4]],
    "truths": [True, False, None, True, False],
    'na"me; --': ["'", '"', "\\", "\n", ""],
}


@pytest.mark.parametrize("name", EXTRA)
def test_a_column_of_the_callers_own_comes_back_as_it_was(store: FeatureStore, name: str) -> None:
    frame = plain().assign(**{name: EXTRA[name]})
    found = store.get_historical_features(frame, FEATURES).to_arrow()
    assert found[name].equals(pa.Table.from_pandas(frame[[name]], preserve_index=False)[name])
    assert list(zip(found["a"].to_pylist(), found["n"].to_pylist(), strict=True)) == WANTED


@pytest.mark.parametrize("name", [name for name in EXTRA if name != "lists"])
def test_a_statement_carries_a_column_of_the_callers_own(
    store: FeatureStore, database: psycopg.Connection[Any], name: str
) -> None:
    frame = plain().assign(**{name: EXTRA[name]})
    rows = database.execute(store.get_historical_features(frame, FEATURES).to_sql()).fetchall()  # type: ignore[arg-type]
    assert repr([row[2] for row in rows]) == repr(
        pa.Table.from_pandas(frame[[name]], preserve_index=False)[name].to_pylist()
    )
    assert [row[-2:] for row in rows] == WANTED


def test_a_statement_cannot_carry_lists_and_says_so(store: FeatureStore) -> None:
    job = store.get_historical_features(plain().assign(lists=EXTRA["lists"]), FEATURES)
    with pytest.raises(TypeError, match=r"lists.*list<item: int64>"):
        job.to_sql()

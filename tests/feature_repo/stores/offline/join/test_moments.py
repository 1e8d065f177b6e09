"""What an entity frame may give as its moments, and what is refused because it would be read as another time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from feast.errors import EntityTimestampInferenceException, FeastEntityDFMissingColumnsError

from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.join.moments import MomentError, utc_times
from feature_repo.stores.offline.join.spine import spine_of_frame

MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC
MIDNIGHT = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)

NUMBERS: dict[str, Any] = {
    "milliseconds": [MS],
    "seconds with a fraction": [MS / 1000],
    "nullable whole numbers": pd.array([MS, None], dtype="Int64"),
    "small whole numbers": np.array([20240101], np.int32),
    "a decimal": [Decimal(MS)],
    "a number among texts": ["2024-01-01", MS],
    "a number of numpy among times": pd.Series([MIDNIGHT, np.int64(MS)], dtype=object),
    "a truth": [True],
}


@pytest.mark.parametrize("form", NUMBERS)
def test_a_number_as_moment_is_refused_and_the_conversion_named(form: str) -> None:
    with pytest.raises(UserError, match=r'numbers .* pd\.to_datetime\(frame\["t"\], unit="ms", utc=True\)'):
        utc_times(pd.Series(NUMBERS[form], dtype=None), "t")


@pytest.mark.parametrize("value", ["01/02/2024", "noon", "1704067200000", dt.datetime(9999, 12, 31)])  # noqa: DTZ001
def test_what_can_be_read_in_two_ways_or_in_none_is_refused(value: Any) -> None:
    with pytest.raises(MomentError, match="ISO 8601"):
        utc_times(pd.Series([value], dtype=object), "t")


@pytest.mark.parametrize("value", [dt.timedelta(1), pd.Period("2024-01"), dt.time(12), b"2024-01-01"])
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(MomentError, match="give times"):
        utc_times(pd.Series([value], dtype=object), "t")


def test_times_texts_dates_and_missing_values_may_be_mixed() -> None:
    kathmandu = dt.timezone(dt.timedelta(hours=5, minutes=45))
    given = [
        MIDNIGHT,
        MIDNIGHT.astimezone(kathmandu),
        dt.datetime(2024, 1, 1),  # noqa: DTZ001  # without a zone it is UTC
        dt.date(2024, 1, 1),
        np.datetime64("2024-01-01"),
        pd.Timestamp("2024-01-01T05:45:00+05:45"),
        "2024-01-01",
        "2024-01-01T00:00:00.000000Z",
        "2024-01-01 01:00:00+01:00",
        None,
        pd.NaT,
        float("nan"),
    ]
    found = utc_times(pd.Series(given, dtype=object), "t")
    assert found.iloc[:9].tolist() == [pd.Timestamp(MIDNIGHT)] * 9
    assert found.iloc[9:].isna().all()


def test_microseconds_are_kept() -> None:
    assert utc_times(pd.Series(["2024-01-01T00:00:00.000001"]), "t")[0].value == MS * 1_000_000 + 1_000


def test_a_frame_is_refused_that_has_no_moments_two_of_a_name_or_a_column_of_many_kinds() -> None:
    with pytest.raises(EntityTimestampInferenceException):
        spine_of_frame(pd.DataFrame({"symbol": ["A"], "time": [MS]}))
    twice = pd.DataFrame([["A", MIDNIGHT, MIDNIGHT]], columns=["symbol", "event_timestamp", "event_timestamp"])
    with pytest.raises(UserError, match=r"two columns of one name \(event_timestamp\)"):
        spine_of_frame(twice)
    with pytest.raises(UserError, match="symbol"):
        spine_of_frame(pd.DataFrame({"symbol": ["A", 1], "event_timestamp": [MIDNIGHT] * 2}))


def test_one_column_of_times_of_any_name_is_taken() -> None:
    assert spine_of_frame(pd.DataFrame({"symbol": ["A"], "at": [MIDNIGHT]})).moments.tolist() == [MS * 1000]


def test_a_retrieval_says_what_its_frame_or_its_sql_lacks(store: Any) -> None:
    frame = pd.DataFrame({"symbol": ["A"], "event_timestamp": [MS]})
    with pytest.raises(UserError, match="numbers"):
        store.get_historical_features(frame, ["quick:a"])
    with pytest.raises(FeastEntityDFMissingColumnsError, match="symbol"):
        store.get_historical_features(frame.assign(event_timestamp=MIDNIGHT).drop(columns="symbol"), ["quick:a"])
    ask: Callable[[str], Any] = lambda query: store.get_historical_features(query, ["quick:a"]).to_arrow()  # noqa: E731
    for moment in (str(MS), "'2024-01-01'"):
        with pytest.raises(UserError, match=r"to_timestamp\(event_timestamp / 1000.0\)"):
            ask(f"SELECT 'A' AS symbol, {moment} AS event_timestamp")
    with pytest.raises(UserError, match=r"holds texts.*int64"):
        ask("SELECT 1::bigint AS symbol, now() AS event_timestamp")
    with pytest.raises(UserError, match="two columns of one name"):
        ask("SELECT 'A' AS symbol, 'A' AS symbol, now() AS event_timestamp")

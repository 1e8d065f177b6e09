"""What a view is asked: its keys, fields and names as Feast maps them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd
import psycopg
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import (
    PostgreSQLSource,
)
from feast.types import Float64, Int64, String
from psycopg import sql

from feature_repo.stores.offline.join.lookup import Lookup, look_up
from tests.feature_repo.stores.offline.two_views import T0, asked, at, put


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


def statement(**change: Any) -> str:
    lookup = Lookup(sql.Identifier("quick"), (("symbol", "sym"),), "at", "made", 5_000_000, ("a",), ("a",), False)
    return look_up(replace(lookup, **change), 10_000_000, 20_000_000).as_string(None)


def test_the_bounds_of_time_are_constants_from_a_ttl_before_the_first_moment() -> None:
    text = statement()
    assert '"r"."sym" = "a"."k0"' in text
    assert "<= '1970-01-01 00:00:20+00:00'" in text
    assert ">= '1970-01-01 00:00:05+00:00'" in text
    assert ">=" not in statement(ttl=0)
    assert ">= '1970-01-01 00:00:08+00:00'" in statement(since=8_000_000)


def test_only_a_row_that_was_created_by_the_moment_is_known() -> None:
    assert '"r"."made" IS NOT NULL' in statement()
    assert '"r"."made" <= "a"."t"' in statement(known=True)
    assert "made" not in statement(created="")

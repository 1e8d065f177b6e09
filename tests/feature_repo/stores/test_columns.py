"""Training and serving give the same columns in the same order, and the same rows where one was corrected.

So a model may be trained on one and fed by the other.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, RepoConfig
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

from feature_repo.stores.endpoints import postgres_parameters
from tests.feature_repo.stores.conftest import SYMBOL
from tests.feature_repo.stores.offline.two_views import at, put
from transforms.times import us_of_datetime

ENTITY_COLUMNS = ["symbol", "event_timestamp"]


@pytest.fixture
def store(postgres_url: str, redis_url: str, tmp_path: Any, view: Callable[..., FeatureView]) -> FeatureStore:
    """A store on both servers, with two views and one that is computed on demand."""
    parameters = postgres_parameters(postgres_url)
    address = {k: parameters[k] for k in ("host", "port", "database", "user", "password", "sslmode")}
    config = RepoConfig(
        project="columns",
        provider="feature_repo.stores.provider.TradingProvider",
        registry=str(tmp_path / "registry.db"),
        online_store={"type": "feature_repo.stores.redis.RedisOnlineStore", "url": redis_url},
        offline_store={"type": "feature_repo.stores.timescale.TimescaleOfflineStore", **address},
        entity_key_serialization_version=3,
    )
    book = view("book", 60, {"spread": Float64, "depth": Float64, "mid": Float64, "valid": Int64})
    trades = view("trades", 60, {"vpin": Float64, "price": Float64, "count": Int64})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "On demand feature view is an experimental feature", RuntimeWarning)

        @on_demand_feature_view(
            sources=[book[["spread", "mid"]]], schema=[Field(name="spread_bps", dtype=Float64)], mode="pandas"
        )
        def relative(inputs: pd.DataFrame) -> pd.DataFrame:
            import pandas

            return pandas.DataFrame({"spread_bps": inputs["spread"] / inputs["mid"] * 1e4})

        services = [
            FeatureService(name="some", features=[trades[["price", "vpin"]], book[["valid", "depth", "spread"]]]),
            FeatureService(name="with_demand", features=[book[["mid", "spread"]], relative, trades[["count"]]]),
            FeatureService(name="renamed", features=[book[["mid", "depth"]].with_name("quotes"), trades]),
        ]
        made = FeatureStore(config=config)
        made.apply(
            [
                Entity(name="symbol", join_keys=["symbol"], value_type=SYMBOL.value_type),
                book,
                trades,
                relative,
                *services,
            ]
        )
    return made


@pytest.mark.parametrize("full_names", [False, True])
@pytest.mark.parametrize(
    "asked",
    [
        "some",
        "with_demand",
        "renamed",
        ["book:spread", "trades:vpin", "book:depth", "trades:price", "book:mid"],
        ["relative:spread_bps", "trades:count", "book:spread", "book:mid"],
    ],
    ids=str,
)
def test_a_response_has_the_columns_of_the_training_frame_in_their_order(
    store: FeatureStore, asked: Any, full_names: bool
) -> None:
    features = store.get_feature_service(asked) if isinstance(asked, str) else asked
    online = store.get_online_features(features, [{"symbol": "A"}], full_feature_names=full_names).to_df()
    entities = pd.DataFrame({"symbol": ["A"], "event_timestamp": [at(0)]})
    training = store.get_historical_features(entities, features, full_feature_names=full_names).to_df()
    assert list(training)[:2] == ENTITY_COLUMNS
    assert list(online) == ["symbol", *list(training)[2:]]
    if isinstance(asked, list):
        assert list(online)[1:] == [ref.replace(":", "__") if full_names else ref.partition(":")[2] for ref in asked]


def test_a_correction_in_the_offline_table_reaches_redis_by_materialize(store: FeatureStore) -> None:
    online = store._get_provider().online_store
    online.clock = lambda: us_of_datetime(at(20))
    read = []
    for created_s, price in ((1, 100.0), (2, 101.5), (1.5, 99.0)):
        put(store, "trades", [("A", 0, created_s, None, price, None)])
        store.materialize(at(-10), at(10), ["trades"])
        read.append(store.get_online_features(["trades:price"], [{"symbol": "A"}]).to_dict()["price"])
    assert read == [[100.0], [101.5], [101.5]]

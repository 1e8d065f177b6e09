"""Which hashes and fields a request names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import (
    Value,
)

from tests.feature_repo.stores.feast_rows import (
    SYMBOLS,
)


def test_views_of_different_join_keys_are_read_together(filled: Any) -> None:
    rows = [{"symbol": a, "hedge": b} for a, b in zip(SYMBOLS[:9], reversed(SYMBOLS[:9]), strict=True)]
    ours, stock = filled.both("of_the_pair", rows)
    assert filled.columns(ours) == filled.columns(stock)


def test_keys_of_two_columns_and_of_numbers_equal_stock(stores: Any) -> None:
    event = datetime(2023, 11, 14, 22, 13, 20, 5, tzinfo=UTC)
    for name, keys, values in (
        (
            "fees",
            {"venue": Value(string_val="X"), "symbol": Value(string_val="A")},
            {"maker_bps": Value(double_val=1.5)},
        ),
        ("limits", {"account": Value(int64_val=-7)}, {"leverage": Value(double_val=3.0)}),
    ):
        table = stores.ours.get_feature_view(name)
        key = EntityKey(join_keys=list(keys), entity_values=list(keys.values()))
        stores.online.online_write_batch(stores.ours.config, table, [(key, values, event, None)], None)
    rows = [{"symbol": "A", "venue": "X"}, {"symbol": "A", "venue": "Y"}, {"symbol": "A", "venue": "X"}]
    for features, entity_rows, expected in (
        (["fees:maker_bps", "fees:tier"], rows, [1.5, None, 1.5]),
        (["limits:leverage"], [{"account": -7}, {"account": 7}, {"account": -7}], [3.0, None, 3.0]),
    ):
        ours, stock = stores.both(features, entity_rows)
        assert ours.to_dict() == stock.to_dict()
        assert ours.to_dict()[features[0].partition(":")[2]] == expected
        assert (
            stores.columns(ours)["tier" if "fees:tier" in features else "leverage"].statuses[1] == FieldStatus.NOT_FOUND
        )


def test_a_row_without_its_join_key_fails_as_in_stock(filled: Any) -> None:
    for which in ("ours", "stock"):
        with pytest.raises(KeyError, match="Missing join key values for keys"):
            filled.read(which, ["social:author_ratio_1h"], [{"account": 1}])

"""Python values out of a response."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import (
    Value,
)

from tests.feature_repo.stores.feast_rows import (
    rows_of,
)


@pytest.mark.parametrize("kind", ["string_val", "double_val"])
def test_a_column_of_other_values_as_long_as_doubles_is_not_taken_for_doubles(stores: Any, kind: str) -> None:
    """Text of seven characters is nine bytes long, as a double is."""
    table, event = stores.ours.get_feature_view("every_type"), datetime(2023, 11, 14, tzinfo=UTC)
    values = [Value(**{kind: f"text {i:02}" if kind == "string_val" else i / 3}) for i in range(20)]
    keys = [EntityKey(join_keys=["symbol"], entity_values=[Value(string_val=f"S{i}")]) for i in range(20)]
    rows = [(k, {"a_text": v, "a_double": v}, event, None) for k, v in zip(keys, values, strict=True)]
    stores.online.online_write_batch(stores.ours.config, table, rows, None)
    features, wanted = ["every_type:a_text", "every_type:a_double"], rows_of(*(f"S{i}" for i in range(20)))
    ours, stock = stores.both(features, wanted)
    assert ours.to_dict() == stock.to_dict()
    assert ours.to_dict()["a_text"] == [getattr(v, kind) for v in values]

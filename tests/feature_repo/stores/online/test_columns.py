"""Python values out of a response."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.stores.online.columns import FeatureTypes
from tests.feature_repo.stores.feast_rows import entity, rows_of


@pytest.mark.parametrize("kind", ["string_val", "double_val"])
def test_a_column_of_other_values_as_long_as_doubles_is_not_taken_for_doubles(stores: Any, kind: str) -> None:
    """Text of seven characters is nine bytes long, as a double is."""
    table, event = stores.ours.get_feature_view("every_type"), datetime(2023, 11, 14, tzinfo=UTC)
    values = [Value(**{kind: f"text {i:02}" if kind == "string_val" else i / 3}) for i in range(20)]
    keys = [entity(f"S{i}") for i in range(20)]
    rows = [(k, {"a_text": v, "a_double": v}, event, None) for k, v in zip(keys, values, strict=True)]
    stores.online.online_write_batch(stores.ours.config, table, rows, None)
    features, wanted = ["every_type:a_text", "every_type:a_double"], rows_of(*(f"S{i}" for i in range(20)))
    ours, stock = stores.both(features, wanted)
    assert ours.to_dict() == stock.to_dict()
    assert ours.to_dict()["a_text"] == [getattr(v, kind) for v in values]


def test_the_types_are_made_at_the_first_feature_that_needs_one_and_once() -> None:
    made: list[int] = []

    def make() -> dict[str, str]:
        made.append(1)
        return {"price": "double", "book__price": "double"}

    types = FeatureTypes(make, ["price"])
    assert bool(types)  # Feast replaces a map that is false
    assert types.get("symbol") is None
    assert made == []
    assert [types.get(name) for name in ("price", "book__price", "book__other")] == ["double", "double", None]
    assert made == [1]

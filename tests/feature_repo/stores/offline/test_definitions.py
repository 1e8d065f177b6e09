"""The definitions say what the catalogue says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from transforms import catalog


def named(definitions: list[Any], name: str) -> Any:
    (found,) = [d for d in definitions if d.name == name]
    return found


@pytest.mark.parametrize("view", catalog.VIEWS, ids=lambda view: view.name)
def test_a_view_has_the_features_ttl_and_sources_of_the_catalogue(definitions: list[Any], view: catalog.View) -> None:
    defined = named(definitions, view.name)
    assert [(f.name, str(f.dtype)) for f in defined.features] == [(f.name, f.dtype) for f in view.features]
    assert [(f.name, str(f.dtype)) for f in defined.entity_columns] == [("symbol", "String")]
    assert defined.ttl == timedelta(seconds=view.ttl_s)
    assert defined.stream_source.name == f"{view.name}_push_source"
    assert defined.batch_source.get_table_query_string() == view.name
    assert defined.batch_source.timestamp_field == "event_timestamp"
    assert defined.batch_source.created_timestamp_column == "created_timestamp"
    assert defined.description
    assert defined.owner
    assert all(field.description for field in defined.features)


def features(service: Any) -> list[str]:
    return [f.name for projection in service.feature_view_projections for f in projection.features]


def test_the_vector_is_in_its_order_and_the_signal_has_everything(definitions: list[Any]) -> None:
    assert features(named(definitions, "feature_vector_v1")) == list(catalog.FEATURE_VECTOR_V1)
    raw = [view for view in catalog.VIEWS if view.feed in ("book", "trade", "post")]
    assert features(named(definitions, "signal_v1")) == [name for view in raw for name in view.names]


def test_the_second_version_adds_derivatives_and_context_and_has_each_name_once(definitions: list[Any]) -> None:
    told, context = list(catalog.DERIVATIVES.names), list(catalog.CONTEXT.names)
    assert features(named(definitions, "feature_vector_v2")) == [*catalog.FEATURE_VECTOR_V1, *told, *context]
    first = features(named(definitions, "signal_v1"))
    second = features(named(definitions, "signal_v2"))
    assert second == [name for name in first if name not in told] + told + context
    assert set(first) <= set(second)
    assert len(set(second)) == len(second)

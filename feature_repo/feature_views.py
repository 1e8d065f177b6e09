"""One feature view per view of the catalogue. Add a new feature to the catalogue, not here."""

from datetime import timedelta

from data_sources import push_source
from entities import symbol
from feast import FeatureView, Field
from feast.types import Float64, Int64, PrimitiveFeastType, String

from feature_repo.stores.offline.tables.schema import MANAGED
from transforms import catalog

TYPES: dict[catalog.Dtype, PrimitiveFeastType] = {"Float64": Float64, "Int64": Int64}


def _field(feature: catalog.Feature) -> Field:
    null = f" Null: {feature.null_when}." if feature.null_when else ""
    tags = {
        "unit": feature.unit,
        "range": f"[{feature.low:g}, {feature.high:g}]",
        "source": feature.source,
    }
    return Field(
        name=feature.name,
        dtype=TYPES[feature.dtype],
        description=feature.formula + "." + null,
        tags={key: value for key, value in tags.items() if value},
    )


def _view(view: catalog.View) -> FeatureView:
    return FeatureView(
        name=view.name,
        entities=[symbol],
        ttl=timedelta(seconds=view.ttl_s),
        # The join key is in the schema, so `feast apply` has nothing to infer and needs no database for it.
        schema=[Field(name="symbol", dtype=String, description=symbol.description), *map(_field, view.features)],
        source=push_source(view),
        online=True,
        description=view.description,
        owner="quant-research",
        tags={"feed": view.feed, **MANAGED},
    )


VIEWS: dict[str, FeatureView] = {view.name: _view(view) for view in catalog.VIEWS}

# Feast finds definitions only as attributes of a module.
globals().update(VIEWS)

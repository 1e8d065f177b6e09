"""Feature services: what models and the signal service read. Training and serving use the same objects."""

from collections.abc import Sequence

from feast import FeatureService, FeatureView
from feature_views import VIEWS

from transforms import catalog


def _in_order(features: Sequence[str]) -> list[FeatureView]:
    """Return views, in the order in which `features` first names them, each with its features in their order."""
    names: dict[str, list[str]] = {}
    for feature in features:
        names.setdefault(catalog.view_of(feature).name, []).append(feature)
    return [VIEWS[view][wanted] for view, wanted in names.items()]


def _not_twice(view: catalog.View) -> list[str]:
    """Return the features of a view whose names `derivatives` does not have; a service can have each name once."""
    return [name for name in view.names if name not in catalog.DERIVATIVES.names]


feature_vector_v1 = FeatureService(
    name="feature_vector_v1",
    features=_in_order(catalog.FEATURE_VECTOR_V1),
    description="The vector that the signal service reads, in its order.",
    owner="quant-research",
    tags={"stage": "production"},
)

feature_vector_normalized_v1 = FeatureService(
    name="feature_vector_normalized_v1",
    features=[VIEWS[catalog.NORMALIZED.name]],
    description="The same vector normalised, in the same order; the stream `features` carries it too.",
    owner="quant-research",
    tags={"stage": "production"},
)

signal_v1 = FeatureService(
    name="signal_v1",
    features=[VIEWS[view.name] for view in catalog.SIGNAL_V1],
    description="Every feature of the raw views of books, trades and posts.",
    owner="quant-research",
    tags={"stage": "research"},
)

feature_vector_v2 = FeatureService(
    name="feature_vector_v2",
    features=[*_in_order(catalog.FEATURE_VECTOR_V1), VIEWS[catalog.DERIVATIVES.name], VIEWS[catalog.CONTEXT.name]],
    description="The vector, what venues tell of derivatives, and what is known of other symbols.",
    owner="quant-research",
    tags={"stage": "research"},
)

signal_v2 = FeatureService(
    name="signal_v2",
    features=[
        *(VIEWS[view.name][_not_twice(view)] for view in catalog.SIGNAL_V1),
        VIEWS[catalog.DERIVATIVES.name],
        VIEWS[catalog.CONTEXT.name],
    ],
    description="Every feature of the raw views, each name once, and what is known of other symbols.",
    owner="quant-research",
    tags={"stage": "research"},
)

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
    features=[VIEWS[view.name] for view in catalog.RAW_VIEWS],
    description="Every feature of the raw views.",
    owner="quant-research",
    tags={"stage": "research"},
)

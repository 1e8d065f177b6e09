"""References to features, as Feast writes them: ``view:feature`` or ``view@v2:feature``."""

from __future__ import annotations

from collections.abc import Iterable

from feast.utils import _parse_feature_ref


def split(reference: str) -> tuple[str, str]:
    """Return the view, with its version where one is named, and the feature.

    >>> split("trades:vpin"), split("trades@v2:vpin"), split("trades@latest:vpin")
    (('trades', 'vpin'), ('trades@v2', 'vpin'), ('trades', 'vpin'))
    """
    view, version, feature = _parse_feature_ref(reference)
    return view if version is None else f"{view}@v{version}", feature


def column_names(references: Iterable[str], *, full_names: bool) -> list[str]:
    """Return the names of the columns that answer references, in their order.

    >>> column_names(["trades:vpin", "book:spread"], full_names=True)
    ['trades__vpin', 'book__spread']
    """
    pairs = map(split, references)
    return [f"{view}__{feature}" if full_names else feature for view, feature in pairs]

"""Workers of another version of the code: with another format of saved states, or with some kernels changed."""

from __future__ import annotations

from transforms import kernels, saved
from transforms.catalog import VIEWS
from transforms.kernels import KERNEL, with_users

CHANGED = frozenset({"book_flow", "session", "volatility", "ema", "relative_volume", "mid"})
"""Kernels of another version in change ``SOME``; in ``ALL`` the format is another one, which refuses the whole state of a symbol."""
SOME, ALL = "1", "2"

_VERSIONS, _FORMAT = kernels.VERSIONS, saved.FORMAT


def become(change: str | None) -> None:
    """Let the process that runs be of a version of the code."""
    kernels.VERSIONS = tuple((n, v + (change == SOME and n in CHANGED)) for n, v in _VERSIONS)
    saved.FORMAT = f"{_FORMAT} of others" if change == ALL else _FORMAT


def columns_apart() -> dict[str, list[int]]:
    """Return the slots, by view, of the features that changed kernels make: only these may differ from a run without a change."""
    features = {feature for name in with_users(CHANGED) for feature in KERNEL[name].features}
    return {view.name: [view.index[name] for name in view.names if name in features] for view in VIEWS}

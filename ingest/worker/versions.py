"""Which kernels make the rows of a view, and their versions: what a row names as its maker."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from transforms import normalization
from transforms.catalog import NORMALIZED, VIEWS, View
from transforms.microstructure import kernel as microstructure
from transforms.order_flow import kernel as order_flow
from transforms.sentiment import kernel as posts
from transforms.technical import kernel as technical
from transforms.technical import relative_volume

_KERNELS: Final[dict[str, dict[str, ModuleType]]] = {
    "microstructure": {"microstructure": microstructure},
    "order_flow": {"order_flow": order_flow},
    "technical": {"technical": technical, "relative_volume": relative_volume},
    "sentiment": {"posts": posts},
    "social": {"posts": posts},
    "normalized": {"normalization": normalization},
}


def versions_of(view: View) -> dict[str, int]:
    """Return the kernels that the rows of a view depend on, by name, with their versions.

    >>> from transforms.catalog import TECHNICAL
    >>> sorted(versions_of(TECHNICAL))
    ['relative_volume', 'technical']
    """
    found = {name: int(module.VERSION) for name, module in _KERNELS[view.name].items()}
    if view.name == NORMALIZED.name:  # its row is made of the rows of all other views
        for other in VIEWS[:-1]:
            found |= versions_of(other)
    return found

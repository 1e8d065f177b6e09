"""Which messages a rebuild of kernels is given, and from when on."""

from __future__ import annotations

from collections.abc import Iterable

from transforms.history import Need, Source, needs
from transforms.instrument import Instrument

_KINDS: dict[Source, tuple[str, ...]] = {
    "book": ("book", "gap"),
    "trade": ("trade", "gap"),
    "post": ("post", "withdrawal"),
    "table": ("microprice",),
}
_TIME = ("tick", "clock")
"""Kinds that let time pass, and say nothing of a market."""


def messages(names: Iterable[str], at_us: int, instrument: Instrument, *, has_sides: bool = True) -> dict[str, Need]:
    """Return the kinds of messages that give these kernels their states of ``at_us``, and how far back each is read.

    The kernels that are made of them are rebuilt with them. ``has_sides`` is as in ``transforms.history.needs``.

    >>> sorted(messages({"roll"}, 1_700_006_400_000_000, Instrument()))
    ['clock', 'gap', 'tick', 'trade']
    """
    found: dict[str, Need] = {}
    for source, need in needs(names, at_us, instrument, has_sides=has_sides).items():
        for kind in (*_KINDS[source], *(_TIME if source != "table" else ())):
            found[kind] = found[kind] | need if kind in found else need
    return found

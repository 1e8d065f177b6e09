"""Which messages a rebuild of kernels is given, and from when on."""

from __future__ import annotations

from collections.abc import Iterable

from transforms import history
from transforms.history import Need, Source, needs
from transforms.instrument import Instrument
from transforms.kernels import ALL, KERNEL

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


def alone(name: str, at_us: int, instrument: Instrument, *, has_sides: bool) -> dict[str, Need]:
    """Return the kinds of messages that one kernel is made of, and how far back it looks; those that are made of it may look further.

    A kernel that gives no feature itself looks as far back as those that are made of it.

    >>> {kind: need.bars for kind, need in alone("bars", 1_700_006_400_000_000, Instrument(), has_sides=True).items()}
    {'trade': 251}
    """
    found: dict[str, Need] = {}
    for kernel in [KERNEL[name]] if KERNEL[name].features else [one for one in ALL if name in one.needs]:
        for source in history._sources(kernel, has_sides):
            for need in history._of(kernel, source, at_us, instrument):
                kind = "microprice" if source == "table" else source
                found[kind] = found[kind] | need if kind in found else need
    return found

"""Whom a symbol listens to, and the state of the view ``context``, which only such a symbol has.

::

    | head | own seconds | own ring | newest second, is it a venue, ring of neighbour 0 | the same of neighbour 1 | ... | of the lead

A ring holds a second, mid, bid size and ask size at ``second % KEPT``. The own seconds, at the same places, are those for which a row is
due: with the head and the newest seconds they say which rows come, also where the values in the rings begin anew. The lead, where there is
a leader, is two rings of logarithms of mids, the symbol's own and the leader's: the newest second, then ``LONG`` logarithms, NaN where a
mid is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from transforms.kernel import NAN, Vector, vector

KEPT = 128
"""Seconds kept of each symbol: a leader may be a minute ahead, and a row may wait for an allowed lateness, a minute at most."""
WINDOW = 3600
"""Seconds of ``beta_60m`` and its like."""
LONG = WINDOW + 1 + KEPT
AGE = 2
"""Seconds by which a neighbour's row may be older than the row that uses it."""
IDENTITY, COUNT, LEADER, PAIR, DECIDED, NEWEST, HEAD = range(7)
"""Head: whom the state is of, how many neighbours, which of them lead and pair (-1: none), the newest second whose row was given or passed
over, and the symbol's own newest second."""
SECOND, MID, BID, ASK, CHANNELS = range(5)
RING = KEPT * CHANNELS
OWN = HEAD + KEPT
HEARD, IS_VENUE, TOLD = range(3)
NEIGHBOUR = TOLD + RING
FIRST = OWN + RING
"""Where the own ring and the first neighbour begin."""
LOGS = 1 + LONG


class Shape(NamedTuple):
    """How many neighbours a state is of, and whether one of them leads."""

    neighbours: int
    leads: bool


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Whom a symbol listens to: each name once, the numbers of the leader and of the pair (-1: none), and those of the asset's venues."""

    names: tuple[str, ...]
    leader: int = -1
    pair: int = -1
    venues: tuple[int, ...] = ()

    @property
    def shape(self) -> Shape:
        """The shape of the state."""
        return Shape(len(self.names), self.leader >= 0)


def neighbours(leader: str, pair: str, venues: Sequence[str]) -> Neighbours | None:
    """Return whom a symbol listens to; None where it listens to nobody.

    >>> neighbours("BTC", "ETH-SPOT", ["ETH-SPOT", "X:ETH"])
    Neighbours(names=('BTC', 'ETH-SPOT', 'X:ETH'), leader=0, pair=1, venues=(1, 2))
    >>> neighbours("", "", []) is None
    True
    """
    names = tuple(dict.fromkeys(name for name in (leader, pair, *venues) if name))
    number = {name: i for i, name in enumerate(names)}
    if not names:
        return None
    return Neighbours(names, number.get(leader, -1), number.get(pair, -1), tuple(number[name] for name in venues))


def size(shape: Shape) -> int:
    """Return how many doubles the state of ``neighbours`` takes, with the order of rows; that of ``lead`` stands behind it."""
    return FIRST + shape.neighbours * NEIGHBOUR


def init(of: Neighbours) -> Vector:
    """Return the state of a symbol that heard nobody yet."""
    values = [0.0] * size(of.shape)
    values[IDENTITY], values[COUNT], values[LEADER], values[PAIR] = identity(of), len(of.names), of.leader, of.pair
    for i in of.venues:
        values[FIRST + i * NEIGHBOUR + IS_VENUE] = 1.0
    if of.leader >= 0:
        values += 2 * [0.0, *[NAN] * LONG]
    return vector(values)


def identity(of: Neighbours) -> float:
    """Return a number that tells a state of other neighbours."""
    return float(crc32(repr(of).encode()))

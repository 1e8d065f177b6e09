"""``quote_rate_10s``: good books in ``(t - 10 s, t]`` over 10 s, null unless the run of good books begins at or before ``t - 10 s``.

Example: One book every half a second makes two a second:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> for half in range(1, 25):
...     feed.book(half / 2, bids=[(99.0, 1.0)], asks=[(101.0, 1.0)])
>>> feed.value("quote_rate_10s", at=12)
2.0
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import MICROSTRUCTURE
from transforms.kernel import Vector, jit
from transforms.microstructure.layout import BOOKS_CHANNEL, LEVELS_CHANNELS, LEVELS_US, covered

QUOTE_RATE_10S = MICROSTRUCTURE.index["quote_rate_10s"]


@jit
def emit_quote_rate(state: Vector, t_us: int, out: Vector, width: int, levels: int, n_levels: int) -> None:
    """Write ``quote_rate_10s``; advance the ring to ``t_us`` first."""
    if covered(state, 0, t_us, LEVELS_US):
        books = window.total(state, levels, n_levels, LEVELS_CHANNELS, BOOKS_CHANNEL, t_us // width, n_levels)
        out[QUOTE_RATE_10S] = books / 10.0

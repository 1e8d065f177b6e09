"""``quote_rate_10s``: books in ``(t - 10 s, t]`` over 10 s, 1/s.

Only good books count. Null unless every book of the window is known: the run of good books must begin at or before
``t - 10 s``, so null while a gap or an invalid book lies in the window, or the feed is younger than it.
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import MICROSTRUCTURE
from transforms.kernel import Vector, jit
from transforms.microstructure.layout import BOOKS_CHANNEL, LEVELS_CHANNELS, LEVELS_US, covered

QUOTE_RATE_10S = MICROSTRUCTURE.index["quote_rate_10s"]


@jit
def emit_quote_rate(state: Vector, t_us: int, out: Vector, width: int, levels: int, n_levels: int) -> None:
    """Write ``quote_rate_10s``; the ring must stand at ``t_us``."""
    if covered(state, 0, t_us, LEVELS_US):
        books = window.total(state, levels, n_levels, LEVELS_CHANNELS, BOOKS_CHANNEL, t_us // width, n_levels)
        out[QUOTE_RATE_10S] = books / 10.0

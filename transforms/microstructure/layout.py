"""Where everything of the ``microstructure`` state stands.

::

    0        newest event of the feed, µs; 0 before the first
    1        width of a bucket, µs
    2        lots in one unit of size, 10**size_digits
    3, 4     levels of the last book: bids, asks
    SINCE    per price level k: time of the first book of the run, µs
    RUN      per price level k: books of the run, 0 where the last book lacks the level or is unknown
    BOOK     the last book, as it came: bid prices, bid sizes, ask prices, ask sizes, 20 each, best first
    TABLE    microprice table: usable from (µs), tick, g by imbalance bin and spread bin; tick 0 where none is fitted
    OFI      ring over 60 s: lots of order flow imbalance at level 1
    LEVELS   ring over 10 s: lots at levels 2 to 5, and the number of books

A run of level k is the unbroken series of books, up to the last, that all have k levels on both sides. Everything
that sums over a window is known exactly where the run reaches back to the window's begin; the same rule serves the
start of the feed, a gap, an invalid book and a book that is too short.
"""

from __future__ import annotations

from transforms import window
from transforms.kernel import SECOND_US, Vector, jit

MAX_LEVELS = 20
FLOW_LEVELS = 5
LEVELS_CHANNELS = FLOW_LEVELS
"""Channels of the ring LEVELS: levels 2 to 5, then books."""
BOOKS_CHANNEL = FLOW_LEVELS - 1

IMBALANCE_BINS = 11
SPREAD_BINS = 5
G_SIZE = IMBALANCE_BINS * SPREAD_BINS
"""Cells of a microprice table."""

NEWEST = 0
BUCKET = 1
SCALE = 2
N_BID = 3
N_ASK = 4
SINCE = 5
RUN = SINCE + FLOW_LEVELS
BOOK = RUN + FLOW_LEVELS
BID_PRICE = BOOK
BID_SIZE = BOOK + MAX_LEVELS
ASK_PRICE = BOOK + 2 * MAX_LEVELS
ASK_SIZE = BOOK + 3 * MAX_LEVELS
TABLE = BOOK + 4 * MAX_LEVELS
TABLE_SIZE = 2 + G_SIZE
OFI = TABLE + TABLE_SIZE

OFI_US = 60 * SECOND_US
LEVELS_US = 10 * SECOND_US


@jit
def levels_ring(n_ofi: int) -> int:
    """Offset of the ring LEVELS, behind a ring OFI of ``n_ofi`` buckets."""
    return OFI + 1 + n_ofi


def size(bucket_us: int) -> int:
    """Length of a state whose windows are counted in buckets of ``bucket_us``.

    >>> size(1_000_000), size(100_000)
    (264, 1254)
    """
    n_ofi = OFI_US // bucket_us
    n_levels = LEVELS_US // bucket_us
    return OFI + window.size(n_ofi, 1) + window.size(n_levels, LEVELS_CHANNELS)


@jit
def covered(state: Vector, k: int, t_us: int, w_us: int) -> bool:
    """Whether the run of level ``k`` (0 is the best) reaches back to the begin of the window ``(t - w, t]``."""
    return bool(state[RUN + k] > 0.0 and state[SINCE + k] <= t_us - w_us)

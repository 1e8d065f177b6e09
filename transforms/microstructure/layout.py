"""Offsets of a flat book and of the state of the ``microstructure`` view; ``fill`` writes the levels of a message to a flat book.

A flat book is one vector of doubles, best level first; slots past the levels in use hold anything::

    | n bid prices | n bid sizes | n ask prices | n ask sizes | 1 if the depths are given, else 0 | six depths |

It has room for n = 20 levels a side (``FLAT_SIZE`` doubles). A message with more levels makes a deep book, with room for all of them;
``depth.narrow`` makes a flat book of 20 levels of it. The depths stand in the order of their features.

The state::

    NEWEST   newest event of the feed, µs; 0 before the first
    BUCKET   width of a bucket, µs
    SCALE    lots in one unit of size, 10**size_digits
    N_BID    levels of the last book: bids; N_ASK: asks
    SINCE    per price level k: time of the first book of the run, µs
    RUN      per price level k: books of the run, 0 where the last book lacks the level or is unknown
    BOOK     the last book, flat, with its depths
    TABLE    microprice table: usable from (µs), tick, g by imbalance bin and spread bin; tick 0 where none is installed
    OFI      ring over 60 s: lots of order flow imbalance at level 1
    LEVELS   ring over 10 s: lots of order flow imbalance at levels 2 to 5, and the number of books

A run of level k is the unbroken series of books, up to the last one, that all have k levels on both sides. A sum over a window is
known exactly when the run reaches back to the beginning of the window. This one rule covers the start of the feed, a gap, an invalid
book and a book with too few levels.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from transforms import window
from transforms.kernel import COMPILED, NAN, SECOND_US, Vector, jit, zeros
from transforms.limits import MAX_LEVELS

DEPTHS = 6
"""Depths of a book: within 10 bps of bids, of asks, then within 25 and 50 bps."""
_TAIL = 1 + DEPTHS
FLAT_BID_PRICE, FLAT_BID_SIZE, FLAT_ASK_PRICE, FLAT_ASK_SIZE, FLAT_DEPTH_GIVEN = (
    part * MAX_LEVELS for part in range(5)
)
FLAT_DEPTH = FLAT_DEPTH_GIVEN + 1
FLAT_SIZE = FLAT_DEPTH_GIVEN + _TAIL
_pack = struct.Struct(f"{FLAT_DEPTH}d").pack_into
_pack_depths = struct.Struct(f"{_TAIL}d").pack_into

Levels = Sequence[tuple[float, float]]
"""Prices and sizes of one side, best first."""
Distances = tuple[float | None, float | None, float | None]
Depth = tuple[Distances, Distances]
"""Quote value of bids and of asks within 10, 25 and 50 bps of the mid; None where the book is not known that far."""

FLOW_LEVELS = 5
LEVELS_CHANNELS = FLOW_LEVELS
"""Channels of the ring LEVELS: levels 2 to 5, then books."""
BOOKS_CHANNEL = FLOW_LEVELS - 1

IMBALANCE_BINS = 11
SPREAD_BINS = 5
G_SIZE = IMBALANCE_BINS * SPREAD_BINS
"""Cells of a microprice table."""
TABLE_FROM_US, TABLE_TICK, TABLE_G = 0, 1, 2
"""Parts of a microprice table."""
TABLE_SIZE = TABLE_G + G_SIZE

NEWEST, BUCKET, SCALE, N_BID, N_ASK, SINCE = range(6)
RUN = SINCE + FLOW_LEVELS
BOOK = RUN + FLOW_LEVELS
BID_PRICE = BOOK + FLAT_BID_PRICE
BID_SIZE = BOOK + FLAT_BID_SIZE
ASK_PRICE = BOOK + FLAT_ASK_PRICE
ASK_SIZE = BOOK + FLAT_ASK_SIZE
DEPTH_GIVEN = BOOK + FLAT_DEPTH_GIVEN
DEPTH = BOOK + FLAT_DEPTH
TABLE = BOOK + FLAT_SIZE
OFI = TABLE + TABLE_SIZE

OFI_US = 60 * SECOND_US
LEVELS_US = 10 * SECOND_US


@jit
def capacity(book: Vector) -> int:
    """Return the levels a side that a flat or deep book has room for."""
    return (len(book) - _TAIL) // 4


def empty(levels: int) -> Vector:
    """Return a flat book without levels and depths that has room for ``levels`` a side, or for 20 if these are fewer."""
    return zeros(4 * max(levels, MAX_LEVELS) + _TAIL)


def fill(book: Vector, bids: Levels, asks: Levels) -> tuple[int, int]:
    """Write the levels of both sides to a ``book`` that has room for them; slots past a shorter side keep what they held.

    Return the levels of bids and of asks. With an empty side nothing is written. Feeds usually send 20 levels a side: to pack these at
    once takes half the time of four slice assignments to an array.
    """
    n_bid, n_ask = len(bids), len(asks)
    if n_bid and n_ask:
        bid_prices, bid_sizes = zip(*bids, strict=True)
        ask_prices, ask_sizes = zip(*asks, strict=True)
        if COMPILED and n_bid == n_ask == MAX_LEVELS and len(book) == FLAT_SIZE:
            _pack(book, 0, *bid_prices, *bid_sizes, *ask_prices, *ask_sizes, 0.0)
        else:
            room = capacity(book)
            book[:n_bid] = bid_prices
            book[room : room + n_bid] = bid_sizes
            book[2 * room : 2 * room + n_ask] = ask_prices
            book[3 * room : 3 * room + n_ask] = ask_sizes
            book[4 * room] = 0.0
    return n_bid, n_ask


def fill_depth(book: Vector, depth: Depth) -> None:
    """Write the depths that a message gives to a flat ``book`` of 20 levels."""
    bids, asks = depth
    by_turns = [NAN if value is None else value for pair in zip(bids, asks, strict=True) for value in pair]
    if COMPILED:
        _pack_depths(book, 8 * FLAT_DEPTH_GIVEN, 1.0, *by_turns)
    else:
        book[FLAT_DEPTH_GIVEN:] = [1.0, *by_turns]


@jit
def levels_ring(n_ofi: int) -> int:
    """Return the offset of the ring LEVELS, which stands behind a ring OFI of ``n_ofi`` buckets."""
    return OFI + window.BUCKETS + n_ofi


def size(bucket_us: int) -> int:
    """Return the length of a state with window buckets of ``bucket_us``."""
    n_ofi = OFI_US // bucket_us
    n_levels = LEVELS_US // bucket_us
    return OFI + window.size(n_ofi, 1) + window.size(n_levels, LEVELS_CHANNELS)


@jit
def covered(state: Vector, k: int, t_us: int, w_us: int) -> bool:
    """Return whether the run of level ``k`` (0 is the best) reaches back to the beginning of the window ``(t - w, t]``."""
    return bool(state[RUN + k] > 0.0 and state[SINCE + k] <= t_us - w_us)

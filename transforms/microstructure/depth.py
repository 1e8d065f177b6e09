"""``depth_bid_10bps`` to ``depth_ask_50bps``, ``book_slope_bid``, ``book_slope_ask``: how much waits at what distance from the mid.

Within x bps of m are the levels with P_b >= m*(1 - x/1e4) and P_a <= m*(1 + x/1e4); a price that differs from the limit by rounding
alone is within. The depth is that of the whole known book. The best 20 levels of a busy market reach 1 or 2 bps only, so a feed that
holds the whole book computes the depths there, with ``side_depth``, and sends them with the message; these are the features. Without
them, all levels of the message count, and the depth is null where the last level is still within, because what waits behind it is not
known.

The slope is that of Q_1 + ... + Q_i on abs(P_i - m)/m; a side with fewer than 10 levels gives as many as it has. It is also null where
prices are so close together that their distances are equal.

Source of the slope: Naes and Skjeltorp 2006, "Order book characteristics and the volume-volatility relation".

Example: The mid is 1000, so 10 bps reach down to 999: 1 at 999.5 and 2 at 999 are worth 2997.5, and 998 lies beyond. The book does not
reach 25 bps. The bids' cumulative sizes 1, 3, 6 at the distances 0.0005, 0.001, 0.002 have the slope 3285.7:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.book(0.5, bids=[(999.5, 1.0), (999.0, 2.0), (998.0, 3.0)], asks=[(1000.5, 1.0)])
>>> feed.value("depth_bid_10bps", at=1), feed.value("depth_bid_25bps", at=1), round(feed.value("book_slope_bid", at=1), 1)
(2997.5, None, 3285.7)
"""

from __future__ import annotations

from transforms.catalog import MICROSTRUCTURE
from transforms.instrument import base_size, quote_value
from transforms.kernel import NAN, Vector, jit
from transforms.limits import MAX_LEVELS
from transforms.microstructure.layout import (
    ASK_PRICE,
    ASK_SIZE,
    BID_PRICE,
    BID_SIZE,
    BOOK,
    DEPTH,
    DEPTH_GIVEN,
    DEPTHS,
    FLAT_ASK_PRICE,
    FLAT_ASK_SIZE,
    FLAT_BID_PRICE,
    FLAT_BID_SIZE,
    FLAT_DEPTH,
    FLAT_DEPTH_GIVEN,
    N_ASK,
    N_BID,
    capacity,
)

DISTANCES = (10.0 / 1e4, 25.0 / 1e4, 50.0 / 1e4)
BIDS, ASKS = 0, 1
"""Where the depth of a side stands among the two of a distance."""
_ROUNDING = 1e-15
"""How far a price may lie past a limit. Rounding makes less than half of it; prices of up to 9 digits come no nearer than ten times it."""

DEPTH_FEATURES = MICROSTRUCTURE.index["depth_bid_10bps"]
"""The first of the six depths; the others follow it in the order of the flat book."""
BOOK_SLOPE_BID, BOOK_SLOPE_ASK = MICROSTRUCTURE.slots("book_slope_bid", "book_slope_ask")

SLOPE_LEVELS = 10
MIN_SLOPE_LEVELS = 3


@jit
def side_depth(
    prices: Vector, price_at: int, sizes: Vector, size_at: int, step: int, n: int, mid: float, known: float,
    contract_size: float, inverse: bool, out: Vector, at: int,
) -> None:  # fmt: skip
    """Write the quote value of one side within 10, 25 and 50 bps of ``mid`` to ``out`` at ``at``, ``at + 2`` and ``at + 4``.

    This is the one definition of depth, for the levels of a message as for the whole book of a parser.

    Parameters
    ----------
    prices, sizes : Vector
        Hold the ``n`` levels: the best at ``price_at`` and ``size_at``, each next one ``step`` further.
    mid : float
        Mid price of the book.
    known : float
        The side's farthest price up to which every level is known: above ``mid`` for asks (infinite if the whole side is known), below it
        for bids (0). The depth is NaN where a limit is not within it.
    contract_size : float
    inverse : bool
        As those of an ``Instrument``, for sizes that are contracts; 1 and False for base units.
    out : Vector
        Takes the results.
    at : int
        ``BIDS`` or ``ASKS``, behind the place of the first depth in ``out``.
    """
    sign = 1.0 if known > mid else -1.0  # with it, a price farther from the mid is always larger
    depth = 0.0
    level = 0
    for i in range(len(DISTANCES)):
        limit = sign * mid * (1.0 + sign * DISTANCES[i]) * (1.0 + sign * _ROUNDING)
        while level < n and sign * prices[price_at + step * level] <= limit:
            depth += quote_value(sizes[size_at + step * level], prices[price_at + step * level], contract_size, inverse)
            level += 1
        out[at + 2 * i] = depth if sign * known > limit else NAN


@jit
def message_depth(book: Vector, at: int, room: int, n_bid: int, n_ask: int, out: Vector, out_at: int) -> None:
    """Write the six depths that the levels of a message show; ``book`` has room for ``room`` levels a side from ``at`` on.

    The last level of a side is the farthest price that is known.
    """
    ask_at = at + 2 * room
    mid = (book[at] + book[ask_at]) / 2.0
    side_depth(book, at, book, at + room, 1, n_bid, mid, book[at + n_bid - 1], 1.0, False, out, out_at + BIDS)
    side_depth(
        book, ask_at, book, ask_at + room, 1, n_ask, mid, book[ask_at + n_ask - 1], 1.0, False, out, out_at + ASKS
    )


@jit
def sizes_to_base(book: Vector, n_bid: int, n_ask: int, contract_size: float, inverse: bool) -> None:
    """Make base units of the sizes of a valid flat or deep book, which are contracts."""
    room = capacity(book)
    for side, n in ((0, n_bid), (2 * room, n_ask)):
        for i in range(side, side + n):
            book[room + i] = base_size(book[room + i], book[i], contract_size, inverse)


@jit
def narrow(deep: Vector, n_bid: int, n_ask: int, book: Vector) -> None:
    """Write the best 20 levels a side of a valid deep book to a flat ``book``, with the depths that all its levels show."""
    room = capacity(deep)
    for i in range(min(n_bid, MAX_LEVELS)):
        book[FLAT_BID_PRICE + i] = deep[i]
        book[FLAT_BID_SIZE + i] = deep[room + i]
    for i in range(min(n_ask, MAX_LEVELS)):
        book[FLAT_ASK_PRICE + i] = deep[2 * room + i]
        book[FLAT_ASK_SIZE + i] = deep[3 * room + i]
    book[FLAT_DEPTH_GIVEN] = 1.0
    message_depth(deep, 0, room, n_bid, n_ask, book, FLAT_DEPTH)


@jit
def book_slope(state: Vector, price: int, size: int, n: int, mid: float) -> float:
    """Return the slope of cumulative size on relative distance over one side's best levels, NaN under 3 levels."""
    n = min(n, SLOPE_LEVELS)
    if n < MIN_SLOPE_LEVELS:
        return NAN
    mean_x = 0.0
    mean_y = 0.0
    y = 0.0
    for i in range(n):
        y += state[size + i]
        mean_x += abs(state[price + i] - mid) / mid
        mean_y += y
    mean_x /= n
    mean_y /= n
    y = 0.0
    sxy = 0.0
    sxx = 0.0
    for i in range(n):
        y += state[size + i]
        dx = abs(state[price + i] - mid) / mid - mean_x
        sxy += dx * (y - mean_y)
        sxx += dx * dx
    return sxy / sxx if sxx > 0.0 else NAN


@jit
def emit_depth(state: Vector, out: Vector, mid: float) -> None:
    """Write the features of this module from a valid book with the mid ``mid``."""
    n_bid = int(state[N_BID])
    n_ask = int(state[N_ASK])
    if state[DEPTH_GIVEN] == 1.0:
        for i in range(DEPTHS):
            out[DEPTH_FEATURES + i] = state[DEPTH + i]
    else:
        message_depth(state, BOOK, MAX_LEVELS, n_bid, n_ask, out, DEPTH_FEATURES)
    out[BOOK_SLOPE_BID] = book_slope(state, BID_PRICE, BID_SIZE, n_bid, mid)
    out[BOOK_SLOPE_ASK] = book_slope(state, ASK_PRICE, ASK_SIZE, n_ask, mid)

"""Fill a flat book, which the kernels read, with the price levels of a message; ``layout`` draws it.

Feeds usually send 20 levels a side. Packing these at once takes half the time of four slice assignments to an array. Other depths,
and the lists of plain Python, take the slices.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from transforms.kernel import COMPILED, Vector
from transforms.limits import MAX_LEVELS
from transforms.microstructure import layout

Level = tuple[float, float]
_pack = struct.Struct(f"{layout.FLAT_SIZE}d").pack_into


def fill(book: Vector, bids: Sequence[Level], asks: Sequence[Level]) -> tuple[int, int]:
    """Write the best 20 levels of both sides to ``book``; slots past a shorter side keep what they held.

    Returns
    -------
    tuple of int
        Levels of bids and of asks in use. With an empty side nothing is written.

    Examples
    --------
    >>> from transforms.kernel import zeros
    >>> book = zeros(layout.FLAT_SIZE)
    >>> fill(book, [(99.0, 1.0)], [(101.0, 2.0), (102.0, 3.0)])
    (1, 2)
    >>> float(book[layout.FLAT_BID_PRICE]), float(book[layout.FLAT_ASK_PRICE + 1]), float(book[layout.FLAT_ASK_SIZE + 1])
    (99.0, 102.0, 3.0)
    """
    n_bid, n_ask = min(len(bids), MAX_LEVELS), min(len(asks), MAX_LEVELS)
    if n_bid and n_ask:
        bid_prices, bid_sizes = zip(*bids[:n_bid], strict=True)
        ask_prices, ask_sizes = zip(*asks[:n_ask], strict=True)
        if COMPILED and n_bid == n_ask == MAX_LEVELS:
            _pack(book, 0, *bid_prices, *bid_sizes, *ask_prices, *ask_sizes)
        else:
            book[layout.FLAT_BID_PRICE : layout.FLAT_BID_PRICE + n_bid] = bid_prices
            book[layout.FLAT_BID_SIZE : layout.FLAT_BID_SIZE + n_bid] = bid_sizes
            book[layout.FLAT_ASK_PRICE : layout.FLAT_ASK_PRICE + n_ask] = ask_prices
            book[layout.FLAT_ASK_SIZE : layout.FLAT_ASK_SIZE + n_ask] = ask_sizes
    return n_bid, n_ask

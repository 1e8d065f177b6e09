"""Price levels of a message into the flat book that the kernels read.

Twenty levels a side are what feeds send, and packing all of them at once takes half the time of four slice assignments
into an array; other depths, and the lists of plain Python, take the slices.

Layout of a book of 80 doubles: ``| 20 bid prices | 20 bid sizes | 20 ask prices | 20 ask sizes |``, best first.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from transforms.kernel import COMPILED, Vector
from transforms.microstructure.layout import MAX_LEVELS

Level = tuple[float, float]
_pack = struct.Struct(f"{4 * MAX_LEVELS}d").pack_into


def fill(book: Vector, bids: Sequence[Level], asks: Sequence[Level]) -> tuple[int, int]:
    """Write the best 20 levels of both sides to ``book``; slots past a shorter side keep what they held.

    Returns
    -------
    tuple of int
        Levels of bids and of asks in use. With an empty side nothing is written.

    >>> from transforms.kernel import zeros
    >>> book = zeros(80)
    >>> fill(book, [(99.0, 1.0)], [(101.0, 2.0), (102.0, 3.0)])
    (1, 2)
    >>> [float(book[i]) for i in (0, 20, 40, 41, 60, 61)]
    [99.0, 1.0, 101.0, 102.0, 2.0, 3.0]
    """
    n_bid, n_ask = min(len(bids), MAX_LEVELS), min(len(asks), MAX_LEVELS)
    if n_bid and n_ask:
        bid_prices, bid_sizes = zip(*bids[:n_bid], strict=True)
        ask_prices, ask_sizes = zip(*asks[:n_ask], strict=True)
        if COMPILED and n_bid == n_ask == MAX_LEVELS:
            _pack(book, 0, *bid_prices, *bid_sizes, *ask_prices, *ask_sizes)
        else:
            book[0:n_bid], book[20 : 20 + n_bid] = bid_prices, bid_sizes
            book[40 : 40 + n_ask], book[60 : 60 + n_ask] = ask_prices, ask_sizes
    return n_bid, n_ask

"""``imbalance_l1`` to ``_l10``, ``imbalance_ratio``, ``bid_volume``, ``ask_volume``: one side against the other.

    imbalance_lk             (sum Q_b - sum Q_a)/(sum Q_b + sum Q_a) over the best k levels, in [-1, 1]
    bid_volume, ask_volume   sum of Q over every level of the side that the book has, up to 20, base units
    imbalance_ratio          (bid_volume - ask_volume)/(bid_volume + ask_volume), in [-1, 1]

Sums are plain, from the best level outwards: they belong to one snapshot, so they have but one order. Null without a
valid book; ``imbalance_lk`` also where a side has fewer than k levels. Source: Gould and Bonart 2016, "Queue
imbalance as a one-tick-ahead price predictor in a limit order book".
"""

from __future__ import annotations

from transforms.catalog import MICROSTRUCTURE
from transforms.kernel import Vector, jit
from transforms.microstructure.layout import ASK_SIZE, BID_SIZE, N_ASK, N_BID

IMBALANCE_L1 = MICROSTRUCTURE.index["imbalance_l1"]
IMBALANCE_L3 = MICROSTRUCTURE.index["imbalance_l3"]
IMBALANCE_L5 = MICROSTRUCTURE.index["imbalance_l5"]
IMBALANCE_L10 = MICROSTRUCTURE.index["imbalance_l10"]
IMBALANCE_RATIO = MICROSTRUCTURE.index["imbalance_ratio"]
BID_VOLUME = MICROSTRUCTURE.index["bid_volume"]
ASK_VOLUME = MICROSTRUCTURE.index["ask_volume"]


@jit
def share(bid: float, ask: float) -> float:
    """``(bid - ask)/(bid + ask)`` of two positive sizes.

    >>> share(3.0, 1.0)
    0.5
    """
    return (bid - ask) / (bid + ask)


@jit
def emit_imbalance(state: Vector, out: Vector) -> None:
    """Write the features of this module from a valid book."""
    n_bid = int(state[N_BID])
    n_ask = int(state[N_ASK])
    common = min(n_bid, n_ask)
    bid = 0.0
    ask = 0.0
    for i in range(common):
        bid += state[BID_SIZE + i]
        ask += state[ASK_SIZE + i]
        if i == 0:
            out[IMBALANCE_L1] = share(bid, ask)
        elif i == 2:
            out[IMBALANCE_L3] = share(bid, ask)
        elif i == 4:
            out[IMBALANCE_L5] = share(bid, ask)
        elif i == 9:
            out[IMBALANCE_L10] = share(bid, ask)
    for i in range(common, n_bid):
        bid += state[BID_SIZE + i]
    for i in range(common, n_ask):
        ask += state[ASK_SIZE + i]
    out[BID_VOLUME] = bid
    out[ASK_VOLUME] = ask
    out[IMBALANCE_RATIO] = share(bid, ask)

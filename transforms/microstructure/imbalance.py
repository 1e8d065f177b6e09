"""``imbalance_l1`` to ``imbalance_l10``, ``imbalance_ratio``, ``bid_volume``, ``ask_volume``: the sizes of one side against the other.

Sums run from the best level outwards, so a book always gives the same bits. Source: Gould and Bonart 2016, "Queue imbalance as a
one-tick-ahead price predictor in a limit order book".

Example: At the best level 3 against 1 gives (3 - 1)/(3 + 1). The ask's second level of 4 makes it 3 against 5 over the whole book:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.book(0.5, bids=[(99.0, 3.0)], asks=[(101.0, 1.0), (102.0, 4.0)])
>>> [feed.value(name, at=1) for name in ("imbalance_l1", "imbalance_ratio", "ask_volume", "imbalance_l3")]
[0.5, -0.25, 5.0, None]
"""

from __future__ import annotations

from transforms.catalog import MICROSTRUCTURE
from transforms.kernel import Vector, jit
from transforms.microstructure.layout import ASK_SIZE, BID_SIZE, N_ASK, N_BID

_slots = MICROSTRUCTURE.slots
IMBALANCE_L1, IMBALANCE_L3, IMBALANCE_L5, IMBALANCE_L10 = _slots(*(f"imbalance_l{k}" for k in (1, 3, 5, 10)))
IMBALANCE_RATIO, BID_VOLUME, ASK_VOLUME = _slots("imbalance_ratio", "bid_volume", "ask_volume")


@jit
def share(bid: float, ask: float) -> float:
    """Return ``(bid - ask)/(bid + ask)`` of two positive sizes."""
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

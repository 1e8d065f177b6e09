"""``ofi_1s``, ``ofi_10s``, ``ofi_60s`` and ``mlofi_l1`` to ``mlofi_l5``: order flow imbalance, what was added to and taken from the book.

Each book is compared with the one before. At price level k this gives the contribution (primes: the book before)

    e_k = Q_b 1{P_b >= P_b'} - Q_b' 1{P_b <= P_b'} - Q_a 1{P_a <= P_a'} + Q_a' 1{P_a >= P_a'}

in whole lots. A feature is the sum of e over the window ``(t - w, t]``, in base units; ``mlofi_l1`` equals ``ofi_10s``.

Null unless every book from ``t - w`` on is known: the run of level k (see ``layout``) must begin at or before ``t - w``, and hold two
books, because one book makes no contribution. A sum over part of a window is never given as the whole, and a value does not depend on
when the process started.

Sources: Cont, Kukanov, Stoikov 2014, "The price impact of order book events"; Xu, Gould, Howison 2018, "Multi-level order-flow
imbalance in a limit order book".

Example: The bid's queue grows from 2 to 5: +3. The ask moves up, so its queue of 1 is gone, which is +1:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.book(0.5, bids=[(99.0, 2.0)], asks=[(101.0, 1.0)])
>>> feed.book(1.5, bids=[(99.0, 5.0)], asks=[(102.0, 7.0)])
>>> feed.value("ofi_1s", at=2)
4.0
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import MICROSTRUCTURE
from transforms.kernel import SECOND_US, Vector, jit
from transforms.lots import lots
from transforms.microstructure import layout
from transforms.microstructure.layout import ASK_PRICE, ASK_SIZE, BID_PRICE, BID_SIZE, RUN, SINCE

OFI_1S, OFI_10S, OFI_60S, MLOFI_L1 = MICROSTRUCTURE.slots("ofi_1s", "ofi_10s", "ofi_60s", "mlofi_l1")


@jit
def queue_flow(improved: float, q: float, q_before: float, scale: float) -> float:
    """Return the lots that one side's queue at a level gained from one book to the next.

    ``improved`` is how much better the level's price is than before. Above 0 there is a new queue of ``q``, below 0 the queue of
    ``q_before`` is gone, and at 0 the queue is the same.
    """
    if improved > 0.0:
        return lots(q, scale)
    if improved < 0.0:
        return -lots(q_before, scale)
    if q == q_before:
        return 0.0
    return lots(q, scale) - lots(q_before, scale)


@jit
def add_flow(state: Vector, t_us: int, book: Vector, n_bid: int, n_ask: int, ofi_at: int, levels_at: int) -> None:
    """Add the contributions of ``book`` against the one in the state to the buckets at ``ofi_at`` and ``levels_at``.

    A level that one of the two books lacks contributes nothing; a new run begins with the first book that has it.
    """
    depth = min(n_bid, n_ask, layout.FLOW_LEVELS)
    scale = state[layout.SCALE]
    bid_price, bid_size = layout.FLAT_BID_PRICE, layout.FLAT_BID_SIZE
    ask_price, ask_size = layout.FLAT_ASK_PRICE, layout.FLAT_ASK_SIZE
    for k in range(layout.FLOW_LEVELS):
        if k >= depth:
            state[RUN + k] = 0.0
            continue
        run = state[RUN + k]
        state[RUN + k] = run + 1.0
        if run == 0.0:
            state[SINCE + k] = float(t_us)
            continue
        bid_improved = book[bid_price + k] - state[BID_PRICE + k]
        ask_improved = state[ASK_PRICE + k] - book[ask_price + k]
        bid = queue_flow(bid_improved, book[bid_size + k], state[BID_SIZE + k], scale)
        ask = queue_flow(ask_improved, book[ask_size + k], state[ASK_SIZE + k], scale)
        at = ofi_at if k == 0 else levels_at + k - 1
        state[at] += bid - ask


@jit
def emit_flow(state: Vector, t_us: int, out: Vector, width: int, n_ofi: int, levels: int, n_levels: int) -> None:
    """Write the features of this module; advance the rings to ``t_us`` first."""
    newest = t_us // width
    second = SECOND_US // width
    scale = state[layout.SCALE]
    if state[RUN] >= 2.0:
        if layout.covered(state, 0, t_us, SECOND_US):
            out[OFI_1S] = window.total(state, layout.OFI, n_ofi, 1, 0, newest, second) / scale
        if layout.covered(state, 0, t_us, 10 * SECOND_US):
            out[OFI_10S] = window.total(state, layout.OFI, n_ofi, 1, 0, newest, 10 * second) / scale
            out[MLOFI_L1] = out[OFI_10S]
        if layout.covered(state, 0, t_us, 60 * SECOND_US):
            out[OFI_60S] = window.total(state, layout.OFI, n_ofi, 1, 0, newest, n_ofi) / scale
    for k in range(1, layout.FLOW_LEVELS):
        if state[RUN + k] >= 2.0 and layout.covered(state, k, t_us, 10 * SECOND_US):
            out[MLOFI_L1 + k] = (
                window.total(state, levels, n_levels, layout.LEVELS_CHANNELS, k - 1, newest, n_levels) / scale
            )

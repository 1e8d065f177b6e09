"""The kernel of the ``microstructure`` view.

With every book three things are done: it is compared with the one before (``ofi``), counted (``quote_rate``) and kept. The other
features belong to one snapshot, so they are computed from the last book when a row is emitted: ``mid``, ``imbalance``, ``depth``,
``microprice``. ``layout`` draws the state and the flat ``book``, of which ``n_bid`` and ``n_ask`` levels are in use.

A book must have passed ``validation.check_book``. Events come in the order of their times, and ``emit(t)`` comes after the last event
at or before t and before the first one after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from transforms import window
from transforms.catalog import MICROSTRUCTURE
from transforms.instrument import Instrument
from transforms.kernel import NAN, SECOND_US, Vector, jit, zeros
from transforms.microstructure import layout
from transforms.microstructure.depth import emit_depth
from transforms.microstructure.imbalance import emit_imbalance
from transforms.microstructure.layout import ASK_PRICE, ASK_SIZE, BID_PRICE, BID_SIZE, N_ASK, N_BID
from transforms.microstructure.microprice import emit_microprice, install
from transforms.microstructure.mid import emit_mid
from transforms.microstructure.ofi import add_flow, emit_flow
from transforms.microstructure.quote_rate import emit_quote_rate

FEATURES = len(MICROSTRUCTURE.features)
BOOK_VALID = MICROSTRUCTURE.index["book_valid"]


def init(instrument: Instrument, bucket_us: int, microprice_table: Sequence[float] = ()) -> Vector:
    """Return the state of a symbol before its first book.

    ``bucket_us`` is the width of a window's bucket, min(1 s, emit interval); rows are emitted at multiples of it. The table is that of
    ``microprice_fit.Fit``; without one, ``microprice`` is null. Raise ``ValueError`` if one second is not a whole number of buckets, or
    ``install`` refuses the table.
    """
    if bucket_us <= 0 or SECOND_US % bucket_us:
        raise ValueError(f"a second must be a whole number of buckets; {bucket_us} µs does not divide it")
    state = zeros(layout.size(bucket_us))
    state[layout.BUCKET] = float(bucket_us)
    state[layout.SCALE] = 10.0**instrument.size_digits
    if len(microprice_table):
        install(state, microprice_table)
    return state


@jit
def step_book(state: Vector, t_us: int, book: Vector, n_bid: int, n_ask: int) -> None:
    """Fold in a good book of time ``t_us``."""
    width = int(state[layout.BUCKET])
    n_ofi = layout.OFI_US // width
    n_levels = layout.LEVELS_US // width
    levels = layout.levels_ring(n_ofi)
    b = window.bucket(t_us, width)
    window.advance(state, layout.OFI, n_ofi, 1, b)
    window.advance(state, levels, n_levels, layout.LEVELS_CHANNELS, b)
    ofi_at = window.slot(layout.OFI, n_ofi, 1, b)
    levels_at = window.slot(levels, n_levels, layout.LEVELS_CHANNELS, b)
    add_flow(state, t_us, book, n_bid, n_ask, ofi_at, levels_at)
    state[levels_at + layout.BOOKS_CHANNEL] += 1.0
    state[BID_PRICE : BID_PRICE + n_bid] = book[layout.FLAT_BID_PRICE : layout.FLAT_BID_PRICE + n_bid]
    state[BID_SIZE : BID_SIZE + n_bid] = book[layout.FLAT_BID_SIZE : layout.FLAT_BID_SIZE + n_bid]
    state[ASK_PRICE : ASK_PRICE + n_ask] = book[layout.FLAT_ASK_PRICE : layout.FLAT_ASK_PRICE + n_ask]
    state[ASK_SIZE : ASK_SIZE + n_ask] = book[layout.FLAT_ASK_SIZE : layout.FLAT_ASK_SIZE + n_ask]
    state[layout.DEPTH_GIVEN] = book[layout.FLAT_DEPTH_GIVEN]
    if book[layout.FLAT_DEPTH_GIVEN] == 1.0:
        for i in range(layout.DEPTHS):
            state[layout.DEPTH + i] = book[layout.FLAT_DEPTH + i]
    state[N_BID] = float(n_bid)
    state[N_ASK] = float(n_ask)
    state[layout.NEWEST] = float(t_us)


@jit
def step_invalid(state: Vector, t_us: int) -> None:
    """Mark the book as unknown from ``t_us`` until the next good one: after a gap in the feed, a crossed or an empty book.

    Until then ``book_valid`` is 0 and features that need a book are null. Order flow across the hole is not counted.
    """
    for k in range(layout.FLOW_LEVELS):
        state[layout.RUN + k] = 0.0
    state[layout.NEWEST] = float(t_us)


@jit
def emit(state: Vector, t_us: int, out: Vector) -> None:
    """Write the row of time ``t_us``: a double per feature of the view, in the catalogue's order, NaN where null.

    Before the first event of the feed all features are null, ``book_valid`` too.
    """
    for i in range(FEATURES):
        out[i] = NAN
    if state[layout.NEWEST] == 0.0:
        return
    if state[layout.RUN] == 0.0:
        out[BOOK_VALID] = 0.0
        return
    out[BOOK_VALID] = 1.0
    mid = emit_mid(state, out)
    emit_imbalance(state, out)
    emit_depth(state, out, mid)
    emit_microprice(state, t_us, out, mid)
    width = int(state[layout.BUCKET])
    n_ofi = layout.OFI_US // width
    n_levels = layout.LEVELS_US // width
    levels = layout.levels_ring(n_ofi)
    window.advance(state, layout.OFI, n_ofi, 1, t_us // width)
    window.advance(state, levels, n_levels, layout.LEVELS_CHANNELS, t_us // width)
    emit_flow(state, t_us, out, width, n_ofi, levels, n_levels)
    emit_quote_rate(state, t_us, out, width, levels, n_levels)

"""Which doubles of the vectors of a symbol belong to which kernel.

A layout is a sequence of pieces, ``(kernel, size)``, that fill a vector from its begin to its end. The state of a kernel is its pieces,
one behind the other. Kernels of a view share a vector, because one step of compiled code folds an event into all of them.

>>> layouts(1_000_000)["microstructure"]
(('book', 102), ('microprice_table', 57), ('book_flow', 112))
"""

from __future__ import annotations

from functools import cache
from itertools import groupby

import numpy as np
import numpy.typing as npt

from transforms import normalization, sessions
from transforms.catalog import NORMALIZED, TECHNICAL
from transforms.context import layout as context
from transforms.context.layout import Shape
from transforms.derivatives import liquidations, open_interest, told
from transforms.kernel import SECOND_US
from transforms.kernels import MAKES
from transforms.microstructure import layout as book
from transforms.order_flow import (
    amihud,
    bucket_volume,
    effective_spread,
    kyle,
    realized_spread,
    roll,
    session,
    trade_rate,
    volume,
    vpin,
)
from transforms.order_flow import kernel as flow
from transforms.technical import (
    atr,
    bars,
    bollinger,
    ema,
    momentum,
    range_volatility,
    relative_volume,
    rsi,
    volatility,
    volume_profile,
)
from transforms.technical import kernel as technical

Layout = tuple[tuple[str, int], ...]
DERIVATIVES = "derivatives"
"""The part that a symbol has only from its first message of these kinds on; without it these kernels are as in a new symbol."""


@cache
def layouts(bucket_us: int, shape: Shape | None = None) -> dict[str, Layout]:
    """Return the layout of each saved vector, with window buckets of ``bucket_us``; only a symbol with neighbours has a ``shape``."""
    per_second = SECOND_US // bucket_us
    of_bar = [MAKES[name] for name in TECHNICAL.names[technical.FIRST_OF_BAR : technical.LAST_OF_BAR + 1]]
    return {
        **({} if shape is None else {"context": _context(shape)}),
        "microstructure": (
            ("book", book.TABLE),
            ("microprice_table", book.TABLE_SIZE),
            ("book_flow", book.size(bucket_us) - book.OFI),
        ),
        "order_flow": (
            ("trades", flow.REFILL),
            ("vpin", 1),
            ("trades", flow.RATE - flow.HOLES),
            ("trade_rate", trade_rate.SIZE),
            ("trades", sessions.HEARD),
            ("session", session.SIZE - sessions.HEARD),
            ("vpin", bucket_volume.DAYS),  # the V in use
            ("bucket_volume", bucket_volume.SIZE - bucket_volume.DAYS),
            ("vpin", vpin.SIZE),
            ("kyle", kyle.SIZE),
            ("amihud", amihud.SIZE),
            ("trade_volume", volume.size(per_second)),
            ("roll", roll.size(per_second)),
            ("effective_spread", effective_spread.size(per_second)),
            ("realized_spread", realized_spread.size(per_second)),
            ("trade_volume", 1),
            ("amihud", 1),
        ),
        "technical": (
            ("prices", technical.FUNDING),
            ("funding", 1),
            ("prices", technical.BARS - technical.FUNDING - 1),
            ("bars", bars.SIZE),
            *((name, len([*same])) for name, same in groupby(of_bar)),
            ("rsi", rsi.SIZE),
            ("ema", 2 * ema.SIZE + ema.MACD_SIZE),
            ("bollinger", bollinger.SIZE),
            ("atr", atr.SIZE),
            ("ranges", range_volatility.SIZE),
            ("volatility", volatility.SIZE),
            ("prices", sessions.HEARD),
            ("volume_profile", volume_profile.SIZE - sessions.HEARD),
            ("momentum", momentum.size(bucket_us)),
        ),
        "relative_now": (("relative_volume", relative_volume.HEAD),),
        "relative_days": (("relative_volume", relative_volume.SLOTS * relative_volume.DAYS),),
        "normalization": (
            *((name, normalization.KEPT) for name in NORMALIZED.names),
            *(
                (name, normalization.SCORE)
                for name, scored in zip(NORMALIZED.names, normalization.SCORED, strict=True)
                if scored
            ),
        ),
        DERIVATIVES: (
            ("derivatives", told.SIZE),
            ("open_interest", open_interest.SIZE),
            ("liquidations", liquidations.size(bucket_us)),
        ),
    }


def _context(shape: Shape) -> Layout:
    lead = (("lead", 2 * context.LOGS),) if shape.leads else ()
    neighbour = ("context_rows", context.TOLD), ("neighbours", context.RING)
    return ("context_rows", context.OWN), ("neighbours", context.RING), *shape.neighbours * neighbour, *lead


@cache
def places(layout: Layout, kernel: str) -> npt.NDArray[np.intp]:
    """Return where the doubles of a kernel are in a vector.

    >>> places((("a", 2), ("b", 1), ("a", 1)), "a").tolist()
    [0, 1, 3]
    """
    found: list[int] = []
    at = 0
    for name, size in layout:
        if name == kernel:
            found += range(at, at + size)
        at += size
    return np.array(found, np.intp)

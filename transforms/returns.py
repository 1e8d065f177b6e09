"""Returns and changes of price, and when they are known.

A return is known if its earlier price is recent. Otherwise the first trade after a silence would carry the whole move of the silence,
as if it had happened in a second. How old the earlier price may be follows from what the return is used for:

- in a window w: w (``volatility``);
- over a look-back k: k/10 before t - k (``momentum``);
- of a bar: the bar of the minute before must be there (``amihud``, ``range_volatility``);
- between successive trades: 60 s (``roll``);
- of a mid: 1 s for a trade, 10 s for a second (``mids``, ``kyle``);
- in volume time: no two trades of a bucket may be further apart than a bucket takes on average (``vpin_bvc``).

Nor is a return known if trades may be missing before its earlier or its later price (``holes``).
A window that contains an unknown return is null. A bar or a bucket with one is passed over. The indicators of bars (RSI, EMA, MACD, ATR,
Bollinger) go from bar to bar however far these are apart, as TA-Lib and the charts of exchanges do.
"""

from __future__ import annotations

import math

from transforms.kernel import MINUTE_US, NAN, jit

SUCCESSIVE_US = MINUTE_US
"""How old the trade before may be for a change between successive trades."""


@jit
def log_ratio(new: float, old: float) -> float:
    """Return ``ln(new/old)`` of two positive prices, NaN where the ratio is 0 or infinite.

    >>> round(log_ratio(101.0, 100.0), 6), log_ratio(1e15, 5e-324)
    (0.00995, nan)
    """
    ratio = new / old
    if ratio <= 0.0 or ratio == math.inf:
        return NAN
    return math.log(ratio)

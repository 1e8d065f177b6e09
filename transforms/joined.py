"""States in the format before: one version for all kernels, and vectors as they were in memory, without a head.

What they hold is told here in names and numbers, because it stays as it was when the kernels change. Delete this module when no checkpoint
and no state of a backfill is of that format any more.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from transforms.packing import pack

VERSION = "2.3.6.3.3.2"
"""Of the last states of that format: every kernel in them is of version 1."""

_VECTOR = (
    "imbalance_ratio_n", "imbalance_l1_n", "imbalance_l3_n", "imbalance_l5_n", "imbalance_l10_n", "spread_pct_z", "vpin_n",
    "sentiment_compound_n", "sentiment_positive_n", "sentiment_negative_n", "sentiment_momentum_n", "sentiment_volatility_n",
    "tweet_count_z", "price_momentum_1m_z", "price_momentum_5m_z", "price_momentum_15m_z", "volatility_1m_z", "volatility_5m_z",
    "rsi_14_n", "market_hour_n", "day_of_week_n", "volume_profile_n",
)  # fmt: skip
_OTHERS = (
    "book", "mid", "imbalance", "microprice_table", "book_flow", "trades", "trade_rate", "session", "bucket_volume", "vpin", "kyle",
    "amihud", "trade_volume", "roll", "effective_spread", "realized_spread", "prices", "calendar", "funding", "momentum",
    "volatility", "bars", "ranges", "rsi", "ema", "bollinger", "atr", "volume_profile", "relative_volume", "posts", "sentiment",
)  # fmt: skip
VERSIONS = tuple((name, 1) for name in (*_VECTOR, *_OTHERS))

Layout = tuple[tuple[str, int], ...]


def split(parts: Mapping[str, bytes], bucket_us: int) -> dict[str, tuple[Layout, bytes]]:
    """Return layout and bytes of each part as the format of today has them.

    The order flow had the time of its first trade once; two of its kernels have it for themselves today.
    """
    found: dict[str, tuple[Layout, bytes]] = {"posts": ((("posts", 0),), parts["posts"])}
    for part, layout in _layouts(bucket_us).items():
        state = np.frombuffer(parts[part])
        if part == "order_flow":
            state = np.append(state, [state[1], state[1]])
        found[part] = layout, pack(state)
    return found


def _layouts(bucket_us: int) -> dict[str, Layout]:
    n = 1_000_000 // bucket_us
    return {
        "microstructure": (("book", 102), ("microprice_table", 57), ("book_flow", 2 + 110 * n)),
        "order_flow": (
            *(
                ("trades", 8),
                ("vpin", 1),
                ("trades", 11),
                ("trade_rate", 1),
                ("trades", 3),
                ("session", 4),
                ("vpin", 2),
            ),
            *(("bucket_volume", 29), ("vpin", 227), ("kyle", 605), ("amihud", 125), ("trade_volume", 2 + 1140 * n)),
            *(("roll", 3 + 1200 * n), ("effective_spread", 1 + 120 * n), ("realized_spread", 4101 + 120 * n)),
            *(("trade_volume", 1), ("amihud", 1)),
        ),
        "technical": (
            *(("prices", 4), ("funding", 1), ("prices", 6), ("bars", 5)),
            *(("ranges", 4), ("rsi", 1), ("ema", 6), ("bollinger", 2), ("atr", 2)),
            *(("rsi", 4), ("ema", 8), ("bollinger", 21), ("atr", 3), ("ranges", 63), ("volatility", 908)),
            *(("prices", 3), ("volume_profile", 7211), ("momentum", 2 + 990 * n)),
        ),
        "relative_now": (("relative_volume", 8),),
        "relative_days": (("relative_volume", 8064),),
        "normalization": (
            *((name, 2) for name in _VECTOR),
            *((name, 134) for name in _VECTOR if name.endswith("_z")),
        ),
    }

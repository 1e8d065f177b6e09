"""What is null when a feed falls silent, a book loses levels, crosses or holds a NaN: exactly what the catalogue says, and nothing else.

Four hours and a half of books, trades and posts make every feature warm that does not need days. Each case then does one thing to a copy of
that state, and names all features that are null in the row that follows; every other one must have a value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import nan

import pytest

from transforms.catalog import MICROSTRUCTURE, ORDER_FLOW, SENTIMENT, SOCIAL, TECHNICAL, View
from transforms.engine import Engine
from transforms.instrument import Instrument
from transforms.sentiment.state import Post

S = 1_000_000
MIDNIGHT = 1_700_006_400
WARM = 255 * 60
T = MIDNIGHT + WARM
"""The last second of the history: a book, a trade and a post stand at it."""

Level = tuple[float, float]


def side(step: float, n: int = 20, top: float = 100.0) -> list[Level]:
    """``n`` levels 4 bp apart, so that the book reaches past 50 bp."""
    return [(top + step * (i + 0.5), 1.0 + i) for i in range(n)]


def book(engine: Engine, second: int, n_bid: int = 20, n_ask: int = 20, wobble: float = 0.0) -> int:
    bids, asks = side(-0.04, n_bid, 100 + wobble), side(0.04, n_ask, 100 + wobble)
    engine.book(second * S - S // 2, bids, asks)  # what trades of the whole second are measured against
    return engine.book(second * S, bids, asks)


def trade(engine: Engine, second: int) -> None:
    # bounces by more than the mid moves; odd seconds buy, and the mid follows what is bought
    bought = second % 2 == 1 or second % 7 == 0
    engine.trade(second * S, 100.02 if bought else 99.98, 1.0 + second % 3, 1 if bought else -1)


def post(engine: Engine, second: int) -> None:
    lean = 0.3 + 0.4 * (second % 11) / 11
    engine.post(
        second * S,
        Post(f"p{second}", f"a{second % 5}", second * 0x9E3779B97F4A7C15 % 2**64, lean, 0.9 - lean, 0.1, 3, 1, 1, 10),
    )


@cache
def warm_parts() -> dict[str, bytes]:
    engine = Engine(Instrument(vpin_bucket=20.0, funding_hours=8), S)
    for second in range(MIDNIGHT + 1, T + 1):
        if second > T - 400:
            book(engine, second, wobble=0.001 * (second % 5))
        trade(engine, second)
        if second % 30 == 0 and second > T - 4000:
            post(engine, second)
        if second % 60 == 0 or second > T - 2:
            engine.emit(second * S)
    return engine.save()


@pytest.fixture
def engine() -> Engine:
    warm = Engine(Instrument(vpin_bucket=20.0, funding_hours=8), S)
    warm.restore(warm_parts())
    return warm


def nulls(engine: Engine, second: int) -> dict[str, set[str]]:
    """Null features of each view that gives a row at ``second``."""
    return {
        view.name: {name for name, value in zip(view.names, values, strict=True) if value != value}
        for view, values in engine.emit(second * S)
    }


def names(view: View, *but: str) -> set[str]:
    return {name for name in view.names if name not in but}


DAYS = {
    "microstructure": {"microprice"},
    "order_flow": set(),
    "technical": {"relative_volume"},
    "sentiment": set(),
    "social": {"social_volume_z"},
}
"""Null in all cases: a table that nobody fitted, and what needs days."""


def keep_books(engine: Engine, until: int) -> None:
    for second in range(T + 1, until + 1):
        book(engine, second)


def keep_trades(engine: Engine, until: int) -> None:
    for second in range(T + 1, until + 1):
        trade(engine, second)


def books_after_a_gap(engine: Engine, gap: int, until: int) -> None:
    engine.lose_book(gap * S)
    for second in range(T + 1, until + 1):
        engine.book(second * S, side(-0.04), side(0.04))


BOOKLESS = names(MICROSTRUCTURE, "book_valid")
FLOW = {"ofi_1s", "ofi_10s", "ofi_60s", *(f"mlofi_l{k}" for k in range(1, 6))}
DEPTHS = {f"depth_{s}_{x}bps" for s in ("bid", "ask") for x in (10, 25, 50)}

Case = tuple[Callable[[Engine], object], int, dict[str, set[str] | None]]
"""What happens after the history, seconds until the row, and the nulls besides ``DAYS``; None where a view gives no row."""

RANGES = {"parkinson_15m", "garman_klass_15m", "rogers_satchell_15m", "yang_zhang_15m"}
MIDLESS = {"effective_spread_bps_1m", "realized_spread_bps_5s"}
OF_AN_HOUR = {"sentiment_compound_1h", "sentiment_engagement_1h", "bullishness_1h"}
OF_FIVE_MINUTES = names(SENTIMENT, "tweet_count", "sentiment_ew_15m", *OF_AN_HOUR)
UNTRADED = {"order_flow": None, "technical": None}

CASES: dict[str, Case] = {
    "nothing happens": (lambda e: None, 0, {}),
    "the books are silent for their ttl": (lambda e: keep_trades(e, T + 10), 10, {}),
    "the books are silent for longer": (lambda e: keep_trades(e, T + 11), 11, {"microstructure": None}),
    "the books are silent for a minute": (
        lambda e: keep_trades(e, T + 66), 66, {"microstructure": None, "order_flow": MIDLESS},
    ),
    "the books and the posts are silent for five minutes": (
        lambda e: keep_trades(e, T + 311), 311,
        {"microstructure": None, "order_flow": MIDLESS | {"kyle_lambda_5m"}, "sentiment": OF_FIVE_MINUTES},
    ),
    "one side keeps nine levels": (
        lambda e: book(e, T + 1, 20, 9), 1, {"microstructure": {"imbalance_l10", "depth_ask_50bps"}},
    ),
    "one side keeps four levels": (
        lambda e: book(e, T + 1, 4, 20), 1,
        {"microstructure": {"imbalance_l5", "imbalance_l10", "mlofi_l5", "depth_bid_25bps", "depth_bid_50bps"}},
    ),
    "both sides keep two levels": (
        lambda e: book(e, T + 1, 2, 2), 1,
        {"microstructure": {"imbalance_l3", "imbalance_l5", "imbalance_l10", "mlofi_l3", "mlofi_l4", "mlofi_l5",
                            "book_slope_bid", "book_slope_ask"} | DEPTHS},
    ),
    "both sides keep one level": (
        lambda e: book(e, T + 1, 1, 1), 1,
        {"microstructure": {"imbalance_l3", "imbalance_l5", "imbalance_l10", "mlofi_l2", "mlofi_l3", "mlofi_l4", "mlofi_l5",
                            "book_slope_bid", "book_slope_ask"} | DEPTHS},
    ),
    "the asks are empty": (lambda e: book(e, T + 1, 20, 0), 1, {"microstructure": BOOKLESS}),
    "the bids are empty": (lambda e: book(e, T + 1, 0, 20), 1, {"microstructure": BOOKLESS}),
    "the book crosses": (
        lambda e: e.book((T + 1) * S, side(-0.04, top=101.0), side(0.04)), 1, {"microstructure": BOOKLESS},
    ),
    "the book locks": (
        lambda e: e.book((T + 1) * S, [(100.0, 1.0)], [(100.0, 1.0)]), 1, {"microstructure": BOOKLESS},
    ),
    "a price is NaN": (lambda e: e.book((T + 1) * S, [(nan, 1.0)], side(0.04)), 1, {"microstructure": BOOKLESS}),
    "a deep size is NaN": (
        lambda e: e.book((T + 1) * S, [*side(-0.04, 15), (1.0, nan)], side(0.04)), 1, {"microstructure": BOOKLESS},
    ),
    "the feed has a gap": (
        lambda e: e.lose_book((T + 1) * S), 1, {"microstructure": BOOKLESS, "order_flow": MIDLESS | {"kyle_lambda_5m"}},
    ),
    "a good book follows a gap": (
        lambda e: books_after_a_gap(e, T + 1, T + 1), 1,
        {"microstructure": FLOW | {"quote_rate_10s"}, "order_flow": MIDLESS | {"kyle_lambda_5m"}},
    ),
    "eleven seconds of books follow a gap": (
        lambda e: books_after_a_gap(e, T, T + 11), 11,
        {"microstructure": {"ofi_60s"}, "order_flow": MIDLESS | {"kyle_lambda_5m"}},
    ),
    "the trades are silent for their ttl": (
        lambda e: keep_books(e, T + 60), 60,
        {"order_flow": {"trade_flow_imbalance_1m", "avg_trade_size_1m", "side_inferred_share_1m", "vwap_1m", "effective_spread_bps_1m"},
         "technical": RANGES | {"volatility_1m"}},
    ),
    "the trades are silent for longer": (
        lambda e: keep_books(e, T + 61), 61, {"order_flow": None, "technical": RANGES | {"volatility_1m"}},
    ),
    "the trades and the posts are silent for five minutes": (
        lambda e: keep_books(e, T + 300), 300,
        {"order_flow": None, "technical": RANGES | {"price_momentum_1m", "volatility_1m", "volatility_5m"}, "sentiment": OF_FIVE_MINUTES},
    ),
    "the trades are silent for longer than that": (
        lambda e: keep_books(e, T + 301), 301, {**UNTRADED, "sentiment": OF_FIVE_MINUTES},
    ),
    "the posts are silent for an hour": (
        lambda e: keep_books(e, T + 3600), 3600,
        {**UNTRADED, "sentiment": OF_FIVE_MINUTES | OF_AN_HOUR, "social": {"author_ratio_1h", "duplicate_share_1h"}},
    ),
    "the posts are silent for longer": (
        lambda e: keep_books(e, T + 3601), 3601, {**UNTRADED, "sentiment": None, "social": None},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_exactly_what_the_catalogue_says_is_null(engine: Engine, case: str) -> None:
    happen, seconds, expected = CASES[case]
    happen(engine)
    seen = nulls(engine, T + seconds)
    for view in (MICROSTRUCTURE, ORDER_FLOW, TECHNICAL, SENTIMENT, SOCIAL):
        more = expected.get(view.name, set())
        assert seen.get(view.name) == (None if more is None else DAYS[view.name] | more), view.name


def test_before_any_event_there_is_no_row() -> None:
    assert Engine(Instrument(), S).emit(T * S) == []

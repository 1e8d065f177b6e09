"""The one list of features: what a feature is, its unit, formula, range, null rule and source.

The module that computes a feature says only what goes beyond its entry here. Feast's fields, the TimescaleDB tables, the validator,
the normaliser and ``docs/features.md`` are derived from ``VIEWS``. To add a feature, add one entry here and one function in the view's
package.

A range is closed and holds for every value that is not null; ``validation`` makes a value outside null. A null rule says when a value
is missing: NaN inside a row, null outside the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

Dtype = Literal["Float64", "Int64"]
Feed = Literal["book", "trade", "post", "derivatives", "neighbour", "derived"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature. Readers rely on its name, which therefore never changes."""

    name: str
    unit: str
    low: float
    high: float
    formula: str
    null_when: str = ""
    source: str = ""
    dtype: Dtype = "Float64"


@dataclass(frozen=True, slots=True)
class View:
    """Features that come from one feed and are written as one row for each symbol and grid time.

    ``ttl_s`` says for how long a value may be served, and for how long after its last event a feed still gives rows. A derived view has
    no feed of its own: it is computed from the rows of the others.
    """

    name: str
    feed: Feed
    ttl_s: int
    description: str
    features: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in the order of a row."""
        return tuple(f.name for f in self.features)

    @property
    def index(self) -> dict[str, int]:
        """Slot of each feature in a row."""
        return {f.name: i for i, f in enumerate(self.features)}

    def slots(self, *names: str) -> tuple[int, ...]:
        """Return the slots of the named features, for the kernels that write them."""
        return tuple(map(self.index.__getitem__, names))


def _count(name: str, unit: str, low: float, high: float, formula: str, null_when: str = "", source: str = "") -> Feature:
    return Feature(name, unit, low, high, formula, null_when, source, "Int64")


_LEVELS = "a side has fewer levels, or no valid book"
_DEPTH = "the known book does not reach that far, or no valid book"
_FLOW = "of Q_b 1{P_b >= P_b'} - Q_b' 1{P_b <= P_b'} - Q_a 1{P_a <= P_a'} + Q_a' 1{P_a >= P_a'}"  # primes: the book before
_SINCE = "the start, a gap or an invalid book"
_BOOK = "no valid book"
_COVER = "the window began before the first trade, or holds a hole"
_BARS = "fewer than 250 one-minute bars"
_RANGES = "one of the last 15 minutes has no bar (one with a hole has none)"
_SESSION = "the session was not heard from its beginning (no trade in its first 5 minutes, nor in the day before it), or has a hole"
_TRADES = f"fewer than 100 trades, or {_SESSION}"
_HOLE = "a hole in the window"
_POSTS = "no scored post in the window"
_NO_FUNDING = "the instrument has no funding that is known"
_MARK = "no mark price was told in the last 60 s"
_INDEX = "no index price was told in the last 60 s"
_INTEREST = "no open interest was told in the last 60 s"
_LIQUIDATIONS = "liquidations are not heard since the beginning of the window: from the first one on, or from the end of the last gap of theirs"

MICROSTRUCTURE = View("microstructure", "book", 10, "State and recent flow of the limit order book.", (
        Feature("mid_price", "quote", 0, inf, "m = (P_b1 + P_a1)/2", _BOOK),
        Feature("spread", "quote", 0, inf, "P_a1 - P_b1", _BOOK),
        Feature("spread_pct", "%", 0, 200, "spread/m*100", _BOOK),
        *(Feature(f"imbalance_l{k}", "share", -1, 1, f"(sum Q_b - sum Q_a)/(sum Q_b + sum Q_a) over the best {k}", _LEVELS, "Gould and Bonart 2016") for k in (1, 3, 5, 10)),
        Feature("imbalance_ratio", "share", -1, 1, "(bid_volume - ask_volume)/(bid_volume + ask_volume)", _BOOK, "Gould and Bonart 2016"),
        Feature("bid_volume", "base", 0, inf, "sum Q_b over the levels used, 20 at most", _BOOK),
        Feature("ask_volume", "base", 0, inf, "sum Q_a over the levels used, 20 at most", _BOOK),
        Feature("weighted_mid", "quote", 0, inf, "(P_b1 Q_a1 + P_a1 Q_b1)/(Q_b1 + Q_a1)", _BOOK, "Gatheral and Oomen 2010"),
        Feature("weighted_mid_dev_bps", "bps", -1e4, 1e4, "(weighted_mid - m)/m*1e4", _BOOK, "Gatheral and Oomen 2010"),
        Feature("microprice", "quote", 0, inf, "m + g(imbalance bin, spread bin)", "no table fitted before t, a bin that it never saw, or no valid book", "Stoikov 2018"),
        *(Feature(f"depth_{side}_{x}bps", "quote", 0, inf, f"sum P*Q within {x} bps of m over the whole known book: the depth that the message carries, or else all its levels", _DEPTH) for x in (10, 25, 50) for side in ("bid", "ask")),
        *(Feature(f"book_slope_{side}", "base per unit relative distance", -inf, inf, "least-squares slope of cumulative size on relative distance from m, 10 levels", "fewer than 3 levels on the side, or no valid book", "Naes and Skjeltorp 2006") for side in ("bid", "ask")),
        *(Feature(f"ofi_{w}s", "base", -inf, inf, f"sum over (t - {w} s, t] {_FLOW}", f"fewer than two books, or less than {w} s, since {_SINCE}", "Cont, Kukanov, Stoikov 2014") for w in (1, 10, 60)),
        *(Feature(f"mlofi_l{k}", "base", -inf, inf, f"order flow imbalance of 10 s at price level {k}", f"fewer than two books, or less than 10 s, since {_SINCE}, or a book with fewer than {k} levels on a side", "Xu, Gould, Howison 2018") for k in (1, 2, 3, 4, 5)),
        Feature("quote_rate_10s", "1/s", 0, inf, "good books in (t - 10 s, t] over 10 s", f"less than 10 s since {_SINCE}"),
        _count("book_valid", "flag", 0, 1, "1, or 0 after a gap or a crossed book until the next good book", "no book event yet"),
    ),
)

ORDER_FLOW = View("order_flow", "trade", 60, "Signed trade flow, toxicity, price impact and trading costs.", (
        Feature("buy_volume_1m", "base", 0, inf, "sum of q of buyers' trades", _COVER),
        Feature("sell_volume_1m", "base", 0, inf, "sum of q of sellers' trades", _COVER),
        *(Feature(f"delta_volume_{w}", "base", -inf, inf, "sum s*q", _COVER) for w in ("1s", "1m", "5m")),
        Feature("cvd", "base", -inf, inf, "sum s*q since the session began: 00:00 UTC, or the instrument's own opening", _SESSION),
        *(Feature(f"trade_flow_imbalance_{w}", "share", -1, 1, "sum s*q / sum q", f"no volume, or {_COVER}") for w in ("1m", "5m")),
        _count("trade_count_1m", "trades", 0, inf, "trades in one minute", _COVER),
        Feature("trade_rate_10s", "1/s", 0, inf, "exponentially decayed rate: each trade adds 1/10 s, decay exp(-dt/10 s)", "less than 10 min since a hole"),
        Feature("avg_trade_size_1m", "base", 0, inf, "sum q / trades", f"no trade, or {_COVER}"),
        Feature("side_inferred_share_1m", "share", 0, 1, "trades whose side was inferred / trades", f"no trade, or {_COVER}", "Lee and Ready 1991"),
        Feature("vpin", "share", 0, 1, "sum |buy - sell| / sum V over the last 50 closed buckets, 50 V while V does not change; a trade is split at a bucket's edge; where V comes from the previous days, the open bucket is dropped when a session begins", "fewer than 50 closed buckets (a hole empties them, and none closes until the next session begins, or with a configured V until one begins at least a day later), or V unknown: neither configured nor a day before that was heard from its first 5 minutes on without a hole", "Easley, Lopez de Prado, O'Hara 2012"),
        Feature("vpin_bvc", "share", 0, 1, "vpin with bulk classification: V*Phi(dP/sigma) counts as bought, sigma from earlier buckets only; a bucket with 1/50 of a day between two trades is passed over", "fewer than 70 closed buckets, or V unknown, as for vpin", "Easley, Lopez de Prado, O'Hara 2012; Andersen and Bondarenko 2013 dispute it"),
        Feature("kyle_lambda_5m", "quote per base", -inf, inf, "sum(dm*x)/sum(x^2) over the last 300 whole seconds, x a second's signed volume, dm the change of the mid over it", "fewer than 30 seconds with trades and both mids known (of a valid book, at most 10 s old), or their signed volumes all 0, or a hole or a lost book in the window", "Kyle 1985"),
        Feature("amihud_60m", "1e-6 per quote", 0, inf, "1e6*mean of |r|/dollar volume over one-minute bars, r from the last price of the minute before", f"no bar with volume and a trade in the minute before, or {_COVER}, or the minute before it does", "Amihud 2002"),
        Feature("roll_spread_5m", "quote", 0, inf, "2*sqrt(-cov(dp_t, dp_t-1)) of the trades seen in 5 min", "the covariance is not negative, fewer than three trades seen by then, or a change in it over more than 60 s without a trade or over a hole, or a hole in the window", "Roll 1984"),
        Feature("effective_spread_bps_1m", "bps", -2e4, 2e4, "volume-weighted 1e4*2 s (p - m_before)/m_before over the trades seen in 1 min, m_before the last mid strictly before the trade, under 1 s old", f"no classified trade with such a mid in the minute, or {_HOLE}, or the book was lost in it", "Huang and Stoll 1996"),
        Feature("realized_spread_bps_5s", "bps", -2e4, 2e4, "volume-weighted 1e4*2 s (p - m_{t+5s})/m_before over the trades whose 5 s ended in 1 min: known, and stamped, at t + 5 s", "no classified trade with both mids among them, or a trade was given up because more than 1,024 timestamps waited, or a hole in their minute, or a lost book in these 65 s", "Huang and Stoll 1996"),
        Feature("vwap_1m", "quote", 0, inf, "sum pq / sum q", f"no volume, or {_COVER}"),
        Feature("vwap_5m", "quote", 0, inf, "sum pq / sum q", f"no volume, or {_COVER}"),
        Feature("vwap_session", "quote", 0, inf, "sum pq / sum q since the session began", f"no volume, or {_SESSION}"),
        Feature("vwap_dev_bps", "bps", -1e4, inf, "1e4*(p - vwap_session)/vwap_session", f"no volume, or {_SESSION}"),
        _count("session_complete", "flag", 0, 1, "1 if the session was heard from its beginning, or from its first 5 minutes on, without a hole so far, else 0"),
        _count("trade_valid", "flag", 0, 1, "1, or 0 while a window of this view holds a hole in the trades: 60 minutes, the session, 70 buckets of vpin_bvc (where V was known at the hole)"),
    ),
)

TECHNICAL = View("technical", "trade", 300, "Momentum, volatility, indicators of one-minute bars, volume profile and calendar.", (
        *(Feature(f"price_momentum_{k}m", "log return", -inf, inf, f"ln of the price over that of {k} min before", f"no trade in the {6 * k} s up to {k} min before, or a hole after the last trade of either moment") for k in (1, 5, 15)),
        *(Feature(f"volatility_{k}m", "log return", 0, inf, "sqrt(sum r^2) of one-second log returns", "less than 95 % of the window since the first trade, no trade in it, or a trade in it after a silence longer than the window, or a hole, or its first trade after one", "Andersen and Bollerslev 1998") for k in (1, 5, 15)),
        Feature("parkinson_15m", "log return", 0, inf, "sqrt(sum ln(h/l)^2 / (4 n ln 2))", _RANGES, "Parkinson 1980"),
        Feature("garman_klass_15m", "log return", 0, inf, "sqrt(mean of ln(h/l)^2/2 - (2 ln 2 - 1) ln(c/o)^2)", _RANGES, "Garman and Klass 1980"),
        Feature("rogers_satchell_15m", "log return", 0, inf, "sqrt(mean of ln(h/c) ln(h/o) + ln(l/c) ln(l/o))", _RANGES, "Rogers and Satchell 1991"),
        Feature("yang_zhang_15m", "log return", 0, inf, "sqrt(var overnight + k var open-close + (1 - k) rogers_satchell^2)", "one of the last 16 minutes has no bar (one with a hole has none)", "Yang and Zhang 2000"),
        Feature("rsi_14", "index", 0, 100, "100 g/(g + l), Wilder's smoothing of one-minute closes", f"{_BARS}, or a flat market", "Wilder 1978; TA-Lib RSI"),
        Feature("ema_12", "quote", 0, inf, "seed SMA(12), then v += 2/13*(x - v)", _BARS, "TA-Lib EMA"),
        Feature("ema_26", "quote", 0, inf, "seed SMA(26), then v += 2/27*(x - v)", _BARS, "TA-Lib EMA"),
        Feature("ema_dev_bps", "bps", -1e4, inf, "1e4*(p - ema_26)/ema_26", f"{_BARS}, or a hole after the last trade"),
        Feature("macd", "quote", -inf, inf, "EMA(12) - EMA(26)", _BARS, "TA-Lib MACD"),
        Feature("macd_signal", "quote", -inf, inf, "EMA(9) of macd", _BARS, "TA-Lib MACD"),
        Feature("macd_hist", "quote", -inf, inf, "macd - macd_signal", _BARS, "TA-Lib MACD"),
        Feature("bollinger_pctb", "share", -inf, inf, "(c - lower)/(upper - lower), 20 bars, 2 population deviations", "fewer than 20 bars, or as many since a hole, or a flat market", "TA-Lib BBANDS"),
        Feature("bollinger_width", "share", 0, inf, "(upper - lower)/middle", "fewer than 20 bars, or as many since a hole", "TA-Lib BBANDS"),
        Feature("atr_14", "quote", 0, inf, "Wilder's average true range", _BARS, "TA-Lib ATR"),
        Feature("natr_14", "%", 0, inf, "100*atr_14/close", _BARS, "TA-Lib NATR"),
        Feature("poc", "quote", 0, inf, "the price row with the session's most volume; prints more than 10 % from all others are in no row, unless ten confirm each other", _TRADES, "Steidlmayer"),
        Feature("value_area_low", "quote", 0, inf, "lower edge of the area with 70 % of the volume, grown from poc by the two rows above or the two below, whichever hold more", _TRADES, "Steidlmayer"),
        Feature("value_area_high", "quote", 0, inf, "upper edge of the same area", _TRADES, "Steidlmayer"),
        Feature("poc_dev_bps", "bps", -1e4, inf, "1e4*(p - poc)/poc", _TRADES),
        Feature("volume_profile", "share", 0, 1, "share of the session's volume traded at or below the last price", _TRADES),
        Feature("relative_volume", "ratio", 0, inf, "volume of the newest whole 5-minute slot over the median of the same slot of up to 28 previous days, a slot with a hole left out", "fewer than 7 of these days have volume in the slot, or the slot itself has none or a hole"),
        _count("market_hour", "hour", 0, 23, "UTC hour of event time"),
        _count("day_of_week", "day", 0, 6, "UTC weekday of event time, Monday 0"),
        Feature("hour_sin", "", -1, 1, "sin(2 pi (hour + minute/60)/24)"),
        Feature("hour_cos", "", -1, 1, "cos(2 pi (hour + minute/60)/24)"),
        Feature("weekday_sin", "", -1, 1, "sin(2 pi day_of_week/7)"),
        Feature("weekday_cos", "", -1, 1, "cos(2 pi day_of_week/7)"),
        Feature("is_weekend", "flag", 0, 1, "1 on Saturday and Sunday, UTC"),
        Feature("minutes_to_funding", "min", 0, 1440, "minutes to the next settlement of funding: the venue's own time where a message carried one that lies ahead by a day at most, else the next of every `funding_hours` of the instrument from 00:00 UTC on (8 where its name tells a perpetual)", _NO_FUNDING),
        _count("trade_valid_bars", "flag", 0, 1, "1, or 0 while a window of this view holds a hole in the trades (the session too) and until 250 bars after it: by then the indicators that go from bar to bar have forgotten the bars that are missing"),
    ),
)

SENTIMENT = View("sentiment", "post", 3600, "What scored posts say: s = P(positive) - P(negative), c = largest probability; a post counts from when its score was available. All features but tweet_count leave out near-duplicates (64-bit simhash, distance at most 3) of an earlier scored post of their window.", (
        Feature("sentiment_compound", "score", -1, 1, "mean of s, 5 min", _POSTS),
        Feature("sentiment_positive", "probability", 0, 1, "mean of P(positive), 5 min", _POSTS),
        Feature("sentiment_negative", "probability", 0, 1, "mean of P(negative), 5 min", _POSTS),
        Feature("sentiment_neutral", "probability", 0, 1, "mean of P(neutral), 5 min", _POSTS),
        Feature("sentiment_confidence", "probability", 0, 1, "mean of c, 5 min", _POSTS),
        Feature("sentiment_volatility", "score", 0, 1, "population standard deviation of s, 5 min", "fewer than two scored posts without near-duplicates"),
        Feature("sentiment_momentum", "score", -2, 2, "mean of s in the newer half of the 5 minutes - in the older half", "either half is empty"),
        _count("tweet_count", "posts", 0, inf, "posts scored in 5 min, with near-duplicates"),
        Feature("sentiment_compound_1h", "score", -1, 1, "mean of s, 1 h", _POSTS),
        Feature("sentiment_ew_15m", "score", -1, 1, "mean of s weighted by c*2^(-age/15 min), without near-duplicates within 1 h", "no scored post yet"),
        Feature("sentiment_engagement_1h", "score", -1, 1, "mean of s weighted by c*ln(1 + likes + 2 reposts + replies) as observed by t, 1 h", "no weight in the window"),
        Feature("bullishness_1h", "log ratio", -inf, inf, "ln((1 + positives)/(1 + negatives)), 1 h", _POSTS, "Antweiler and Frank 2004"),
    ),
)

SOCIAL = View("social", "post", 3600, "How much is posted, by how many authors, and how much of it is repeated.", (
        _count("social_volume_5m", "posts", 0, inf, "posts in 5 min"),
        _count("social_volume_1h", "posts", 0, inf, "posts in 1 h"),
        Feature("social_velocity", "posts/min", 0, inf, "posts a minute, 5 min"),
        Feature("social_acceleration", "posts/min", -inf, inf, "social_velocity - that of the 5 minutes before"),
        Feature("social_volume_z", "deviations", -inf, inf, "z of ln(1 + posts) of the last complete hour against the same hour of the week before, up to 28 days back", "fewer than two such hours since the first post (so in the first 14 days), or equally many posts in all of them"),
        _count("unique_authors_1h", "authors", 0, inf, "distinct authors, 1 h"),
        Feature("author_ratio_1h", "share", 0, 1, "distinct authors / posts that name one, 1 h", "no post that names an author"),
        Feature("duplicate_share_1h", "share", 0, 1, "near-duplicates (64-bit simhash, distance at most 3) / posts, 1 h", "no post in the window"),
    ),
)

DERIVATIVES = View("derivatives", "derivatives", 60, "Funding, basis, open interest and liquidations of perpetuals and futures; a symbol of which none of these is heard has no row.", (
        Feature("basis_bps", "bps", -1e4, inf, "1e4*(mark - index)/index", f"{_MARK}, or {_INDEX}"),
        Feature("last_basis_bps", "bps", -1e4, inf, "1e4*(p - index)/index, p the price of the last trade", f"{_INDEX}, no trade came in as long, or one may be missing since the last"),
        Feature("funding_rate", "share", -1, 1, "the rate that the venue told last: what longs pay to shorts at the next settlement", "no rate was told in the last 5 min, or the settlement that it was told for has passed"),
        Feature("funding_annualised", "share per year", -8760, 8760, "funding_rate*8760/h, h the `funding_hours` of the instrument", f"funding_rate is null, or {_NO_FUNDING}"),
        Feature("minutes_to_funding", "min", 0, 1440, "that of `technical`, at the same time", _NO_FUNDING),
        Feature("open_interest", "base", 0, inf, "n c of n contracts of the size c, n c/mark of inverse ones", f"{_INTEREST}, or, of inverse contracts, {_MARK}"),
        Feature("oi_value", "quote", 0, inf, "n c*mark of n contracts of the size c, n c of inverse ones", f"{_INTEREST}, or, unless contracts are inverse, {_MARK}"),
        *(Feature(f"oi_change_{w}", "log return", -inf, inf, f"ln of the contracts over those {text} before", f"no open interest was told in the last 60 s, or in the 60 s up to {text} before; or it was 0") for w, text in (("5m", "5 min"), ("1h", "1 h"))),
        Feature("liquidation_buy_1m", "quote", 0, inf, "sum of the value of forced buys, which close shorts, 1 min", _LIQUIDATIONS),
        Feature("liquidation_sell_1m", "quote", 0, inf, "sum of the value of forced sells, which close longs, 1 min", _LIQUIDATIONS),
        Feature("liquidation_imbalance_5m", "share", -1, 1, "(forced buys - forced sells)/(their sum), by value, 5 min", f"no liquidation in the window, or {_LIQUIDATIONS}"),
    ),
)

SIGNAL_V1: tuple[View, ...] = (MICROSTRUCTURE, ORDER_FLOW, TECHNICAL, SENTIMENT, SOCIAL)
"""The views of the service ``signal_v1``."""

RAW_VIEWS: tuple[View, ...] = (*SIGNAL_V1, DERIVATIVES)
"""The views computed from messages."""

FEATURE_VECTOR_V1: tuple[str, ...] = (
    "imbalance_ratio", "imbalance_l1", "imbalance_l3", "imbalance_l5", "imbalance_l10", "spread_pct", "vpin",
    "sentiment_compound", "sentiment_positive", "sentiment_negative", "sentiment_momentum", "sentiment_volatility", "tweet_count",
    "price_momentum_1m", "price_momentum_5m", "price_momentum_15m", "volatility_1m", "volatility_5m", "rsi_14",
    "market_hour", "day_of_week", "volume_profile",
)  # fmt: skip
"""The vector of the signal service, in its order."""

RESCALED: dict[str, tuple[float, float]] = {
    "imbalance_ratio": (0, 1), "imbalance_l1": (0, 1), "imbalance_l3": (0, 1), "imbalance_l5": (0, 1), "imbalance_l10": (0, 1), "vpin": (0, 1),
    "sentiment_compound": (0, 1), "sentiment_positive": (0, 1), "sentiment_negative": (0, 1), "sentiment_momentum": (0, 2), "sentiment_volatility": (0, 1),
    "rsi_14": (50, 50), "market_hour": (11.5, 11.5), "day_of_week": (3, 3), "volume_profile": (0, 1),
}
"""Centre c and scale s of the vector's bounded features: normalised they are ``<feature>_n`` = (x - c)/s.

The others of the vector are unbounded: normalised they are ``<feature>_z``. ``spread_pct`` is one of them, because a market uses only a
small part of its range.
"""


def _normalized(name: str) -> Feature:
    raw = next(f for view in RAW_VIEWS for f in view.features if f.name == name)
    if name not in RESCALED:
        return Feature(f"{name}_z", "deviations", -3, 3,
            f"({name} - mean)/deviation of its earlier values, a value that stays counted once, exponentially weighted, half-life 1 h, of the last 24 to 25 hours, clipped to [-3, 3]",
            f"{name} is null, or fewer than 300 earlier values (counted from 0 again after 4 h without one), or all of them equal",
        )
    centre, scale = RESCALED[name]
    low, high = (raw.low - centre) / scale, (raw.high - centre) / scale
    shifted = f"({name} - {centre:g})" if centre else name
    return Feature(f"{name}_n", "", low, high, f"{shifted}/{scale:g}" if scale != 1 else shifted, f"{name} is null")


NORMALIZED = View("normalized", "derived", 60,
    "feature_vector_v1, normalised: a row at each whole second of the grid at which another view gives one; a view that gives none then "
    "counts with its newest row within its ttl.",
    tuple(map(_normalized, FEATURE_VECTOR_V1)),
)

_AGE = "its newest row up to t is more than 2 s old"
_LEADER = f"the leader's book was not valid in its newest row up to t, or {_AGE}"
_READY = "fewer than 300 seconds with both changes"

CONTEXT = View("context", "neighbour", 10,
    "What a symbol's row knows of other symbols: rows that its `leader`, its `pair` and the venues of its `asset` (all in the instruments file) finished "
    "at whole seconds up to t, and that stand in the symbol's own log before it. A symbol without neighbours gives no row.", (
        *(Feature(f"return_leader_{w}s", "log return", -inf, inf, f"ln(m_u/m_(u - {w} s)) of the leader, u the second of its newest row up to t", f"{_LEADER}, or its mid {w} s before was not known") for w in (1, 10, 60)),
        Feature("beta_60m", "ratio", -inf, inf, "cov(dl, dy)/var(dl) of the one-second log returns of the mids, l the leader, y the symbol, over the seconds of (t - 60 min, t] in which both are known", f"{_READY}, or the leader did not move, or {_LEADER}"),
        Feature("correlation_60m", "share", -1, 1, "cov(dl, dy)/sqrt(var(dl) var(dy)) over the same seconds", f"{_READY}, or one of them did not move, or {_LEADER}"),
        Feature("relative_strength_60m", "log return", -inf, inf, "log return of the symbol's mid over 60 min - that of the leader's, both up to u", f"{_LEADER}, or one of the four mids was not known"),
        Feature("pair_basis_bps", "bps", -1e4, inf, "1e4*(m - m_pair)/m_pair, m_pair of the pair's newest row up to t", f"no valid book of one of both, or {_AGE}"),
        Feature("cross_venue_mid_dev_bps", "bps", -1e4, inf, "1e4*(m - mean)/mean, the mean of the mids of the asset's other venues", f"no valid book here or at all others, or {_AGE} at all others"),
        Feature("consolidated_imbalance", "share", -1, 1, "(sum Q_b1 - sum Q_a1)/(sum Q_b1 + sum Q_a1) over the asset's venues, this one too, base units", f"no valid book here or at all others, or {_AGE} at all others"),
    ),
)

VIEWS: tuple[View, ...] = (*RAW_VIEWS, NORMALIZED, CONTEXT)
VIEW: dict[str, View] = {v.name: v for v in VIEWS}


def view_of(feature: str) -> View:
    """Return the first view that declares ``feature``; only ``minutes_to_funding`` is in two. Raise ``KeyError`` if none does."""
    for view in VIEWS:
        if feature in view.names:
            return view
    raise KeyError(f"no feature {feature!r} in the catalogue")

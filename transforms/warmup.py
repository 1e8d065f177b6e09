"""The stated warm-up of each feature: how much history it needs until its value no longer depends on where the history began.

There are three kinds. A windowed feature is exact once its window has passed; a z-score is one, as it forgets what is older than 24
whole hours. A recursive one forgets its start only gradually: after its warm-up at most 1e-6 of its size is left. A session feature
counts from the beginning of a session, so two histories agree in the sessions that both heard from the beginning.
A hole in the trades before the start of one history makes values of the other null for as long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from transforms.catalog import CONTEXT, MICROSTRUCTURE, ORDER_FLOW, SENTIMENT, SOCIAL, TECHNICAL, VIEWS

MINUTE, HOUR, DAY = 60, 3600, 86_400
FADED = 1e-6


@dataclass(frozen=True, slots=True)
class WarmUp:
    """A stated warm-up: ``seconds`` of history from the first event of the view's feed, and ``bars`` of one minute.

    For order flow the first event is one of both trades and books, and if trades have no side the first change of the price, because
    the tick rule looks back to it; for liquidations it is the first of them. A minute without a trade makes no bar.

    Attributes
    ----------
    events : int
        Which event ``seconds`` counts from: 2 for a sum of changes, since the first event has no change.
    session : bool
        Whether the feature counts from the beginning of a session: the warm-up then begins with the first one after the start.
    recursive : bool
        Whether values agree within ``FADED`` of the feature's largest value; else bit for bit.
    """

    seconds: int = 0
    events: int = 1
    bars: int = 0
    session: bool = False
    recursive: bool = False

    def __str__(self) -> str:
        parts = [f"{self.bars} bars"] if self.bars else []
        if self.seconds or not parts:
            parts.append(f"{self.seconds} s" + (f" after {self.events} events" if self.events > 1 else ""))
        if self.session:
            parts.append("from the beginning of a session")
        return ", ".join(parts) + (f", within {FADED:g}" if self.recursive else ", exact")


def _window(seconds: int, *names: str, events: int = 1) -> dict[str, WarmUp]:
    return dict.fromkeys(names, WarmUp(seconds, events))


_Z_WINDOW = 25 * HOUR + 1
"""A z-score is made of the open hour and the 24 before it; the first second may hold a value that was there before."""
_SESSION = WarmUp(session=True)
_WILDER = WarmUp(bars=251, recursive=True)
_BUCKET = 1
"""A window of one-second buckets may begin up to a second after its first event."""

AGE = 3
"""How old a neighbour's row may be, and a second."""

_STATED: dict[str, WarmUp] = {
    **_window(0, *MICROSTRUCTURE.names),
    **_window(1 + _BUCKET, "ofi_1s", events=2),
    **_window(10 + _BUCKET, "ofi_10s", *(f"mlofi_l{k}" for k in range(1, 6)), events=2),
    **_window(10 + _BUCKET, "quote_rate_10s"),
    **_window(60 + _BUCKET, "ofi_60s", events=2),
    **_window(MINUTE + _BUCKET, *(n for n in ORDER_FLOW.names if n.endswith("_1m"))),
    **_window(1 + _BUCKET, "delta_volume_1s"),
    **_window(5 * MINUTE + _BUCKET, *(n for n in ORDER_FLOW.names if n.endswith("_5m"))),
    **_window(5 * MINUTE + _BUCKET, "roll_spread_5m", events=2),
    **_window(HOUR + 2 * MINUTE, "amihud_60m"),
    **_window(MINUTE + 6, "realized_spread_bps_5s"),
    "trade_rate_10s": WarmUp(10 * MINUTE, recursive=True),
    "cvd": _SESSION,
    "vwap_session": _SESSION,
    "vwap_dev_bps": _SESSION,
    "session_complete": _SESSION,
    # without a configured bucket volume V: V comes from the 28 days before, and 70 buckets are more than a day of it
    "vpin": WarmUp(32 * DAY),
    "trade_valid": WarmUp(32 * DAY),
    "vpin_bvc": WarmUp(32 * DAY, recursive=True),
    **_window(0, *TECHNICAL.names),
    **{f"price_momentum_{k}m": WarmUp(k * 66 + _BUCKET) for k in (1, 5, 15)},
    **{f"volatility_{k}m": WarmUp(k * MINUTE + 2) for k in (1, 5, 15)},
    **_window(16 * MINUTE, "parkinson_15m", "garman_klass_15m", "rogers_satchell_15m"),
    **_window(17 * MINUTE, "yang_zhang_15m"),
    **dict.fromkeys(
        ("rsi_14", "ema_12", "ema_26", "ema_dev_bps", "macd", "macd_signal", "macd_hist", "atr_14", "natr_14"), _WILDER
    ),
    **dict.fromkeys(("bollinger_pctb", "bollinger_width"), WarmUp(bars=21)),
    **dict.fromkeys(("poc", "value_area_low", "value_area_high", "poc_dev_bps", "volume_profile"), _SESSION),
    "trade_valid_bars": WarmUp(bars=251, session=True),
    **_window(29 * DAY, "relative_volume"),
    **_window(5 * MINUTE, *SENTIMENT.names),
    **_window(2 * HOUR, "sentiment_compound_1h", "sentiment_engagement_1h", "bullishness_1h"),
    "sentiment_ew_15m": WarmUp(6 * HOUR, recursive=True),
    **_window(2 * HOUR, *SOCIAL.names),
    **_window(29 * DAY, "social_volume_z"),
    **_window(MINUTE, "basis_bps", "last_basis_bps", "open_interest", "oi_value"),
    **_window(MINUTE + _BUCKET, "liquidation_buy_1m", "liquidation_sell_1m"),
    **_window(5 * MINUTE, "funding_rate", "funding_annualised"),
    **_window(5 * MINUTE + _BUCKET, "liquidation_imbalance_5m"),
    **_window(6 * MINUTE, "oi_change_5m"),
    **_window(HOUR + MINUTE, "oi_change_1h"),
    **_window(AGE, *CONTEXT.names),
    **{f"return_leader_{w}s": WarmUp(w + AGE) for w in (1, 10, 60)},
    **_window(HOUR + AGE, "beta_60m", "correlation_60m", "relative_strength_60m"),
}

CONFIGURED_VPIN = ("vpin", "vpin_bvc")
"""Not compared if V is configured: bucket edges then count from the first trade, so two starts never share them."""


def raw(feature: str) -> str:
    """Return the feature itself, or the raw feature that a normalised one is made from; KeyError if no warm-up is stated for it.

    >>> raw("rsi_14"), raw("rsi_14_n"), raw("spread_pct_z")
    ('rsi_14', 'rsi_14', 'spread_pct')
    """
    name = feature if feature in _STATED else feature.rpartition("_")[0]
    if name not in _STATED:
        raise KeyError(f"no warm-up is stated for {feature}")
    return name


def stated(feature: str) -> WarmUp:
    """Return the warm-up of a feature: that of its raw one, and for a z-score the window of its mean and deviation."""
    base = _STATED[raw(feature)]
    if feature in _STATED or not feature.endswith("_z"):
        return base
    return replace(base, seconds=base.seconds + _Z_WINDOW)


def table() -> dict[tuple[str, str], WarmUp]:
    """Return the stated warm-up of every feature."""
    return {(view.name, name): stated(name) for view in VIEWS for name in view.names}

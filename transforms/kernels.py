"""The one list of kernels: units of which each has a version, and a state of its own or none.

A saved state names its kernels with their versions. One of another version begins anew alone, with all that are made of it (``needs``),
and the others go on. So **raise the version of a kernel with every change of its formula or of its state**; a test compares the code that
the version covers (``tests/transforms/recorded_kernels.py``). A kernel without a state is a formula: its version tells which rows are
made by it, and it resets nothing but what is made of its values.

Example: A new version of the bars also resets what is made of bars, and the normalised features that are made of that:

>>> sorted(with_users({"bars"}))
['atr', 'bars', 'bollinger', 'ema', 'ranges', 'rsi', 'rsi_14_n']
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from transforms.catalog import FEATURE_VECTOR_V1, NORMALIZED, SENTIMENT, SOCIAL, View


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel.

    Attributes
    ----------
    name : str
        Names its state in a checkpoint, and therefore never changes.
    version : int
    code : tuple of str
        The modules of this package that the version covers, besides the shared ones that they import.
    features : tuple of str
        What it writes to the rows.
    needs : tuple of str
        The kernels whose state or values its own are made of.
    also_reads : tuple of str
        Kinds of messages that it reads besides those of its view.
    is_signed : bool
        Whether it depends on the aggressor's side. Where the venue does not tell that, it is inferred from the books.
    """

    name: str
    version: int
    code: tuple[str, ...]
    features: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    also_reads: tuple[Literal["book", "derivatives"], ...] = ()
    is_signed: bool = False


def _book(name: str, version: int, code: str, features: str = "", needs: str = "book") -> Kernel:
    return Kernel(name, version, _in("microstructure", code), tuple(features.split()), tuple(needs.split()))


def _flow(
    name: str, version: int, code: str, features: str = "", needs: str = "trades", *, books: bool = False, signed: bool = False
) -> Kernel:  # fmt: skip
    reads: tuple[Literal["book"], ...] = ("book",) if books else ()
    of = tuple(features.split())
    return Kernel(name, version, _in("order_flow", code), of, tuple(needs.split()), reads, signed)


def _technical(name: str, version: int, code: str, features: str = "", needs: str = "prices") -> Kernel:
    return Kernel(name, version, _in("technical", code), tuple(features.split()), tuple(needs.split()))


def _derivatives(name: str, version: int, code: str, features: str = "", needs: str = "derivatives") -> Kernel:
    return Kernel(name, version, _in("derivatives", code), tuple(features.split()), tuple(needs.split()))


def _context(name: str, version: int, code: str, features: str = "", needs: str = "neighbours") -> Kernel:
    return Kernel(name, version, _in("context", code), tuple(features.split()), tuple(needs.split()))


def _in(package: str, modules: str) -> tuple[str, ...]:
    return tuple(f"{package}.{module}" for module in modules.split())


RAW: tuple[Kernel, ...] = (
    _book("book", 1, "kernel layout", "book_valid", needs=""),
    _book("mid", 1, "mid", "mid_price spread spread_pct weighted_mid weighted_mid_dev_bps"),
    _book("imbalance", 1, "imbalance", "imbalance_l1 imbalance_l3 imbalance_l5 imbalance_l10 imbalance_ratio bid_volume ask_volume"),
    _book("depth", 1, "depth", "depth_bid_10bps depth_ask_10bps depth_bid_25bps depth_ask_25bps depth_bid_50bps depth_ask_50bps book_slope_bid book_slope_ask"),
    _book("microprice_table", 1, "layout", needs=""),
    _book("microprice", 1, "microprice", "microprice", needs="imbalance microprice_table"),
    _book("book_flow", 1, "ofi quote_rate", "ofi_1s ofi_10s ofi_60s mlofi_l1 mlofi_l2 mlofi_l3 mlofi_l4 mlofi_l5 quote_rate_10s"),
    _flow("trades", 1, "kernel mids lee_ready", needs=""),
    _flow("trade_rate", 1, "trade_rate", "trade_rate_10s"),
    _flow("session", 1, "session", "cvd vwap_session vwap_dev_bps session_complete", signed=True),
    _flow("bucket_volume", 1, "bucket_volume", needs="session"),
    _flow("vpin", 1, "vpin vpin_bvc", "vpin vpin_bvc", needs="bucket_volume", signed=True),
    _flow("trade_valid", 1, "kernel", "trade_valid", needs="trades vpin"),
    _flow("kyle", 1, "kyle", "kyle_lambda_5m", books=True, signed=True),
    _flow("amihud", 1, "amihud", "amihud_60m"),
    _flow("trade_volume", 1, "volume", "buy_volume_1m sell_volume_1m delta_volume_1s delta_volume_1m delta_volume_5m trade_flow_imbalance_1m trade_flow_imbalance_5m trade_count_1m avg_trade_size_1m side_inferred_share_1m vwap_1m vwap_5m", signed=True),
    _flow("roll", 1, "roll", "roll_spread_5m"),
    _flow("effective_spread", 1, "effective_spread", "effective_spread_bps_1m", books=True, signed=True),
    _flow("realized_spread", 1, "realized_spread", "realized_spread_bps_5s", books=True, signed=True),
    _technical("prices", 1, "kernel", "trade_valid_bars", needs=""),
    _technical("calendar", 1, "calendar", "market_hour day_of_week hour_sin hour_cos weekday_sin weekday_cos is_weekend", needs=""),
    Kernel("funding", 1, _in("technical", "calendar"), ("minutes_to_funding",), also_reads=("derivatives",)),
    _technical("momentum", 1, "momentum", "price_momentum_1m price_momentum_5m price_momentum_15m"),
    _technical("volatility", 1, "volatility", "volatility_1m volatility_5m volatility_15m"),
    _technical("bars", 1, "bars"),
    _technical("ranges", 1, "range_volatility", "parkinson_15m garman_klass_15m rogers_satchell_15m yang_zhang_15m", needs="bars"),
    _technical("rsi", 1, "rsi", "rsi_14", needs="bars"),
    _technical("ema", 1, "ema", "ema_12 ema_26 ema_dev_bps macd macd_signal macd_hist", needs="bars"),
    _technical("bollinger", 1, "bollinger", "bollinger_pctb bollinger_width", needs="bars"),
    _technical("atr", 1, "atr", "atr_14 natr_14", needs="bars"),
    _technical("volume_profile", 1, "volume_profile price_band price_cells price_grid price_rows", "poc value_area_low value_area_high poc_dev_bps volume_profile"),
    _technical("relative_volume", 1, "relative_volume", "relative_volume", needs=""),
    Kernel("posts", 1, _in("sentiment", "kernel state simhash scores")),
    Kernel("sentiment", 1, _in("sentiment", "scores"), SENTIMENT.names, ("posts",)),
    Kernel("social", 1, _in("sentiment", "activity"), SOCIAL.names, ("posts",)),
    _derivatives("derivatives", 1, "contract kernel told", needs=""),
    _derivatives("basis", 1, "basis", "basis_bps last_basis_bps", needs="derivatives prices"),
    _derivatives("funding_rate", 1, "funding", "funding_rate funding_annualised"),
    _derivatives("open_interest", 1, "open_interest", "open_interest oi_value oi_change_5m oi_change_1h"),
    _derivatives("liquidations", 1, "liquidations", "liquidation_buy_1m liquidation_sell_1m liquidation_imbalance_5m"),
    _context("context_rows", 1, "kernel layout view", needs=""),
    _context("neighbours", 1, "kernel layout", needs="mid context_rows"),
    _context("lead", 1, "lead", "return_leader_1s return_leader_10s return_leader_60s beta_60m correlation_60m relative_strength_60m"),
    _context("venues", 1, "venues", "pair_basis_bps cross_venue_mid_dev_bps consolidated_imbalance"),
)  # fmt: skip
"""The kernels that messages are given to."""

_MAKES = {feature: kernel.name for kernel in RAW for feature in kernel.features}

ALL: tuple[Kernel, ...] = (
    *RAW,
    *(
        Kernel(name, 1, ("normalization",), (name,), (_MAKES[raw],))
        for name, raw in zip(NORMALIZED.names, FEATURE_VECTOR_V1, strict=True)
    ),
)
"""All kernels, each behind those that it needs; a normalised feature is one of its own."""

Versions = tuple[tuple[str, int], ...]
VERSIONS: Versions = tuple((kernel.name, kernel.version) for kernel in ALL)
"""The version of each kernel in this process."""
KERNEL: dict[str, Kernel] = {kernel.name: kernel for kernel in ALL}
MAKES: dict[str, str] = {feature: kernel.name for kernel in ALL for feature in kernel.features}
"""The kernel of each feature; ``minutes_to_funding`` of both its views is of one."""


def with_users(names: Iterable[str]) -> set[str]:
    """Return these kernels and all that are made of them."""
    found = set(names)
    for kernel in ALL:
        if not found.isdisjoint(kernel.needs):
            found.add(kernel.name)
    return found


@cache
def made_of(name: str) -> frozenset[str]:
    """Return a kernel and all that it is made of.

    >>> sorted(made_of("rsi"))
    ['bars', 'prices', 'rsi']
    """
    return frozenset({name}.union(*map(made_of, KERNEL[name].needs)))


@cache
def versions_of(view: View) -> dict[str, int]:
    """Return the kernels that the rows of a view are made of, by name, with their versions.

    >>> from transforms.catalog import SOCIAL
    >>> versions_of(SOCIAL)
    {'posts': 1, 'social': 1}
    """
    names = frozenset().union(*(made_of(MAKES[feature]) for feature in view.names))
    return {name: version for name, version in VERSIONS if name in names}

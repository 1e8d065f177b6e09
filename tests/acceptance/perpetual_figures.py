"""What the features of ``derivatives`` and ``context`` must be, by pandas and numpy out of the rows of `perpetual_files`.

A row of the grid is finished once a book or trade of its symbol is more than the allowed lateness newer. What a venue tells of a contract
counts for the rows that are not finished when it comes, as of its own time. Source: FEATURES.md, docs/messages.md, docs/features.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from transforms.instrument import Instrument

S = 1_000_000
MINUTE, HOUR, DAY = 60 * S, 3600 * S, 86_400 * S
LATENESS_US = 250_000
KEPT_OF_INTEREST = 5 * S


@dataclass(frozen=True)
class Symbol:
    """The events of one symbol: those of its market that are not late, and what is told of its contract, in the order in which it counts.

    ``opened`` is the position of its first event: it hears nobody before.
    """

    market: pd.DataFrame
    told: pd.DataFrame
    opened: int
    refused: int

    @classmethod
    def of(cls, events: pd.DataFrame) -> Symbol:
        """Take the events of a symbol in the order of arrival."""
        is_market = events.kind.isin(["book", "trade"])
        newest = events.t_us.where(is_market).cummax().ffill()
        watermark = (newest - LATENESS_US).fillna(0).clip(lower=0).astype("int64")
        before = watermark.shift(fill_value=0)
        is_late = np.where(is_market, events.t_us < before, events.t_us < before - MINUTE)
        events = events.assign(watermark=watermark, holds_us=np.maximum(events.t_us, before))[~is_late]
        told = events[events.kind.isin(["told", "forced"])].sort_values(["holds_us", "position"], kind="stable")
        told = told.assign(from_us=-(-told.holds_us // S) * S)
        return cls(events[events.kind.isin(["book", "trade"])], told, int(events.position.iloc[0]), int(is_late.sum()))

    def finished(self, at: pd.Series, ahead_us: int = 0) -> np.ndarray:
        """The position of the event that is more than the allowed lateness (and ``ahead_us``) newer than each time; inf where none is."""
        positions = np.append(self.market.position.to_numpy(float), np.inf)
        return positions[np.searchsorted(self.market.watermark.to_numpy(), at.to_numpy() + ahead_us, side="right")]


def newest(told: pd.DataFrame, name: str, at: pd.Series, within_us: int) -> pd.DataFrame:
    """The value of a field of the newest time that counts at each time, at most so old."""
    of = told[told[name].notna()]
    of = of[of.t_us >= of.t_us.cummax()].drop_duplicates("from_us", keep="last")
    joined = pd.merge_asof(
        pd.DataFrame({"from_us": at.to_numpy()}), of[["from_us", "t_us", "until_us", name]], on="from_us"
    )
    joined[name] = joined[name].where(joined.from_us - joined.t_us <= within_us)
    return joined


def last(of: pd.DataFrame, names: list[str], at: pd.Series, within_us: int) -> pd.DataFrame:
    """The last event at or before each time, at most so old."""
    right = of.drop_duplicates("t_us", keep="last")[["t_us", *names]]
    return pd.merge_asof(pd.DataFrame({"t_us": at.to_numpy()}), right, on="t_us", tolerance=within_us)


def is_due(symbol: Symbol, at: pd.Series) -> np.ndarray:
    """Whether each time has a row of ``derivatives``: something was told of the contract in the 60 s before."""
    told = symbol.told.assign(any=1.0, until_us=0)
    return newest(told, "any", at, MINUTE)["any"].notna().to_numpy()


def derivatives(symbol: Symbol, instrument: Instrument, at: pd.Series) -> pd.DataFrame:
    """The features of ``derivatives`` at these times."""
    c, told = instrument.contract_size, symbol.told
    settles = told.settled_us.where(told.settled_us > told.t_us)
    told = told.assign(until_us=settles.fillna(np.inf))
    mark = newest(told, "mark", at, MINUTE)["mark"].to_numpy()
    index = newest(told, "index", at, MINUTE)["index"].to_numpy()
    told_rate = newest(told, "rate", at, 5 * MINUTE)
    rate = told_rate.rate.where(told_rate.until_us > told_rate.from_us).to_numpy()
    trades = symbol.market[symbol.market.kind == "trade"]
    trades = trades.assign(trade_id=trades.trade_id.fillna(0)).sort_values(
        ["t_us", "trade_id", "position"], kind="stable"
    )
    price = last(trades, ["price"], at, MINUTE).price.to_numpy()
    n = newest(told, "interest", at, MINUTE).interest.to_numpy()
    out = pd.DataFrame(index=at.to_numpy())
    out["basis_bps"] = 1e4 * (mark - index) / index
    out["last_basis_bps"] = 1e4 * (price - index) / index
    out["funding_rate"] = rate
    out["funding_annualised"] = rate * 8760 / instrument.funding_hours if instrument.funding_hours else np.nan
    out["minutes_to_funding"] = _minutes(told, instrument.funding_hours, at)
    out["open_interest"] = n * c / mark if instrument.inverse else n * c
    out["oi_value"] = n * c if instrument.inverse else n * c * mark
    of = told[told.interest.notna()]
    of = of[of.t_us >= of.t_us.cummax()]
    of = of[~(-(-of.t_us // KEPT_OF_INTEREST)).duplicated(keep="last")]
    for name, w in (("oi_change_5m", 5 * MINUTE), ("oi_change_1h", HOUR)):
        before = last(of, ["interest"], at - w, MINUTE).interest.to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            out[name] = np.where((n > 0) & (before > 0), np.log(n / before), np.nan)
    forced = told[told.kind == "forced"]
    forced = forced.assign(value=forced["size"] * c * (1.0 if instrument.inverse else forced.price))
    forced = forced.drop_duplicates(["t_us", "side", "value"])
    heard = at.to_numpy() - (forced.t_us.iloc[0] if len(forced) else np.inf)
    sums = {
        (side, w): np.where(heard >= w, _within(forced[forced.side == side], at, w), np.nan)
        for side in ("buy", "sell")
        for w in (MINUTE, 5 * MINUTE)
    }
    out["liquidation_buy_1m"], out["liquidation_sell_1m"] = sums["buy", MINUTE], sums["sell", MINUTE]
    buys, sells = sums["buy", 5 * MINUTE], sums["sell", 5 * MINUTE]
    with np.errstate(divide="ignore", invalid="ignore"):
        out["liquidation_imbalance_5m"] = np.where(buys + sells > 1e-6, (buys - sells) / (buys + sells), np.nan)
    return out


def _minutes(told: pd.DataFrame, hours: int, at: pd.Series) -> np.ndarray:
    newest_before = told.t_us.cummax().shift(fill_value=0)
    of = told[told.settled_us.notna() & (told.t_us >= newest_before)].drop_duplicates("from_us", keep="last")
    joined = pd.merge_asof(pd.DataFrame({"from_us": at.to_numpy()}), of[["from_us", "settled_us"]], on="from_us")
    ahead = joined.settled_us - joined.from_us
    plan = hours * HOUR - joined.from_us % (hours * HOUR) if hours else pd.Series(np.nan, joined.index)
    return (ahead.where((ahead > 0) & (ahead <= DAY), plan) / MINUTE).to_numpy()


def _within(forced: pd.DataFrame, at: pd.Series, w: int) -> np.ndarray:
    """The value that was forced in (t - w, t] and counts at each time."""
    times = at.to_numpy()
    first = np.searchsorted(times, forced.from_us)
    end = np.maximum(np.searchsorted(times, forced.t_us + w), first)
    change = np.zeros(len(times) + 1)
    np.add.at(change, first, forced.value)
    np.add.at(change, end, -forced.value)
    return np.cumsum(change)[:-1]


def quotes(symbol: Symbol, at: pd.Series, ttl_us: int) -> pd.DataFrame:
    """The best levels at each time, NaN where there is no book."""
    books = symbol.market[symbol.market.kind == "book"].sort_values(["t_us", "position"], kind="stable")
    return last(books, ["bid", "bid_size", "ask", "ask_size"], at, ttl_us)

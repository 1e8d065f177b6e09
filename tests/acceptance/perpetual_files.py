"""Files about perpetuals as pandas reads them, by the venues' own documentation and without this project's readers.

Each file becomes rows of the columns `COLUMNS`, one row an event: ``book`` (best bid and ask), ``trade``, ``told`` (mark, index, rate,
settlement, open interest) or ``forced``. ``at_us`` is when a row was received, or else its event time ``t_us``; ``place`` is its number
in the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tests.acceptance.perpetual_captures import is_capture, read_captures

NUMBERS = (
    "price", "size", "mark", "index", "rate", "settled_us", "interest", "bid", "bid_size", "ask", "ask_size", "trade_id",
)  # fmt: skip
COLUMNS = ("symbol", "kind", "at_us", "t_us", "place", "side", *NUMBERS)
PREFIX = {
    "binance-futures": "BINANCE-FUTURES:", "binance-delivery": "BINANCE-COINM:", "um": "BINANCE-FUTURES:", "cm": "BINANCE-COINM:",
}  # fmt: skip
_UNNAMED = {
    12: "open_time open high low close volume close_time quote_volume count taker_buy taker_buy_quote ignore",
    7: "agg_trade_id price quantity first_trade_id last_trade_id transact_time is_buyer_maker",
    6: "id price qty quote_qty time is_buyer_maker",
}
"""The columns of Binance's files without a row of names; spot's have one more, which says nothing, except bars."""
_BARS = {"markPriceKlines": "mark", "indexPriceKlines": "index"}


def read(paths: Sequence[Path], prefixes: Mapping[str, str]) -> pd.DataFrame:
    """Read files; ``prefixes`` has those that the user gives, by the name of the file."""
    captures = [path for path in paths if is_capture(path)]
    together: dict[str, list[Path]] = {}
    for path in captures:
        together.setdefault(prefixes.get(path.name, ""), []).append(path)
    found = [read_captures(of_one, prefix) for prefix, of_one in together.items()]
    for path in paths:
        if path in captures:
            continue
        rows = _table(path, prefixes.get(path.name))
        rows["place"] = range(1, len(rows) + 1)
        found.append(rows)
    every = pd.concat([rows.assign(file=i) for i, rows in enumerate(found)], ignore_index=True)
    every = every.reindex(columns=[*COLUMNS, "file"]).astype(dict.fromkeys(NUMBERS, float))
    every = every.sort_values(["at_us", "place", "file"], kind="stable", ignore_index=True)
    every["position"] = every.index
    return every


def _named(path: Path) -> pd.DataFrame:
    """Return the cells of a CSV file as text, with lower-case names of columns."""
    cells = pd.read_csv(path, dtype=str, header=None, keep_default_na=False)
    if cells.iloc[0, 0].isdecimal():
        n = len(cells.columns)
        names = _UNNAMED[n if n in _UNNAMED else n - 1].split()
        cells.columns = pd.Index([*names, "best"][:n])
        return cells
    frame = cells.iloc[1:].reset_index(drop=True)
    frame.columns = cells.iloc[0].str.strip().str.lower()
    return frame


def _table(path: Path, prefix: str | None) -> pd.DataFrame:
    cells = _named(path)
    names = set(cells.columns)
    for columns, function in _TABLES.items():
        if set(columns.split()) <= names:
            found: pd.DataFrame = function(cells, path)
            break
    else:
        raise SystemExit(f"{path.name}: no table that is compared; its columns are {', '.join(cells.columns)}")
    if "exchange" in cells:
        before = cells.exchange.map(PREFIX).fillna("")
        found["symbol"] = (before if prefix is None else prefix) + cells.symbol
    else:
        stem = path.name.partition("-")[0]
        is_spot = "best" in cells or "best_match" in cells or "spot" in path.parts
        market = "" if is_spot else PREFIX["cm" if re.search(r"USD_(PERP|\d{6})$", stem) else "um"]
        found["symbol"] = (market if prefix is None else prefix) + (cells.symbol if "symbol" in cells else stem)
    found["at_us"] = found.get("at_us", found.t_us)
    return found.dropna(subset="kind")


def _float(of: pd.Series) -> pd.Series:
    return pd.to_numeric(of.replace("", None))


def _us(of: pd.Series) -> pd.Series:
    """Return times in microseconds; the size of a number tells whether it is in milliseconds."""
    numbers = pd.to_numeric(of)
    return numbers.where(numbers > 10**14, numbers * 1000)


def _tardis(cells: pd.DataFrame, **values: Any) -> pd.DataFrame:
    received = pd.to_numeric(cells.local_timestamp)
    return pd.DataFrame({"t_us": pd.to_numeric(cells.timestamp), "at_us": -(-received // 1000) * 1000, **values})


def _ticker(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    out = _tardis(
        cells,
        mark=_float(cells.mark_price),
        index=_float(cells.index_price),
        rate=_float(cells.funding_rate),
        interest=_float(cells.open_interest),
        settled_us=_float(cells.funding_timestamp),
    )
    out["settled_us"] = out.settled_us.where(out.settled_us > out.t_us) // 1000 * 1000
    out["kind"] = "told"
    values = out[["mark", "index", "rate", "interest", "settled_us"]].notna().any(axis=1)
    return out.assign(kind=out.kind.where(values))


def _tardis_trades(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    forced = "liquidation" in path.name or ("trade" not in path.name and "liquidation" in str(path.parent))
    out = _tardis(cells, price=_float(cells.price), size=_float(cells.amount))
    out["side"] = cells.side.str.lower()
    out["trade_id"] = pd.to_numeric(cells.id, errors="coerce")
    return out.assign(kind="forced" if forced else "trade")


def _tardis_quotes(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    names = {"bid": "bid_price", "bid_size": "bid_amount", "ask": "ask_price", "ask_size": "ask_amount"}
    return _tardis(cells, **{name: _float(cells[column]) for name, column in names.items()}).assign(kind="book")


def _tardis_books(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    names = {"bid": "bids[0].price", "bid_size": "bids[0].amount", "ask": "asks[0].price", "ask_size": "asks[0].amount"}
    return _tardis(cells, **{name: _float(cells[column]) for name, column in names.items()}).assign(kind="book")


def _metrics(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    at = pd.to_datetime(cells.create_time, utc=True).dt.as_unit("us").astype("int64")
    out = pd.DataFrame({"t_us": at, "interest": _float(cells.sum_open_interest)})
    out["kind"] = pd.Series("told", out.index).where(out.interest.notna())
    return out


def _rates(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    return pd.DataFrame({"t_us": _us(cells.calc_time), "rate": _float(cells.last_funding_rate)}).assign(kind="told")


def _forced(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    out = pd.DataFrame({"t_us": _us(cells.time), "price": _float(cells.average_price)})
    out["size"] = _float(cells.accumulated_fill_quantity)
    out["side"] = cells.side.str.lower()
    repeats = (cells == cells.shift()).all(axis=1)
    out["kind"] = pd.Series("forced", out.index).where((out["size"] > 0) & ~repeats)
    return out


def _book_ticker(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    out = pd.DataFrame({"t_us": _us(cells.event_time)})
    for side in ("bid", "ask"):
        out[side], out[f"{side}_size"] = _float(cells[f"best_{side}_price"]), _float(cells[f"best_{side}_qty"])
    out["kind"] = "book"
    return out


def _closes(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    (field,) = {field for word, field in _BARS.items() if word in str(path)}
    return pd.DataFrame({"t_us": _us(cells.close_time), field: _float(cells.close)}).assign(kind="told")


def _trades(price: str, size: str, time: str, number: str) -> Callable[[pd.DataFrame, Path], pd.DataFrame]:
    def function(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
        out = pd.DataFrame({"t_us": _us(cells[time]), "price": _float(cells[price]), "size": _float(cells[size])})
        out["trade_id"] = pd.to_numeric(cells[number])
        out["side"] = cells.is_buyer_maker.str.lower().map({"true": "sell", "false": "buy"})
        return out.assign(kind="trade")

    return function


_TABLES: dict[str, Callable[[pd.DataFrame, Path], pd.DataFrame]] = {
    "exchange local_timestamp funding_rate mark_price": _ticker,
    "exchange local_timestamp id side price amount": _tardis_trades,
    "exchange local_timestamp bid_price bid_amount ask_price ask_amount": _tardis_quotes,
    "exchange local_timestamp bids[0].price asks[0].price": _tardis_books,
    "create_time symbol sum_open_interest": _metrics,
    "calc_time last_funding_rate": _rates,
    "time side average_price accumulated_fill_quantity": _forced,
    "best_bid_price best_ask_price event_time": _book_ticker,
    "open_time close close_time": _closes,
    "agg_trade_id price quantity transact_time": _trades("price", "quantity", "transact_time", "agg_trade_id"),
    "id price qty time": _trades("price", "qty", "time", "id"),
}
"""What a table is, by some of its columns."""

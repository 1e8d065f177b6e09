"""Recorded markets of four venues as files that ``import`` reads, with the books and trades in them, read by loops of their own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from math import nan
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Book = tuple[int, float, float]
"""Time in ms, best bid, best ask; NaN is unknown."""
Print = tuple[int, float]
"""Time in ms and price of a trade."""


@dataclass(frozen=True)
class Capture:
    """A file for ``import`` with its options, and what it says of each symbol, in order of time."""

    name: str
    paths: tuple[Path, ...]
    options: tuple[str, ...]
    books: dict[str, list[Book]]
    trades: dict[str, list[Print]]


def binance(recordings: Path) -> Capture:
    """Raw captures of spot. The books are those of the reference, which was computed without this project.

    The reference goes on where the price has left the levels of the one snapshot; there a book is unknown.
    """
    paths, books, trades = [], {}, {}
    for symbol in ("BTCUSDT", "ETHUSDT"):
        name = f"spot_{symbol.lower()}_20240808"
        paths.append(recordings / "ws_binance_hftbacktest" / f"{name}.jsonl.gz")
        reference = pq.read_table(recordings / "reference" / f"binance_{name}_book_features.parquet")
        columns = (reference[column].to_pylist() for column in ("event_ms", "bid_px_0", "ask_px_0"))
        told, snapshot = [], {}
        with gzip.open(paths[-1]) as lines:
            for line in lines:
                said = json.loads(line.partition(b" ")[2])
                if "lastUpdateId" in said:
                    snapshot = said
                elif "@trade" in said["stream"]:
                    told.append((said["data"]["T"], said["data"]["t"], float(said["data"]["p"])))
        lowest, highest = (float(snapshot[side][-1][0]) for side in ("bids", "asks"))
        books[symbol] = [
            (ms, bid, ask) if bid >= lowest and ask <= highest else (ms, nan, nan)
            for ms, bid, ask in zip(*columns, strict=True)
        ]
        trades[symbol] = [(ms, price) for ms, _, price in sorted(told)]
    return Capture("binance", tuple(paths), (), books, trades)


def okcoin(recordings: Path) -> Capture:
    """Whole books of 20 levels and dirty trades, half an hour of them."""
    folder = recordings / "l2_okcoin_btccny_2016"
    books_path, trades_path = folder / "book20_20160303.parquet", folder / "trades_20160303.parquet"
    columns = pq.read_table(books_path, columns=["ts_ms", "bid_px_0", "ask_px_0"]).to_pydict()
    books = list(zip(columns["ts_ms"], columns["bid_px_0"], columns["ask_px_0"], strict=True))
    found = pq.read_table(trades_path, columns=["ts_ms", "price"]).to_pydict()
    trades = [(ms, px) for ms, px in zip(found["ts_ms"], found["price"], strict=True) if px is not None and px == px]
    symbol = "OKCOIN:BTC-CNY"
    options = ("--symbol", symbol, "--venue", "okcoin", "--column", "side=")
    return Capture("okcoin", (books_path, trades_path), options, {symbol: books}, {symbol: sorted(trades, key=_time)})


def coinbase(recordings: Path, folder: Path, *symbols: str) -> Capture:
    """Changes of books and matches, put into our messages by dictionaries of levels."""
    capture = Capture("coinbase", (folder / "coinbase.jsonl",), (), {}, {})
    sides: dict[str, tuple[dict[float, float], dict[float, float]]] = {}
    lines: list[tuple[int, dict[str, Any]]] = []
    for _, said in _lines(recordings / "ws_cryptofeed" / "COINBASE.ws.28.0.txt.gz"):
        of = said.get("product_id") if isinstance(said, dict) else None
        if of not in symbols:
            continue
        symbol = f"COINBASE:{of}"
        if said["type"] == "snapshot":
            sides[of] = tuple({float(p): float(q) for p, q in said[side]} for side in ("bids", "asks"))
        elif said["type"] == "l2update":
            ms = _ms(said["time"])
            for side, price, size in said["changes"]:
                _set(sides[of][side == "sell"], float(price), float(size))
            lines.append((ms, _book(symbol, ms, sides[of])))
        elif said["type"] == "match":
            ms, side = _ms(said["time"]), "buy" if said["side"] == "sell" else "sell"  # that of the maker is told
            trade = {"price": float(said["price"]), "size": float(said["size"]), "side": side}
            lines.append((ms, {"timestamp": ms, "symbol": symbol, **trade, "trade_id": said["trade_id"]}))
    _write(capture, lines)
    return capture


def kraken(recordings: Path, folder: Path, *symbols: str) -> Capture:
    """Changes of books without trades. A change's time is that of its newest level."""
    capture = Capture("kraken", (folder / "kraken.jsonl",), (), {}, {})
    sides: dict[str, tuple[dict[float, float], dict[float, float]]] = {}
    lines: list[tuple[int, dict[str, Any]]] = []
    for _, said in _lines(recordings / "ws_cryptofeed" / "KRAKEN.ws.50.0.txt.gz"):
        if not isinstance(said, list) or said[-1] not in symbols:
            continue
        newest = 0.0
        for part in said[1:-2]:
            if "as" in part:
                sides[said[-1]] = ({}, {})
            for key in ("b", "bs", "a", "as"):
                for price, size, at, *_ in part.get(key, ()):
                    _set(sides[said[-1]][key[0] == "a"], float(price), float(size))
                    newest = max(newest, float(at))
        symbol, ms = f"KRAKEN:{said[-1].replace('/', '-')}", int(newest * 1000)
        lines.append((ms, _book(symbol, ms, sides[said[-1]])))
    _write(capture, lines)
    return capture


def _write(capture: Capture, lines: list[tuple[int, dict[str, Any]]]) -> None:
    """Write the messages in order of time, and note what they say."""
    lines.sort(key=_time)
    with capture.paths[0].open("w") as file:
        for ms, message in lines:
            file.write(json.dumps(message) + "\n")
            if "bids" in message:
                book = (ms, message["bids"][0][0], message["asks"][0][0])
                capture.books.setdefault(message["symbol"], []).append(book)
            else:
                capture.trades.setdefault(message["symbol"], []).append((ms, message["price"]))


def _lines(path: Path) -> Iterator[tuple[float, Any]]:
    with gzip.open(path, "rt") as lines:
        for line in lines:
            stamp, _, text = line.partition(": ")
            if stamp.replace(".", "").isdigit():
                yield float(stamp), json.loads(text)


def _set(levels: dict[float, float], price: float, size: float) -> None:
    if size:
        levels[price] = size
    else:
        levels.pop(price, None)


def _book(symbol: str, ms: int, sides: tuple[dict[float, float], dict[float, float]]) -> dict[str, Any]:
    bids, asks = sides
    best = sorted(bids.items(), reverse=True)[:20], sorted(asks.items())[:20]
    return {"timestamp": ms, "symbol": symbol, "bids": best[0], "asks": best[1]}


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def _time(one: tuple[Any, ...]) -> int:
    return int(one[0])

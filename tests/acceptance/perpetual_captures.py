"""Raw captures of Binance as rows of `perpetual_files`: a plain book of prices and sizes, and what else the lines tell."""

from __future__ import annotations

import bz2
import gzip
import heapq
import io
import json
import lzma
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pandas as pd

Event = dict[str, Any]
_OPEN = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
_LINE = re.compile(r"(?:(\d{13,19}) |(\d{10}\.\d+): |https?://\S*?symbol=(\w+)\S* -> (\d{10}\.\d+): )([\[{].*)")
_LIMITS = (5, 10, 20, 50, 100, 500, 1000, 5000)
"""Levels of a side that a snapshot may be cut at: what lies behind them is not known."""
_CONNECTION = re.compile(r"wss?://\S+ <")


def is_capture(path: Path) -> bool:
    """Whether the first line of a file is one of a raw capture."""
    with _text(path) as lines:
        first = lines.readline()
    return bool(_LINE.match(first) or _CONNECTION.match(first))


def _text(path: Path) -> IO[str]:
    with path.open("rb") as raw:
        opened = _OPEN.get(raw.read(2), open)
    return io.TextIOWrapper(opened(path, "rb"), encoding="utf-8", errors="replace")  # type: ignore[operator]  # of several packings


def _lines(path: Path, prefix: str, only: str | None = None) -> Iterator[tuple[int, str, Any]]:
    """Yield the time of receipt in nanoseconds, the prefix and the event of each line; ``only`` is the symbol of a file that has one."""
    with _text(path) as lines:
        for line in lines:
            if (found := _LINE.match(line)) is None:
                continue
            whole, seconds, symbol, asked, body = found.groups()
            at = int(whole) * 10 ** (19 - len(whole)) if whole else round(float(seconds or asked) * 1e6) * 1000
            told = json.loads(body)
            told = told.get("data", told) if isinstance(told, dict) else told
            for event in told if isinstance(told, list) else [told]:
                if "lastUpdateId" in event and (symbol or only):
                    event.setdefault("symbol", symbol or only)
                yield at, prefix, event


class _Book:
    """The book of one symbol, and the diffs that wait for its snapshot."""

    def __init__(self) -> None:
        self.sides: tuple[dict[float, float], dict[float, float]] = ({}, {})
        self.known = (0.0, math.inf)
        self.last: int | None = None
        self.waiting: list[Event] = []

    def start(self, snapshot: Event) -> list[Event]:
        """Begin with a snapshot; return the diffs that waited and follow it."""
        if not any(_spans(diff, snapshot["lastUpdateId"]) for diff in self.waiting):
            return []
        for side, levels in zip(self.sides, (snapshot["bids"], snapshot["asks"]), strict=True):
            side.clear()
            side.update((float(price), float(size)) for price, size in levels)
        bids, asks = self.sides
        n = max(map(len, self.sides))
        is_cut = [len(side) == n and (n in _LIMITS or len(bids) == len(asks) >= 20) for side in self.sides]
        self.known = min(bids) if is_cut[0] else 0.0, max(asks) if is_cut[1] else math.inf
        self.last = snapshot["lastUpdateId"]
        ready, self.waiting = [diff for diff in self.waiting if diff["u"] > self.last], []
        return ready

    def apply(self, diff: Event) -> bool:
        """Apply a diff if it follows; one that does not waits, and the book is unknown until a snapshot comes."""
        if self.last is None or not (_follows(diff, self.last) or _spans(diff, self.last)):
            self.last = None
            self.waiting.append(diff)
            return False
        for side, levels in zip(self.sides, (diff["b"], diff["a"]), strict=True):
            for price, size in levels:
                if float(size):
                    side[float(price)] = float(size)
                else:
                    side.pop(float(price), None)
        self.last = diff["u"]
        return True

    def best(self) -> Event:
        """The best level of each side; nothing where the price is past what the snapshot knew."""
        bids, asks = self.sides
        bid, ask = max(bids), min(asks)
        if bid < self.known[0] or ask > self.known[1]:
            return {}
        return {"bid": bid, "bid_size": bids[bid], "ask": ask, "ask_size": asks[ask]}


def _follows(diff: Event, last: int) -> bool:
    return bool(diff["pu"] == last if "pu" in diff else diff["U"] == last + 1)


def _spans(diff: Event, last: int) -> bool:
    return bool(diff["u"] > last and (diff["U"] <= last + 1 or diff.get("pu", last + 1) <= last))


class Captures:
    """Reads events in the order of receipt; ``rows`` has what they say."""

    def __init__(self, symbols: Sequence[str], one_by_one: set[str]) -> None:
        self.rows: list[Event] = []
        self._books = {name: _Book() for name in symbols}
        self._one_by_one = one_by_one
        self._seen: set[Any] = set()
        self._marked: dict[str, int] = {}
        self._interest: dict[str, int] = {}
        self._snapshots: list[tuple[str | None, Event]] = []

    def read(self, at_us: int, prefix: str, event: Event) -> None:
        """Take one event."""
        kind = event.get("e")
        name = prefix + str(event.get("s") or event.get("symbol") or "")
        if "lastUpdateId" in event:
            self._snapshots.append((name if name != prefix else None, event))
            for symbol in self._books if name == prefix else [name]:
                self._settle(symbol, at_us)
        elif kind == "depthUpdate":
            was_known = self._books[name].last is not None
            if self._books[name].apply(event):
                self._tell_book(name, at_us, event)
            else:
                if was_known:
                    self._add(name, "book", at_us, event["E"])
                self._settle(name, at_us)
        elif kind == "trade" or (kind == "aggTrade" and name not in self._one_by_one):
            number = event["t" if kind == "trade" else "a"]
            if event.get("X", "MARKET") == "MARKET" and self._is_new((name, kind, number)):
                told = {"price": float(event["p"]), "size": float(event["q"]), "side": "sell" if event["m"] else "buy"}
                self._add(name, "trade", at_us, event["T"], trade_id=number, **told)
        elif kind == "markPriceUpdate" and event["E"] > self._marked.get(name, 0):
            self._marked[name] = event["E"]
            told = {"mark": float(event["p"]), "index": float(event["i"]) if event.get("i") else None}
            told |= {"rate": float(event["r"]) if event.get("r") else None}
            self._add(name, "told", at_us, event["E"], settled_us=event["T"] * 1000 if event["T"] else None, **told)
        elif "openInterest" in event:
            at_ms = max(event["time"], self._marked.get(name, 0))
            if at_ms > self._interest.get(name, 0):
                self._interest[name] = at_ms
                self._add(name, "told", at_us, at_ms, interest=float(event["openInterest"]))
        elif kind == "forceOrder":
            order = event["o"]
            price, size = (float(order.get(a) or 0) or float(order[b]) for a, b in (("ap", "p"), ("z", "q")))
            if self._is_new((order["s"], event["E"], order["T"], order["S"], price, size)):
                side = order["S"].lower()
                self._add(prefix + order["s"], "forced", at_us, order["T"], price=price, size=size, side=side)

    def _settle(self, name: str, at_us: int) -> None:
        for of, snapshot in self._snapshots:
            if of in (None, name) and (ready := self._books[name].start(snapshot)):
                for diff in ready:
                    if self._books[name].apply(diff):
                        self._tell_book(name, at_us, diff)
                return

    def _tell_book(self, name: str, at_us: int, diff: Event) -> None:
        self._add(name, "book", at_us, diff["E"], **self._books[name].best())

    def _is_new(self, identity: Any) -> bool:
        known = identity in self._seen
        self._seen.add(identity)
        return not known

    def _add(self, symbol: str, kind: str, at_us: int, time: int, **told: Any) -> None:
        t_us = time if time > 10**14 else time * 1000
        self.rows.append({"symbol": symbol, "kind": kind, "at_us": at_us, "t_us": t_us, **told})


def read_captures(paths: Sequence[Path], prefix: str) -> pd.DataFrame:
    """The rows of captures, all together in the order of receipt."""
    books: dict[str, None] = {}
    one_by_one: set[str] = set()
    every = []
    for path in paths:
        symbols = set()
        for _, _, event in _lines(path, prefix):
            if event.get("e") == "depthUpdate":
                symbols.add(event["s"])
            elif event.get("e") == "trade":
                one_by_one.add(prefix + event["s"])
        books |= dict.fromkeys(prefix + name for name in sorted(symbols))
        every.append(_lines(path, prefix, symbols.pop() if len(symbols) == 1 else None))
    captures = Captures(list(books), one_by_one)
    newest = 0
    for at, prefix, event in heapq.merge(*every, key=lambda line: line[0]):
        newest = max(newest, -(-at // 10**6) * 1000)
        captures.read(newest, prefix, event)
    found = pd.DataFrame(captures.rows)
    found["place"] = range(1, len(found) + 1)
    return found

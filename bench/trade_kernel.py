"""Speed of the kernels that trades go through: events folded in a second of one core, a row emitted each second of event time.

Prints one JSON object a line, ``size`` ``compiled`` and ``pure`` (plain Python), each in a process of its own. ``trade_kernel`` is both
kernels of the trades together, books as quotes; the feed is seeded and has the mix of a busy capture: 100 events a second, three
books to a trade, trades in bursts of one timestamp. No library that we know of computes these features incrementally, so it has no peer.

``trade_kernel_bars`` is the part that others have: one-minute bars folded one by one into RSI, EMA 12 and 26, MACD, Bollinger bands and
ATR, each read after every bar. talipp is incremental; TA-Lib's stream functions compute the newest value from the last 250 bars. Ours
computes four range estimators of volatility besides.

    python -m bench.trade_kernel
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import random
import subprocess
import sys
import time

import numpy as np

from transforms.instrument import Instrument
from transforms.kernel import COMPILED, zeros
from transforms.order_flow import kernel as order_flow
from transforms.technical import kernel as technical

EVENTS_A_SECOND = 100
SECOND = 1_000_000
ROUNDS = 3

Event = tuple[int, float, float, int]
"""Time in µs; then bid, ask and 2 for a book, or price, size and the aggressor's side for a trade."""
BOOK = 2

Bar = tuple[float, float, float, float]
"""Open, high, low, close."""
BARS = 5_000
HISTORY = 250


def feed(events: int) -> list[Event]:
    """``events`` books and trades: the mid walks, trades hit the quotes, a third of them without a side."""
    rng = random.Random(7)
    bid = 10_000
    out: list[Event] = []
    for i in range(events):
        t_us = 1_000 * SECOND + i * SECOND // EVENTS_A_SECOND
        if i % 20 < 15:
            bid += rng.choice((-1, 0, 0, 1))
            out.append((t_us, bid / 100, (bid + 1) / 100, BOOK))
        else:
            burst_us = 1_000 * SECOND + (i - i % 20 + 15) * SECOND // EVENTS_A_SECOND
            bought = rng.random() < 0.5
            side = rng.choice((0, 1, 1)) * (1 if bought else -1)
            out.append((burst_us, (bid + bought) / 100, rng.randrange(1, 10**8) / 1e8, side))
    return out


def trade_rate(events: list[Event]) -> float:
    """One pass over ``events`` through both kernels with a row of each at each whole second, events/s."""
    flow, bars = order_flow.init(Instrument(vpin_bucket=20.0), SECOND), technical.init(Instrument(), SECOND)
    flow_row, bars_row = zeros(order_flow.FEATURES), zeros(technical.FEATURES)
    boundary = events[0][0] // SECOND * SECOND + SECOND
    begin = time.process_time()
    for t_us, first, second, kind in events:
        while t_us > boundary:
            order_flow.emit(flow, boundary, flow_row)
            technical.emit(bars, boundary, bars_row)
            boundary += SECOND
        if kind == BOOK:
            order_flow.step_quote(flow, t_us, first, second)
        else:
            order_flow.step_trade(flow, t_us, first, second, kind)
            technical.step_trade(bars, t_us, first, second)
    return len(events) / (time.process_time() - begin)


def bars_of(n: int) -> list[Bar]:
    """``n`` one-minute bars of a walk."""
    rng = random.Random(7)
    close, out = 100.0, []
    for _ in range(n):
        open_, close = close, close * (1 + rng.gauss(0, 1e-3))
        out.append((open_, max(open_, close) * 1.0005, min(open_, close) * 0.9995, close))
    return out


def bar_rate(bars: list[Bar]) -> float:
    """Bars/s of our kernel."""
    state = technical.init(Instrument(), SECOND)
    step = technical.step_bar
    begin = time.process_time()
    for minute, (open_, high, low, close) in enumerate(bars, 30_000_000):
        step(state, minute, open_, high, low, close)
    return len(bars) / (time.process_time() - begin)


def talipp_rate(bars: list[Bar]) -> float:
    """Bars/s of talipp's incremental indicators."""
    indicators = importlib.import_module("talipp.indicators")
    ohlcv = importlib.import_module("talipp.ohlcv").OHLCV
    of_close = [
        indicators.RSI(14), indicators.EMA(12), indicators.EMA(26), indicators.MACD(12, 26, 9), indicators.BB(20, 2),
    ]  # fmt: skip
    atr = indicators.ATR(14)
    begin = time.process_time()
    for bar in bars:
        for indicator in of_close:
            indicator.add(bar[3])
            indicator[-1]
        atr.add(ohlcv(*bar))
        atr[-1]
    return len(bars) / (time.process_time() - begin)


def talib_rate(bars: list[Bar]) -> float:
    """Bars/s of TA-Lib's stream functions, from the newest 250 bars each time."""
    import talib.stream

    _, high, low, close = (np.array(column) for column in zip(*bars, strict=True))
    begin = time.process_time()
    for end in range(HISTORY, len(bars) + 1):
        c = close[end - HISTORY : end]
        talib.stream.RSI(c, 14)
        talib.stream.EMA(c, 12)
        talib.stream.EMA(c, 26)
        talib.stream.MACD(c, 12, 26, 9)
        talib.stream.BBANDS(c, 20, 2, 2)
        talib.stream.ATR(high[end - HISTORY : end], low[end - HISTORY : end], c, 14)
    return (len(bars) - HISTORY + 1) / (time.process_time() - begin)


def report(bench: str, ours: float, unit: str, peer_name: str | None = None, peer: float | None = None) -> None:
    """Print one line."""
    record = {
        "bench": bench,
        "size": "compiled" if COMPILED else "pure",
        "ours": round(ours),
        "peer_name": peer_name,
        "peer": None if peer is None else round(peer),
        "ratio": None if peer is None else round(ours / peer, 2),
        "unit": unit,
    }
    print(json.dumps(record), flush=True)


def main() -> None:
    """Print the best of a few passes; the first one, which may compile, does not count."""
    events = feed(100_000)
    trade_rate(events[:1000])
    report("trade_kernel", max(trade_rate(events) for _ in range(ROUNDS)), "events/s/core")
    bars = bars_of(BARS)
    bar_rate(bars[:1000])
    ours = max(bar_rate(bars) for _ in range(ROUNDS))
    for package, peer_name, rate in (
        ("talipp", "talipp", talipp_rate),
        ("talib", "TA-Lib stream, 250 bars", talib_rate),
    ):
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed here: no line against it", file=sys.stderr)
            continue
        report("trade_kernel_bars", ours, "bars/s/core", peer_name, max(rate(bars) for _ in range(ROUNDS)))


if __name__ == "__main__":
    main()
    if COMPILED:
        subprocess.run([sys.executable, "-m", "bench.trade_kernel"], env={**os.environ, "TFS_NUMBA": "0"}, check=True)

"""Speed of the kernels that trades go through: events folded in a second of one core, a row emitted each second of event time.

Prints one JSON object a line, ``size`` the number of events: compiled (``order_flow_kernel``, ``technical_kernel``) and as
plain Python (``..._python``), each in a process of its own. The technical kernel is given the trades alone. The feed is
seeded and has the mix of a busy capture: 100 events a second, three books to a trade, trades in bursts of one timestamp.
No library that we know of computes these features incrementally, so there is no peer.

    python -m bench.trade_kernel
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time

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


def order_flow_rate(events: list[Event]) -> float:
    """One pass over ``events`` with a row at each whole second, events/s."""
    state = order_flow.init(Instrument(vpin_bucket=20.0), SECOND)
    row = zeros(order_flow.FEATURES)
    step_quote, step_trade, emit = order_flow.step_quote, order_flow.step_trade, order_flow.emit
    boundary = events[0][0] // SECOND * SECOND + SECOND
    begin = time.perf_counter()
    for t_us, first, second, kind in events:
        while t_us > boundary:
            emit(state, boundary, row)
            boundary += SECOND
        if kind == BOOK:
            step_quote(state, t_us, first, second)
        else:
            step_trade(state, t_us, first, second, kind)
    return len(events) / (time.perf_counter() - begin)


def technical_rate(events: list[Event]) -> float:
    """One pass over the trades among ``events`` with a row at each whole second, trades/s."""
    trades = [event for event in events if event[3] != BOOK]
    state = technical.init(Instrument(), SECOND)
    row = zeros(technical.FEATURES)
    step_trade, emit = technical.step_trade, technical.emit
    boundary = events[0][0] // SECOND * SECOND + SECOND
    begin = time.perf_counter()
    for t_us, price, size, _ in trades:
        while t_us > boundary:
            emit(state, boundary, row)
            boundary += SECOND
        step_trade(state, t_us, price, size)
    return len(trades) / (time.perf_counter() - begin)


def measure(size: int) -> None:
    """Print the best of a few passes over ``size`` events; the first one, which may compile, does not count."""
    events = feed(size)
    for name, rate in (("order_flow_kernel", order_flow_rate), ("technical_kernel", technical_rate)):
        rate(events[:1000])
        record = {
            "bench": name if COMPILED else f"{name}_python",
            "size": size,
            "ours": round(max(rate(events) for _ in range(ROUNDS))),
            "peer_name": None,
            "peer": None,
            "ratio": None,
            "unit": "events/s",
        }
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    measure(100_000)
    if COMPILED:
        subprocess.run([sys.executable, "-m", "bench.trade_kernel"], env={**os.environ, "TFS_NUMBA": "0"}, check=True)

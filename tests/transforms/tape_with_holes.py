"""A random market, cuts of its trades, and the rows of an engine with and without them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from math import isnan
from typing import NamedTuple

from transforms.catalog import ORDER_FLOW, TECHNICAL
from transforms.engine import Engine
from transforms.instrument import Instrument
from transforms.kernel import SECOND_US

Hole = tuple[int, int]
"""Time of the last trade known before, 0 where there is none, and of the first one known after, µs."""
Rows = dict[int, dict[str, dict[str, float]]]
"""Grid time, view, feature."""


RECURSIVE = {
    "rsi_14", "ema_12", "ema_26", "ema_dev_bps", "macd", "macd_signal", "macd_hist", "atr_14", "natr_14",
}  # fmt: skip
VALID = {"order_flow": "trade_valid", "technical": "trade_valid_bars"}
FLAGS = {*VALID.values(), "session_complete"}


class Trade(NamedTuple):
    """A trade; side 0 where the venue gives none."""

    t_us: int
    price: float
    size: float
    side: int


class Book(NamedTuple):
    """A book of one level, 1 wide, around ``mid``."""

    t_us: int
    mid: float


Event = Trade | Book


def market(rng: random.Random, start_us: int, hours: float, rate: float, sided: float) -> list[Event]:
    """Return ``rate`` trades a second, a share ``sided`` of them with a side, with silences and ties, and a book before half of them."""
    tape: list[Event] = []
    t_us, mid = start_us, 100.0
    while t_us < start_us + hours * 3600 * SECOND_US:
        pause_s = rng.expovariate(rate) + (rng.uniform(10, 400) if rng.random() < 0.002 else 0.0)
        t_us += round(pause_s * 1000) * 1000 if rng.random() < 0.8 else 0
        mid = max(2.0, mid + rng.choice((-0.5, 0, 0, 0, 0.5)))
        if rng.random() < 0.5:
            tape.append(Book(t_us, mid))
        side = rng.choice((1, -1)) if rng.random() < sided else 0
        tape.append(Trade(t_us, mid + rng.choice((-0.5, 0, 0.5)), rng.choice((1.0, 2.0, 5.0)), side))
    return sorted(tape, key=lambda e: (e.t_us, isinstance(e, Trade)))


def cut(rng: random.Random, tape: Sequence[Event], cuts: int, longest_s: float) -> tuple[list[Event], list[Hole]]:
    """Take trades away at ``cuts`` places, from one trade to ``longest_s`` of them; return what is left, and the holes."""
    places = [i for i, event in enumerate(tape) if isinstance(event, Trade)]
    gone: set[int] = set()
    for first in rng.sample(places, cuts):
        end_us = tape[first].t_us + rng.choice((0.0, 2.0, longest_s)) * rng.random() * SECOND_US
        gone.update(i for i in places if i == first or (i > first and tape[i].t_us <= end_us))
    return [event for i, event in enumerate(tape) if i not in gone], holes_of(tape, gone)


def holes_of(tape: Sequence[Event], gone: set[int]) -> list[Hole]:
    """Return the holes that the missing trades leave."""
    holes: list[Hole] = []
    since_us, open_hole = 0, False
    for i, event in enumerate(tape):
        if not isinstance(event, Trade):
            continue
        if i in gone:
            open_hole = True
            continue
        if open_hole:
            holes.append((since_us, event.t_us))
        since_us, open_hole = event.t_us, False
    if open_hole:
        holes.append((since_us, tape[-1].t_us + SECOND_US))
    return holes


def rows(
    tape: Sequence[Event],
    holes: Sequence[Hole],
    instrument: Instrument,
    grid_us: int = SECOND_US,
    told_after_us: int = -1,
) -> Rows:
    """Return the rows of both views of trades; a hole is told at its begin, or ``told_after_us`` after its end."""
    engine = Engine(instrument, grid_us)
    told = [(hole[0] if told_after_us < 0 else hole[1] + told_after_us, hole) for hole in holes]
    events = sorted([(event.t_us, isinstance(event, Trade), event) for event in tape], key=lambda e: e[:2])
    out: Rows = {}
    boundary_us = -(-tape[0].t_us // grid_us) * grid_us
    for t_us, is_trade, event in events:
        while boundary_us < t_us:
            while told and told[0][0] <= boundary_us:
                engine.lose_trades(*told.pop(0)[1])
            out[boundary_us] = {
                view.name: dict(zip(view.names, map(float, row), strict=True))
                for view, row in engine.emit(boundary_us)
                if view in (ORDER_FLOW, TECHNICAL)
            }
            boundary_us += grid_us
        while told and told[0][0] <= t_us and is_trade:
            engine.lose_trades(*told.pop(0)[1])
        if isinstance(event, Trade):
            engine.trade(*event)
        else:
            engine.book(t_us, [(event.mid - 0.5, 1.0)], [(event.mid + 0.5, 1.0)])
    return out


def differences(whole: Rows, cut_rows: Rows) -> Counter[str]:
    """Count by feature the values that are neither those of the whole run nor null; indicators may differ where they are marked."""
    found: Counter[str] = Counter()
    for t_us, views in cut_rows.items():
        for view, row in views.items():
            expected = whole[t_us].get(view)
            assert expected is not None, "a row that the whole run does not have"
            for name, value in row.items():
                if isnan(value) or name in FLAGS or value == expected[name]:
                    continue
                if name in RECURSIVE:
                    near = abs(value - expected[name]) <= 1e-5 * max(1.0, abs(expected[name]))
                    if row[VALID[view]] == 0.0 or near:
                        continue
                found[name] += 1
    return found

"""Random holes in the trades of several symbols, against sums over all trades: each value is that of all of them or null, and when."""

from __future__ import annotations

from bisect import bisect_right
from random import Random
from typing import NamedTuple

import pytest

from ingest.messages.kinds import Gap, Tick, Trade
from ingest.worker.partition import Partition

from .log import CONF, T0, Log

SECONDS = 420
SYMBOLS = ("A", "B", "C")
WINDOWS = {
    "delta_volume_1s": 1,
    "trade_count_1m": 60,
    "buy_volume_1m": 60,
    "delta_volume_1m": 60,
    "delta_volume_5m": 300,
}
Entry = tuple[str, Trade | Gap | Tick]


class Tape(NamedTuple):
    """All trades of a symbol, what its log has, each part with a time, and the holes that the log tells, in ms."""

    trades: list[Trade]
    log: list[tuple[int, list[Entry]]]
    holes: list[tuple[int, int]]


def market(rng: Random, symbol: str) -> list[Trade]:
    at, trades = T0 + 10, []
    while at < T0 + SECONDS * 1000:
        side = rng.choice(("buy", "sell"))
        trades.append(Trade(at, symbol, 100.0, rng.choice((0.5, 1.0, 3.0)), side, 7 + len(trades), at + 3))
        at += rng.choice((0, 1, 90, 200, 400, 1500))
    return trades


def told(rng: Random, trades: list[Trade], cuts: int) -> Tape:
    """Cut runs of trades out of the log; some of them come back in order, in part, or too late, and what is missing is told."""
    firsts = sorted(rng.sample(range(5, len(trades) - 40, 45), cuts))
    log: list[tuple[int, list[Entry]]] = []
    holes: list[tuple[int, int]] = []
    i = 0
    while i < len(trades):
        known = trades[i]
        if not firsts or i < firsts[0]:
            part: list[Entry] = [("trade", known)]
            if rng.random() < 0.05:
                part.append(("trade", known))  # a repeat
            log.append((known.timestamp, part))
            i += 1
            continue
        end = firsts.pop(0) + rng.choice((1, 3, 30))
        gone = trades[i:end]
        back = {"all": gone, "none": [], "part": [one for one in gone if rng.random() < 0.4]}[
            rng.choice(("all", "none", "none", "part"))
        ]
        after = trades[end]
        before, part = trades[i - 1], []
        if len(gone) > 10 and rng.random() < 0.5 and not back:  # the worker misses the feed
            part += [
                ("tick", Tick(t, after.symbol, lost=True))
                for t in range(before.timestamp + 2000, after.timestamp - 500, 700)
            ]
        missing = 0
        for one in [*gone, after]:
            if one is not after and one not in back:
                missing += 1
                continue
            if missing:
                gap = Gap(one.timestamp, one.symbol, channel="trade", since=before.timestamp, missing=missing)
                holes.append((before.timestamp, one.timestamp))
                part.append(("gap", gap))
                missing = 0
            if one is not after:
                part.append(("trade", one))
            before = one
        log.append((after.timestamp, [*part, ("trade", after)]))
        if rng.random() < 0.5:
            log.append((after.timestamp, [("trade", one) for one in gone]))  # too late, or once more
        i = end + 1
    return Tape(trades, log, holes)


def expected(tape: Tape, name: str, t_ms: int) -> float | None:
    """The sum over the window ``(t - W, t]``, None where it began before the first trade or contains a hole."""
    begin = t_ms - 1000 * WINDOWS[name]
    is_whole = all(since > t_ms or begin >= until for since, until in tape.holes)
    if begin < tape.trades[0].timestamp or not is_whole:
        return None
    first, last = (bisect_right(tape.trades, at, key=lambda one: one.timestamp) for at in (begin, t_ms))
    seen = tape.trades[first:last]
    if name == "trade_count_1m":
        return float(len(seen))
    if name == "buy_volume_1m":
        return sum(one.size for one in seen if one.side == "buy")
    return sum(one.size if one.side == "buy" else -one.size for one in seen)


@pytest.mark.parametrize("seed", range(2))
def test_each_sum_is_that_of_all_trades_or_null_exactly_while_it_contains_a_hole(seed: int) -> None:
    rng = Random(seed)
    tapes = {symbol: told(rng, market(rng, symbol), cuts=4) for symbol in SYMBOLS}
    parts = sorted((one for tape in tapes.values() for one in tape.log), key=lambda one: one[0])
    log, found = Log(), {}
    checkpoint: dict[bytes, bytes] = {}
    refused: set[str] = set()

    def take() -> None:
        pending = log.partition.take_pending()
        refused.update(str(why.reason) for _, why in pending.dead)
        batch = pending.batches["order_flow"]
        if len(batch):
            rows = batch.columns()
            for symbol, t_us, values in zip(rows.symbols, rows.event_us.tolist(), rows.values.tolist(), strict=True):
                assert (symbol, t_us // 1000) not in found
                found[symbol, t_us // 1000] = dict(zip(rows.view.names, values, strict=True))

    for at, part in parts:
        log.arrived_ms = at + 5
        for entry in part:
            log.append(entry)
            if rng.random() < 0.01:
                take()
                taker = Partition(0, CONF)
                checkpoint |= log.partition.save()
                assert taker.restore(checkpoint) == {}
                log.partition = taker
    take()
    nulls = sums = 0
    for (symbol, t_ms), row in found.items():
        tape = tapes[symbol]
        for name in WINDOWS:
            right = expected(tape, name, t_ms)
            assert row[name] == right or (right is None and row[name] != row[name]), (
                symbol,
                t_ms - T0,
                name,
                row[name],
                right,
            )
            nulls, sums = nulls + (right is None), sums + (right is not None)
        assert row["trade_valid"] == all(since > t_ms for since, _ in tape.holes), "the session is the longest window"
    assert len(found) > 3 * (SECONDS - 10)
    assert min(nulls, sums) > 1000
    assert refused == {"late", "duplicate"}

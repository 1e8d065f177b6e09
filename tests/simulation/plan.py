"""A schedule: the messages, the settings, and the faults of one simulation, all drawn from a seed before it begins."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.kinds import Clock, Gap, Hold, OrderBook, SocialPost, Trade
from ingest.settings import Settings
from tests.simulation.faults import draw_faults, hand_over, losses, pauses, raising, split
from tests.simulation.schedule import (
    BOUNDS_MS,
    BUSY,
    FALSE,
    FEEDS,
    FOLLOW,
    HANDED,
    KAFKA,
    OF_KAFKA,
    PLAIN,
    RAISED,
    SECOND,
    SPLIT,
    START_US,
    SYMBOLS,
    Plan,
    Sent,
)
from transforms.instrument import Instrument

FOLLOWERS = {"D": Instrument(leader="A", asset="D"), "B": Instrument(leader="A", pair="D"), "E": Instrument(asset="D")}


def draw(seed: int) -> Plan:
    """Return the schedule of a seed."""
    rng = random.Random(seed)
    has_posts, has_kafka, has_plain = rng.random() < 0.35, rng.random() < 0.25, rng.random() < 0.6
    end_us = START_US + rng.randrange(4, 11) * SECOND
    symbols = SYMBOLS[: rng.randrange(2, 5)]
    settings = Settings(
        partitions=2,
        allowed_lateness_ms=rng.choice((100, 250, 250, 500)),
        idle_after_ms=rng.choice((500, 800, 1000, 2000)),
        flush_interval_ms=rng.choice((1, 50, 200)),
        max_symbols=rng.choice((1, 2, 1000, 1000, 1000, 1000)),
        forget_s=rng.choice((1, 3, 3600)),
        recover_s=rng.choice((0, 2, 20)),
        log_history_s=rng.choice((0, 0, 3600)),
        features_maxlen=rng.choice((3, 1000)),
    )
    if seed % 10 in FOLLOW or seed % 20 == RAISED:
        settings = replace(settings, instruments=FOLLOWERS)
    is_of_kafka = seed % 10 == OF_KAFKA
    sources = [KAFKA] if is_of_kafka else [FEEDS[0]] * 2 + [FEEDS[1]] + [PLAIN] * (2 * has_plain) + [KAFKA] * has_kafka
    sent: list[Sent] = []
    for symbol in symbols:
        if seed % 10 != BUSY or symbol != symbols[0]:
            sent += _market(rng, symbol, rng.choice(sources), settings, end_us)
            sent += _contract(random.Random(f"{seed} {symbol}"), symbol, sent[-1].source, end_us)
    if has_posts:
        sent += _posts(rng, symbols, rng.choice([*sources, PLAIN]), end_us)
    is_busy = seed % 10 == BUSY
    if seed % 10 == FALSE:
        settings = replace(settings, max_symbols=1)
        sent += [_impossible(rng, one) for one in sent if one.kind == "trade" and rng.random() < 0.5]
    if is_busy:
        sent += _busy(rng, symbols[0], end_us)
    sent.sort(key=lambda one: one.at_us)
    used = {one.source for one in sent}
    processes = [name for name in (*FEEDS, PLAIN) if name in used]
    roles = ["worker", "writer"] + ["router"] * (PLAIN in used) + ["scorer"] * has_posts + ["kafka"] * (KAFKA in used)
    processes += [f"{role} 0" for role in roles]
    processes += [f"{role} 1" for role in roles if rng.random() < (0.7 if role == "worker" else 0.4)]
    lazy_us, uptime_us = rng.choice((100_000, 250_000, 400_000)), rng.choice((0, 100, 100)) * SECOND
    faults = draw_faults(rng, processes, symbols, end_us) + pauses(rng, is_busy) + losses(rng, is_of_kafka, end_us)
    if seed % 10 == HANDED:
        faults = [fault for fault in faults if fault.kind not in ("settings", "version")]
        faults += hand_over(seed, [name for name in processes if name.startswith("worker")], end_us)
        settings = replace(settings, max_symbols=1000, forget_s=3600)
    if seed % 10 == RAISED:
        faults = [fault for fault in faults if fault.kind not in ("settings", "version")]
        faults += raising(seed, processes, end_us)
        settings = replace(settings, max_symbols=1000)
    is_split = seed % 10 in SPLIT
    if is_split:
        faults = split(rng, faults, end_us)
    return Plan(
        seed,
        settings,
        lazy_us=lazy_us,
        uptime_us=uptime_us,
        processes=tuple(processes),
        sent=tuple(sent),
        faults=tuple(sorted(faults, key=lambda f: f.at_us)),
        end_us=end_us,
        symbols=symbols,
        is_split=is_split,
        is_busy=is_busy,
    )


def _times(rng: random.Random, n: int, end_us: int) -> list[int]:
    """Return times of sending: some evenly, some in bursts, with silences between."""
    first = START_US + SECOND // 2
    found: list[int] = []
    while len(found) < n:
        at = rng.randrange(first, end_us)
        burst = rng.choice((1, 1, 1, 3, 6))
        step = rng.choice((0, 1000, 20_000, 120_000))
        found += [min(at + i * step, end_us) for i in range(burst)]
    return sorted(found)


def _market(rng: random.Random, symbol: str, source: str, settings: Settings, end_us: int) -> list[Sent]:
    newest = sequence = 0
    has_clock = rng.random() < 0.5
    has_sequence, is_recorded = rng.random() < 0.5, source == PLAIN and rng.random() < 0.15
    found: list[Sent] = []
    for n, at_us in enumerate(_times(rng, rng.randrange(4, 22), end_us), 1):
        now_ms = at_us // 1000
        t = now_ms - rng.randrange(BOUNDS_MS)
        if newest and rng.random() < 0.2:
            t = max(newest, now_ms - BOUNDS_MS)  # the same time again, where it is not long ago
        if rng.random() < 0.06:
            t -= settings.allowed_lateness_ms + rng.randrange(2000)
        is_sound = t >= max(newest - min(settings.allowed_lateness_ms, 100), now_ms - BOUNDS_MS)
        newest = max(newest, t)
        price, size = 100.0 + rng.randrange(40) / 4, n / 64 + SYMBOLS.index(symbol)
        what = rng.random()
        if what < 0.5:
            sequence += 1
            bids = [(price - i / 4, size + i) for i in range(rng.choice((1, 3)))]
            asks = [(price + (i + 1) / 4, size + i) for i in range(rng.choice((1, 3)))]
            message: Any = OrderBook(t, symbol, bids, asks, sequence if has_sequence else None, now_ms)
            kind = "book"
        elif what < 0.9 or source not in FEEDS:
            message, kind = Trade(t, symbol, price, size, rng.choice(("buy", "sell", None)), n, now_ms), "trade"
            if rng.random() < 0.1:
                message.trade_id = max(n - 1, 1)
        else:
            kind, message = _of_a_feed(rng, symbol, n, t, now_ms, newest if has_clock else 0)
        found.append(Sent(at_us, source, kind, message, is_sound, is_recorded))
    return found


def _contract(rng: random.Random, symbol: str, source: str, end_us: int) -> list[Sent]:
    """Return what a venue tells of some contracts, often later than it tells the market; no two are of equal bytes."""
    found = []
    for n, at_us in enumerate(_times(rng, rng.choice((0, 0, 3, 8)), end_us), 1):
        now_ms = at_us // 1000
        t = now_ms - rng.randrange(BOUNDS_MS) - rng.choice((0, 0, 400, 3000))
        kind, message = rng.choice(
            (
                ("derivatives", Derivatives(t, symbol, 100.0 + n / 64, 100.0, received=now_ms)),
                ("derivatives", Derivatives(t, symbol, open_interest=10.0 + n / 64, received=now_ms)),
                ("liquidation", Liquidation(t, symbol, rng.choice(("buy", "sell")), 100.0, n / 64, now_ms)),
            )
        )
        found.append(Sent(at_us, source, kind, message))
    return found


def _impossible(rng: random.Random, like: Sent) -> Sent:
    """Return a trade that every worker refuses, some time before another one of its symbol."""
    at_us = max(like.at_us - rng.randrange(4 * SECOND), START_US + SECOND // 2)
    bad = Trade(at_us // 1000, like.message.symbol, 100.0, -like.message.size, received=at_us // 1000)
    return replace(like, at_us=at_us, message=bad, is_sound=False)


def _busy(rng: random.Random, symbol: str, end_us: int) -> list[Sent]:
    """Return many books and few trades of a symbol, in order, for the plain streams."""
    found = []
    for n in range(rng.randrange(30, 60)):
        at_us = START_US + SECOND + n * rng.choice((25_000, 35_000))
        t, size = at_us // 1000 - 5, n / 64
        if n % 8:
            message: Any = OrderBook(t, symbol, [(100.0, 1 + size)], [(101.0, 1 + size)], received=t + 5)
        else:
            message = Trade(t, symbol, 100.5, 1 + size, "buy", n + 1, t + 5)
        found.append(Sent(min(at_us, end_us), PLAIN, "book" if n % 8 else "trade", message))
    return sorted(found, key=lambda one: one.at_us)


def _of_a_feed(rng: random.Random, symbol: str, n: int, t: int, now_ms: int, newest: int) -> tuple[str, Any]:
    """Return what only live feeds send: a clock or a hold, where the feed has a clock, or a gap. No two are of equal bytes."""
    what = rng.choice(("clock", "clock", "hold", "gap")) if newest else "gap"
    if what == "clock":
        return what, Clock(newest, [symbol], received=now_ms + n)
    if what == "hold":
        return what, Hold(t, symbol, t + rng.choice((0, 700, 3000)), now_ms + n)
    if rng.random() < 0.5:
        return "gap", Gap(
            t, symbol, now_ms + n, channel="trade", since=t - rng.randrange(600), missing=rng.choice((None, 3))
        )
    return "gap", Gap(t, symbol, now_ms + n)


def _posts(rng: random.Random, symbols: Sequence[str], source: str, end_us: int) -> list[Sent]:
    found = []
    for n, at_us in enumerate(_times(rng, rng.randrange(2, 9), end_us), 1):
        now_ms = at_us // 1000
        named = rng.sample(symbols, rng.choice((1, 2)))
        is_gone = n > 2 and rng.random() < 0.2
        number = n - 1 if is_gone else n
        text = rng.choice(("good", "bad", "", f"post {n}"))
        post = SocialPost(
            now_ms - 20, f"p{number}", text or "x", "sim", "me", n, 1, 0, 9, now_ms, named, now_ms, is_gone
        )
        found.append(Sent(at_us, source, "social", post))
    return found

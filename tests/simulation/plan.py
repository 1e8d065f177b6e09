"""A schedule: the messages, the settings, and the faults of one simulation, all drawn from a seed before it begins."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ingest.messages.kinds import Clock, Gap, Hold, OrderBook, SocialPost, Trade
from ingest.settings import Settings

START_US = 1_700_000_000_000_000
SECOND = 1_000_000
SYMBOLS = ("A", "D", "B", "E")  # two in each partition
FEEDS = ("feed 0", "feed 1")
PLAIN, KAFKA = "producer", "kafka"
BUSY = 9  # schedules of seeds that end so have a busy producer
BOUNDS_MS = 90  # how far a sound message lies behind its sending


@dataclass(frozen=True, slots=True)
class Sent:
    """A message and when its source sends it.

    ``is_sound`` says that nothing may refuse it as late: it is not behind what its source sent before, by more than is allowed.
    """

    at_us: int
    source: str
    kind: str
    message: Any
    is_sound: bool = True
    is_recorded: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at a time, to whom, and how; ``about`` has the numbers of its kind."""

    at_us: int
    kind: str
    target: str = ""
    about: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return " ".join(str(part) for part in (self.kind, self.target, *self.about) if part != "")


@dataclass(frozen=True)
class Plan:
    """One schedule."""

    seed: int
    settings: Settings
    lazy_us: int
    uptime_us: int
    processes: tuple[str, ...]
    sent: tuple[Sent, ...]
    faults: tuple[Fault, ...]
    end_us: int
    symbols: tuple[str, ...] = field(default=())
    is_busy: bool = False  # a producer sends many books, and appends what it kept in one pipeline

    def without(self, faults: Sequence[Fault] = (), sent: Sequence[Sent] = ()) -> Plan:
        """Return the plan without some of its faults and messages."""
        return replace(
            self,
            faults=tuple(fault for fault in self.faults if fault not in faults),
            sent=tuple(one for one in self.sent if one not in sent),
        )


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
    sources = [FEEDS[0]] * 2 + [FEEDS[1]] + [PLAIN] * (2 * has_plain) + [KAFKA] * has_kafka
    sent: list[Sent] = []
    for symbol in symbols:
        if seed % 10 != BUSY or symbol != symbols[0]:
            sent += _market(rng, symbol, rng.choice(sources), settings, end_us)
    if has_posts:
        sent += _posts(rng, symbols, rng.choice([*sources, PLAIN]), end_us)
    is_busy = seed % 10 == BUSY
    if is_busy:
        sent += _busy(rng, symbols[0], end_us)
    sent.sort(key=lambda one: one.at_us)
    used = {one.source for one in sent}
    processes = [name for name in (*FEEDS, PLAIN) if name in used]
    roles = ["worker", "writer"] + ["router"] * (PLAIN in used) + ["scorer"] * has_posts + ["kafka"] * (KAFKA in used)
    processes += [f"{role} 0" for role in roles]
    processes += [f"{role} 1" for role in roles if rng.random() < (0.7 if role == "worker" else 0.4)]
    return Plan(
        seed,
        settings,
        lazy_us=rng.choice((100_000, 250_000, 400_000)),
        uptime_us=rng.choice((0, 100, 100)) * SECOND,
        processes=tuple(processes),
        sent=tuple(sent),
        faults=tuple(sorted(_faults(rng, processes, symbols, end_us) + _pauses(rng, is_busy), key=lambda f: f.at_us)),
        end_us=end_us,
        symbols=symbols,
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
        is_sound = t >= newest - min(settings.allowed_lateness_ms, 100) and t > now_ms - 2 * BOUNDS_MS
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


def _pauses(rng: random.Random, is_busy: bool) -> list[Fault]:
    """Let the router or the server be away while a busy producer sends."""
    if not is_busy:
        return []
    us, at_us = rng.choice((900_000, 1_500_000, 2_500_000)), START_US + SECOND + rng.randrange(SECOND)
    kind, target = rng.choice((("freeze", "router 0"), ("crash", "router 0"), ("down", "server"), ("full", "server")))
    return [Fault(at_us, kind, target, (us,))]


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


_CALLS = (
    "lose call",
    "lose answer",
    "lose answer",
    "late call",
    "late call",
    "cut pipeline",
    "freeze before",
    "freeze after",
    "crash before",
    "crash after",
)
_SCRIPTS = {"worker": ("commit", "commit", "write", "beat", "renew_lease", "acquire_lease", ""), "scorer": ("move", "")}


def _faults(rng: random.Random, processes: Sequence[str], symbols: Sequence[str], end_us: int) -> list[Fault]:
    """Draw faults; each schedule has some kinds only, because many kinds at once hide each other."""
    groups = [group for group in _GROUPS if rng.random() < 0.3]
    found: list[Fault] = []
    if not groups:
        return found
    targets = [name for name in processes if not name.startswith(PLAIN)]
    workers = [name for name in processes if name.startswith("worker")]
    for _ in range(rng.choice((1, 2, 3, 5, 8))):
        at_us = rng.randrange(START_US + SECOND // 5, end_us)
        group = rng.choice(groups)
        if group == "calls":
            for _ in range(rng.choice((1, 2, 4))):
                target = rng.choice(targets if rng.random() < 0.5 else workers)
                script = rng.choice(_SCRIPTS.get(target.split()[0], ("move", "")))
                us = rng.choice((100_000, 300_000, 1_000_000, 2_500_000, 7_000_000))
                wait_us = rng.choice((10_000, 300_000, 5_000_000))
                found.append(Fault(at_us, "call", target, (rng.choice(_CALLS), script, us, wait_us)))
                at_us += rng.choice((0, 200_000, 3_000_000))
        elif group == "processes":
            kind = rng.choice(("crash", "crash", "stop", "freeze"))
            us = rng.choice((50_000, 500_000, 2_500_000, 6_000_000))
            found.append(Fault(at_us, kind, rng.choice(targets), (us,)))
        elif group == "server":
            kind = rng.choice(("down", "down", "hang", "older", "failover", "full"))
            us = rng.choice((20_000, 300_000, 900_000, 3_000_000, 10_000_000))
            age = rng.choice((1_000, 20_000, 200_000, 1_500_000, 4_000_000))
            found.append(Fault(at_us, kind, "server", (us, age) if kind in ("older", "failover") else (us,)))
        elif group == "database":
            kind = rng.choice(("away", "fails", "stored without an answer"))
            found.append(Fault(at_us, kind, "database", (rng.choice((100_000, 2_000_000, 6_000_000)),)))
        elif group == "clocks":
            if rng.random() < 0.5:
                us = rng.choice((-5_000_000, 3_000_000, 7_000_000, 3_600_000_000))
                found.append(Fault(at_us, "clock", rng.choice(workers), (us,)))
            else:
                found.append(Fault(at_us, "clock", "server", (rng.choice((-700_000, -2_500_000, -3_600_000_000)),)))
        elif group == "takeover":
            found += _takeover(rng, at_us, workers, symbols)
        elif group == "upgrades":
            found.append(Fault(at_us, *_upgrade(rng, workers, symbols)))
        else:
            found.append(Fault(at_us, "retry", "operator"))
    return found


_GROUPS = ("calls", "calls", "processes", "server", "server", "database", "clocks", "takeover", "upgrades", "letters")


def _takeover(rng: random.Random, at_us: int, workers: Sequence[str], symbols: Sequence[str]) -> list[Fault]:
    """Let an owner sleep, or its bytes be late, beyond its lease; the next one may have other settings, and the first a wrong clock."""
    old, new = rng.choice(workers), rng.choice(workers)
    script, us = rng.choice(("write", "commit", "commit", "")), rng.choice((2_300_000, 4_000_000, 7_000_000))
    call = rng.choice(("freeze before", "freeze before", "late call", "freeze after"))
    found = [Fault(at_us, "call", old, (call, script, us, rng.choice((10_000, 300_000))))]
    if rng.random() < 0.5:
        found.append(Fault(at_us, "clock", old, (rng.choice((7_000_000, -5_000_000)),)))
    if new != old and rng.random() < 0.7:
        found.append(Fault(at_us, *_upgrade(rng, [new], symbols)))
    return found


def _upgrade(rng: random.Random, workers: Sequence[str], symbols: Sequence[str]) -> tuple[str, str, tuple[Any, ...]]:
    target, us = rng.choice(workers), rng.choice((50_000, 1_000_000, 3_000_000))
    how = rng.choice(("crash", "stop"))
    if rng.random() < 0.3:
        return "version", target, (how, us, rng.choice(("2", "1")))
    change: Any = rng.choice(
        (
            ("allowed_lateness_ms", rng.choice((100, 250, 1000))),
            ("symbols", frozenset(symbols[: rng.randrange(1, len(symbols) + 1)])),
            ("max_symbols", rng.choice((1, 2, 1000))),
        )
    )
    return "settings", target, (how, us, change)

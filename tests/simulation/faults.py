"""The faults of a schedule, drawn from its seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.simulation.schedule import NEWCOMER, PLAIN, RAISER, SECOND, START_US, Fault


def pauses(rng: random.Random, is_busy: bool) -> list[Fault]:
    """Let the router or the server be away while a busy producer sends."""
    if not is_busy:
        return []
    us, at_us = rng.choice((900_000, 1_500_000, 2_500_000)), START_US + SECOND + rng.randrange(SECOND)
    kind, target = rng.choice((("freeze", "router 0"), ("crash", "router 0"), ("down", "server"), ("full", "server")))
    return [Fault(at_us, kind, target, (us,))]


def losses(rng: random.Random, is_of_kafka: bool, end_us: int) -> list[Fault]:
    """Let a failover lose offsets of Kafka when few records come any more."""
    if not is_of_kafka:
        return []
    age = rng.choice((200_000, 1_500_000, 4_000_000))
    return [Fault(end_us - rng.randrange(SECOND), "failover", "server", (rng.choice((1000, 20_000)), age))]


def hand_over(seed: int, workers: Sequence[str], end_us: int) -> list[Fault]:
    """Let a worker with other kernels take over, and let it and the owners die and sleep on the way. It has a generator of its own."""
    rng = random.Random(f"hand over {seed}")
    at_us = START_US + SECOND + rng.randrange(max(end_us - START_US - 2 * SECOND, SECOND))
    found = [Fault(at_us, "hand over", NEWCOMER)]
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        target = rng.choice((NEWCOMER, NEWCOMER, *workers))
        script = rng.choice(("ask_lease", "give_lease", "acquire_lease", "commit", "commit", "write", "beat", ""))
        us = rng.choice((100_000, 1_000_000, 2_500_000, 7_000_000))
        then_us = at_us + 100_000 + rng.randrange(2 * SECOND)
        found.append(Fault(then_us, "call", target, (rng.choice(_CALLS), script, us, rng.choice((10_000, 300_000)))))
    return found


def raising(seed: int, processes: Sequence[str], end_us: int) -> list[Fault]:
    """Let the number of partitions be raised, and let parts die and sleep on the way. It has a generator of its own."""
    rng = random.Random(f"raising {seed}")
    at_us = START_US + SECOND + rng.randrange(max(end_us - START_US - SECOND, SECOND))
    found = [Fault(at_us, "raise", RAISER, (rng.choice((4, 6)),))]
    workers = [name for name in processes if name.startswith("worker")]
    targets = [name for name in processes if not name.startswith(PLAIN)]
    for _ in range(rng.choice((0, 1, 1, 2, 3, 4))):
        target = rng.choice((*workers, rng.choice(targets)))
        is_worker = target.startswith("worker")
        script = rng.choice(
            ("turn_partition", "fill_partition", "begin_partition", "fix_partitions", "commit", "write", "")
        )
        us = rng.choice((100_000, 1_000_000, 2_500_000, 7_000_000))
        about = (rng.choice(_CALLS), script if is_worker else "", us, rng.choice((10_000, 300_000)))
        found.append(Fault(at_us + rng.randrange(SECOND), "call", target, about))
    return found


def split(rng: random.Random, faults: Sequence[Fault], end_us: int) -> list[Fault]:
    """Let failovers be of one of two masters, of which each loses a tail of its own, and let there be one at least.

    The clocks of the masters of a cluster agree, else the ids of a new master may be those of the old one.
    """
    found = [fault for fault in faults if (fault.kind, fault.target) != ("clock", "server")]
    for _ in range(rng.choice((1, 2))):
        at_us, us = rng.randrange(START_US + SECOND, end_us), rng.choice((1000, 20_000, 300_000, 3_000_000))
        found.append(Fault(at_us, "failover", "server", (us, rng.choice((20_000, 200_000, 1_500_000, 4_000_000)))))
    return [
        replace(fault, about=(*fault.about, rng.randrange(2))) if fault.kind in ("older", "failover") else fault
        for fault in found
    ]


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


def draw_faults(rng: random.Random, processes: Sequence[str], symbols: Sequence[str], end_us: int) -> list[Fault]:
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

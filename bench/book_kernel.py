"""Speed of the microstructure kernel: books folded in a second of one core, a row emitted each second of event time.

Prints one JSON object a line, ``size`` ``compiled`` and ``pure`` (plain Python), each in a process of its own. The feed is
seeded: 50 books a second of 20 levels a side, each with a few levels changed. No library that we know of computes these
features incrementally, so there is no peer. Time is the core's own.

    python -m bench.book_kernel
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time

from transforms.instrument import Instrument
from transforms.kernel import COMPILED, Vector, zeros
from transforms.limits import MAX_LEVELS
from transforms.microstructure import kernel
from transforms.microstructure.layout import empty

BOOKS_A_SECOND = 50
SECOND = 1_000_000
ROUNDS = 5


def _flat(*parts: list[float]) -> Vector:
    book = empty(MAX_LEVELS)
    book[: 4 * MAX_LEVELS] = [x for part in parts for x in part]
    return book


def feed(books: int) -> list[tuple[int, Vector]]:
    """``books`` books and their times, µs: sizes change at random levels, and now and then the whole book moves a tick."""
    rng = random.Random(7)
    best, sizes = 1_000_000, [rng.randrange(1, 1000) / 100 for _ in range(40)]
    out = []
    for i in range(books):
        if rng.random() < 0.05:
            best += rng.choice((-1, 1))
        for _ in range(4):
            sizes[rng.randrange(40)] = rng.randrange(1, 1000) / 100
        bids = [(best - level) / 100 for level in range(20)]
        asks = [(best + 1 + level) / 100 for level in range(20)]
        out.append((1_000 * SECOND + i * SECOND // BOOKS_A_SECOND, _flat(bids, sizes[:20], asks, sizes[20:])))
    return out


def books_per_second(events: list[tuple[int, Vector]]) -> float:
    """One pass over ``events`` with a row at each whole second."""
    state = kernel.init(Instrument(size_digits=2), SECOND)
    row = zeros(kernel.FEATURES)
    boundary = events[0][0] // SECOND * SECOND + SECOND
    begin = time.process_time()
    for t_us, book in events:
        while t_us > boundary:
            kernel.emit(state, boundary, row)
            boundary += SECOND
        kernel.step_book(state, t_us, book, 20, 20)
    return len(events) / (time.process_time() - begin)


def measure(books: int) -> None:
    """Print the best of a few passes over ``books`` books; the first one, which may compile, does not count."""
    events = feed(books)
    books_per_second(events[:1000])
    best = max(books_per_second(events) for _ in range(ROUNDS))
    record = {
        "bench": "book_kernel",
        "size": "compiled" if COMPILED else "pure",
        "ours": round(best),
        "peer_name": None,
        "peer": None,
        "ratio": None,
        "unit": "events/s/core",
    }
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    measure(50_000)
    if COMPILED:
        subprocess.run([sys.executable, "-m", "bench.book_kernel"], env={**os.environ, "TFS_NUMBA": "0"}, check=True)

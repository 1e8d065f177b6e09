"""A seeded tape of books and trades over four days; as a program, prints the digest of all rows and of the state after it.

Run with ``TFS_NUMBA=0`` and without: the lines must be the same.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import NamedTuple

from transforms.instrument import Instrument
from transforms.kernel import COMPILED, DAY_US, MINUTE_US, Vector, to_bytes, zeros
from transforms.order_flow import kernel

START_US = 1_723_161_254_300_000 // DAY_US * DAY_US + 23 * 60 * MINUTE_US
"""23:00 UTC: the first day is seen in part, the next ones whole."""


HOLES = {1500: 0, 1900: 3, 2100: 400}
"""For each event at which the digest has a hole in the trades, how long it is, s."""


class Quote(NamedTuple):
    """Best prices of a book; ``bid`` None where the book is not valid."""

    t_us: int
    bid: float | None
    ask: float


class Trade(NamedTuple):
    """A trade; side 0 where the venue gives none."""

    t_us: int
    price: float
    size: float
    side: int


Event = Quote | Trade


def events(count: int, seed: int) -> list[Event]:
    """``count`` events in time order: ties (books first), bursts, pauses of minutes, nights, gaps in the book.

    Every fourth of them ends in a jump to the next UTC day, the first one after a midnight at exactly 00:00.
    """
    rng = random.Random(seed)
    t, mid = START_US, 10_000
    tape: list[Event] = []
    for i in range(count):
        if i and i % (count // 4) == 0:
            t = (t // DAY_US + 1) * DAY_US
        elif rng.random() < 0.004:
            t += rng.randrange(400_000_000)
        else:
            t += rng.choice((0, 0, 1, 1_000, 100_000, 400_000, 1_000_000 - t % 1_000_000))
        kind = rng.random()
        if kind < 0.01:
            tape.append(Quote(t, None, 0.0))
        elif kind < 0.5:
            mid += rng.choice((0, 0, -1, 1, -5, 5))
            tape.append(Quote(t, (mid - 1) / 100, (mid + rng.choice((1, 2))) / 100))
        else:
            price = (mid + rng.choice((-2, -1, 0, 1, 2))) / 100
            size = rng.choice((rng.randrange(1, 10**8) / 1e8, 1e-8, 0.1, 0.004 * (i % 13), 3.0)) or 1.0
            tape.append(Trade(t, price, size, rng.choice((-1, 0, 1))))
    return sorted(tape, key=lambda e: (e.t_us, isinstance(e, Trade)))


def step(state: Vector, event: Event) -> None:
    """Fold one event of the tape in."""
    if isinstance(event, Trade):
        kernel.step_trade(state, *event)
    elif event.bid is None:
        kernel.step_quote_invalid(state, event.t_us)
    else:
        kernel.step_quote(state, event.t_us, event.bid, event.ask)


def boundaries(before_us: int, after_us: int, bucket_us: int) -> Iterator[int]:
    """Times of rows between two events: those up to 75 s after the first; at 90 s and more nothing new can show but nulls."""
    t = -(-before_us // bucket_us) * bucket_us
    while t < after_us and t <= before_us + 75_000_000:
        yield t
        t += bucket_us


def main() -> None:
    """Print a digest of rows and states for each setting."""
    tape = events(4000, seed=11)
    for instrument, bucket_us in ((Instrument(), 1_000_000), (Instrument(size_digits=3, vpin_bucket=2.5), 500_000)):
        state = kernel.init(instrument, bucket_us)
        row = zeros(kernel.FEATURES)
        digest = hashlib.sha256()
        for i, (event, following) in enumerate(zip(tape, [*tape[1:], tape[-1]], strict=True)):
            if i in HOLES:
                kernel.lose_trades(state, event.t_us, event.t_us + HOLES[i] * 1_000_000)
            step(state, event)
            for t in boundaries(event.t_us, following.t_us, bucket_us):
                kernel.emit(state, t, row)
                digest.update(to_bytes(row))
        digest.update(to_bytes(state))
        print(digest.hexdigest())
    print("compiled" if COMPILED else "plain")


if __name__ == "__main__":
    main()

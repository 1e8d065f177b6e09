"""Two days of trades with rushes, silences and a midnight, and every row of them; as a script it prints their digest.

The tests run it in the other mode (compiled or plain) in a process of its own, and compare.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator, Sequence

from transforms.catalog import TECHNICAL
from transforms.instrument import Instrument
from transforms.kernel import COMPILED, SECOND_US, Vector, to_bytes, zeros
from transforms.technical import kernel, relative_volume

START = 86_400 * 19_000 * SECOND_US + 70_000 * SECOND_US
"""19:26:40 of some day: a midnight follows."""

Trade = tuple[int, float, float]
"""Time in µs, price, size."""
Row = tuple[int, bytes]
"""Time in µs, and the row as its own bytes, so that null equals null."""


def trades(n: int, seed: int = 1) -> list[Trade]:
    """``n`` trades in order of time; some share it, some stand on a second or a minute, some follow a silence."""
    rng = random.Random(seed)
    now, price = START, 61_583.22
    out = []
    for _ in range(n):
        kind = rng.random()
        if kind < 0.1:
            now += 0
        elif kind < 0.15:
            now += -now % (rng.choice((1, 60)) * SECOND_US)
        elif kind < 0.151:
            now += rng.randrange(400 * SECOND_US)
        else:
            now += rng.randrange(1_000, 8 * SECOND_US)
        price = round(price * (1 + rng.gauss(0, 2e-5)), 2)
        out.append((now, price, round(rng.lognormvariate(-3, 2) + 1e-5, 5)))
    return out


class Run:
    """Both kernels of the view, fed trades, with a row at each second in between."""

    def __init__(self) -> None:
        self.state: Vector = kernel.init(Instrument(), SECOND_US)
        self.history: Vector = relative_volume.init(Instrument(), SECOND_US)
        self._next_us = 0

    def feed(self, some: Sequence[Trade], every: int = 1) -> Iterator[Row]:
        """Fold trades in; a row at each whole second (each ``every``-th only) that the next trade has passed."""
        for t_us, price, size in some:
            if self._next_us == 0:
                self._next_us = -(-t_us // SECOND_US) * SECOND_US
            while t_us > self._next_us:
                if self._next_us // SECOND_US % every == 0:
                    yield self.row(self._next_us)
                self._next_us += SECOND_US
            kernel.step_trade(self.state, t_us, price, size)
            relative_volume.step_trade(self.history, t_us, price, size)

    def row(self, t_us: int) -> Row:
        """The row of ``t_us``."""
        out = zeros(len(TECHNICAL.features))
        kernel.emit(self.state, t_us, out)
        relative_volume.emit(self.history, t_us, out)
        return t_us, to_bytes(out)


def digest(n: int) -> str:
    """A hash of all rows and both states in the end, with a hole in the trades after each half."""
    run = Run()
    total = hashlib.sha256()
    some = trades(n)
    for half, hole_s in ((some[: n // 2], 400), (some[n // 2 :], 0)):
        for t_us, row in run.feed(half):
            total.update(str(t_us).encode() + row)
        hole = half[-1][0], half[-1][0] + hole_s * SECOND_US
        kernel.lose_trades(run.state, *hole)
        relative_volume.lose_trades(run.history, *hole)
    total.update(to_bytes(run.state) + to_bytes(run.history))
    return total.hexdigest()


if __name__ == "__main__":
    print("compiled" if COMPILED else "plain", digest(int(sys.argv[1])))

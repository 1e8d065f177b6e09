"""Rows of the raw views with nulls and silences, normalised; as a script it prints the digest of all that comes out.

The tests run it in the other mode (compiled or plain) in a process of its own, and compare.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Sequence

from transforms import normalization
from transforms.catalog import NORMALIZED, RAW_VIEWS
from transforms.kernel import COMPILED, NAN, SECOND_US, Vector, to_bytes, vector, zeros

START = 1_700_000_000 * SECOND_US

Second = tuple[int, list[tuple[int, list[float]]]]
"""Time in µs, and the rows of that second: number of the view, values."""


def seconds(n: int, seed: int = 1) -> list[Second]:
    """``n`` seconds; some views give no row, some values are null, and now and then hours pass."""
    rng = random.Random(seed)
    now, out = START, []
    for _ in range(n):
        now += SECOND_US * rng.choice([1] * 400 + [2, 5, 30, 300, 3_000, 20_000])
        rows = [
            (i, [NAN if rng.random() < 0.02 else rng.gauss(0, 1) for _ in view.features])
            for i, view in enumerate(RAW_VIEWS)
            if rng.random() < 0.9
        ]
        out.append((now, rows))
    return out


class Run:
    """The normaliser, fed seconds."""

    def __init__(self) -> None:
        self.state: Vector = normalization.init()

    def feed(self, some: Sequence[Second]) -> list[bytes]:
        """The normalised rows, as their own bytes."""
        out = zeros(len(NORMALIZED.features))
        rows = []
        for t_us, raw in some:
            for view, values in raw:
                normalization.keep_row(self.state, t_us, view, vector(values))
            normalization.emit(self.state, t_us, out)
            rows.append(to_bytes(out))
        return rows


def digest(n: int) -> str:
    """A hash of all rows, and of the state in the end."""
    run = Run()
    rows = run.feed(seconds(n))
    return hashlib.sha256(b"".join(rows) + to_bytes(run.state)).hexdigest()


if __name__ == "__main__":
    print("compiled" if COMPILED else "plain", digest(int(sys.argv[1])))

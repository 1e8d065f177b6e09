"""A seeded tape of books, gaps and rows; as a program, prints the digest of every row and of the state after it.

Run with ``TFS_NUMBA=0`` and without: the lines must be the same.
"""

from __future__ import annotations

import hashlib
import random

from transforms.instrument import Instrument
from transforms.kernel import COMPILED, Vector, to_bytes, vector, zeros
from transforms.microstructure import kernel

START_US = 1_723_161_254_300_000


def events(count: int, seed: int) -> list[tuple[int, Vector | None, int, int]]:
    """``count`` events ``(t_us, book, n_bid, n_ask)`` in time order, ``book`` None where the book is unknown from there.

    Ties, pauses of up to 90 s, books of 1 to 20 levels, half of them with depths, sizes of 8 digits, and a gap now and then.
    """
    rng, depths = random.Random(seed), random.Random(seed + 1)
    t, mid = START_US, 100_000
    tape: list[tuple[int, Vector | None, int, int]] = []
    sizes = [rng.randrange(1, 10**10) / 1e8 for _ in range(40)]
    for _ in range(count):
        t += rng.choice((0, 1, 1_000, 40_000, 100_000, 300_000)) if rng.random() < 0.995 else rng.randrange(90_000_000)
        if rng.random() < 0.01:
            tape.append((t, None, 0, 0))
            continue
        mid += rng.choice((0, 0, 0, -1, 1, 7))
        for _ in range(3):
            sizes[rng.randrange(40)] = rng.choice((rng.randrange(1, 10**10) / 1e8, 1e-8, rng.random() * 1e12))
        n_bid, n_ask = (20, 20) if rng.random() < 0.97 else (rng.randrange(1, 21), rng.randrange(1, 21))
        step = rng.choice((1, 1, 9, 40))  # to 80 bps
        bids = [(mid - 1 - step * i) / 100 for i in range(20)]
        asks = [(mid + 1 + step * i) / 100 for i in range(20)]
        given = float(depths.random() < 0.5)
        depth = [given, *(depths.choice((depths.random() * 1e6, float("nan"))) for _ in range(6))]
        tape.append((t, vector([*bids, *sizes[:20], *asks, *sizes[20:], *depth]), n_bid, n_ask))
    return tape


def table() -> list[float]:
    """A microprice table that comes into use some way into the tape."""
    return [START_US + 20e6, 0.01, *(i / 7 - 4 for i in range(55))]


def step(state: Vector, event: tuple[int, Vector | None, int, int]) -> None:
    """Fold one event of the tape in."""
    t, book, n_bid, n_ask = event
    if book is None:
        kernel.step_invalid(state, t)
    else:
        kernel.step_book(state, t, book, n_bid, n_ask)


def main() -> None:
    """Print a digest of rows and states for each width of a bucket."""
    for bucket_us in (1_000_000, 100_000):
        state = kernel.init(Instrument(size_digits=8), bucket_us, table())
        digest = hashlib.sha256()
        boundary = (START_US // bucket_us + 1) * bucket_us
        row = zeros(kernel.FEATURES)
        for event in events(6000, seed=11):
            while event[0] > boundary:
                kernel.emit(state, boundary, row)
                digest.update(to_bytes(row) + to_bytes(state))
                boundary += bucket_us
            step(state, event)
        print(bucket_us, digest.hexdigest())


if __name__ == "__main__":
    main()
    print("compiled" if COMPILED else "plain")

"""Pseudo-random numbers as a function of (seed, index). There is no state, so any second can be made without those before it.

Only integer arithmetic, additions, multiplications and divisions are used. They give the same bits on every machine; numpy's
exponentials and sines do not.
"""

from __future__ import annotations

from math import sqrt
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_OCTAVES_MS = (3_989, 16_001, 64_007, 256_019, 1_024_021, 4_096_013, 16_384_009, 65_536_043, 262_144_009)
"""Periods of the price's waves. They are primes, so that the waves never coincide."""
_PER_ROOT_SECOND = 0.5e-4
"""Typical relative move in one second; over longer times it grows with the square root of time, as in real markets."""


def key(seed: int, *names: str | int) -> int:
    """Return a 64-bit key for one purpose."""
    state = seed & _MASK
    for name in names:
        number = crc32(name.encode()) if isinstance(name, str) else name
        state = _mix_int((state ^ number) & _MASK)
    return state


def uniform(stream: int, index: Ints) -> Floats:
    """Return a uniform number in [0, 1) for each index: splitmix64 of Steele, Lea and Flood 2014."""
    x = index.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(stream)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    result: Floats = (x >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return result


def level(stream: int, t_ms: Ints) -> Floats:
    """Return the relative deviation of the price from its base at each time, at most 6 %.

    It is a sum of smooth waves of random heights. Between two nodes a wave is ``a + (b - a)(3 f^2 - 2 f^3)``, where f is the part of
    its period that has passed.
    """
    total = np.zeros(len(t_ms))
    for octave, period in enumerate(_OCTAVES_MS):
        node = t_ms // period
        f = (t_ms - node * period) / period
        this = uniform(key(stream, octave), node) * 2.0 - 1.0
        following = uniform(key(stream, octave), node + 1) * 2.0 - 1.0
        amplitude = _PER_ROOT_SECOND * sqrt(period / 1000)
        total += amplitude * (this + (following - this) * (f * f * (3.0 - 2.0 * f)))
    return total


def _mix_int(x: int) -> int:
    x = (x + _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)

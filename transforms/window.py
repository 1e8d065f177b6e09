"""A time window as a ring of buckets, summed in time order each time it is read.

Bucket ``b`` holds the events of ``((b - 1)*width, b*width]``. When ``t`` and ``w`` are multiples of the width, the window
``(t - w, t]`` is a whole number of buckets. A running sum would collect rounding errors and depend on when the process started; a sum
over buckets does neither.

State: a ring of ``n`` buckets with ``k`` channels takes ``size(n, k)`` slots, from offset ``o``::

    o            o + BUCKETS                         o + BUCKETS + n*k
    | newest b   | k channels of bucket b at b % n | ...

Example: Sizes 2 and 3 come in seconds 7 and 9 of a ring of three seconds. At second 9 the window holds both, at 10 the newer one:

>>> from transforms.kernel import zeros
>>> ring = zeros(size(3, 1))
>>> for second, amount in ((7, 2.0), (9, 3.0)):
...     advance(ring, 0, 3, 1, second)
...     ring[slot(0, 3, 1, second)] += amount
>>> float(total(ring, 0, 3, 1, 0, 9, 3))
5.0
>>> advance(ring, 0, 3, 1, 10)
>>> float(total(ring, 0, 3, 1, 0, 10, 3))
3.0
"""

from __future__ import annotations

from transforms.kernel import Vector, jit

BUCKETS = 1
"""The first bucket stands behind the number of the newest one."""


def size(n: int, k: int) -> int:
    """Return how many slots a ring of ``n`` buckets and ``k`` channels takes."""
    return BUCKETS + n * k


@jit
def bucket(t_us: int, width_us: int) -> int:
    """Return the bucket of time ``t_us``; a bucket includes its end.

    >>> bucket(1_000_000, 1_000_000), bucket(1_000_001, 1_000_000)
    (1, 2)
    """
    return -(-t_us // width_us)


@jit
def advance(state: Vector, o: int, n: int, k: int, b: int) -> None:
    """Make ``b`` the newest bucket, and empty those between it and the newest so far."""
    newest = int(state[o])
    if b <= newest:
        return
    first = newest + 1
    if b - first >= n:
        first = b - n + 1
    for i in range(first, b + 1):
        at = o + BUCKETS + (i % n) * k
        for c in range(k):
            state[at + c] = 0.0
    state[o] = float(b)


@jit
def slot(o: int, n: int, k: int, b: int) -> int:
    """Return where the channels of bucket ``b`` begin; call ``advance`` to ``b`` first."""
    return o + BUCKETS + (b % n) * k


@jit
def total(state: Vector, o: int, n: int, k: int, c: int, b: int, w: int) -> float:
    """Return the sum of channel ``c`` over the ``w <= n`` buckets that end with ``b``, oldest first; call ``advance`` to ``b`` first."""
    first = o + BUCKETS + c
    s = 0.0
    for i in range(b - w + 1, b + 1):
        s += state[first + (i % n) * k]
    return s

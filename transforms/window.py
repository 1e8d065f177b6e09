"""A time window as a ring of buckets, summed again in time order whenever it is read.

Bucket ``b`` holds the events of ``((b - 1)*width, b*width]``, so the window ``(t - w, t]`` is whole buckets when ``t`` and ``w`` are
multiples of the width. A running sum would drift and would depend on when the process started; this one does not.

A ring of ``n`` buckets and ``k`` channels takes ``size(n, k)`` slots of a state, from offset ``o``::

    o            o + 1                          o + 1 + n*k
    | newest b   | bucket b % n: k channels | ...
"""

from __future__ import annotations

from transforms.kernel import Vector, jit


def size(n: int, k: int) -> int:
    """Slots that a ring of ``n`` buckets and ``k`` channels takes."""
    return 1 + n * k


@jit
def bucket(t_us: int, width_us: int) -> int:
    """The bucket that time ``t_us`` falls into, right-closed.

    >>> bucket(1_000_000, 1_000_000), bucket(1_000_001, 1_000_000)
    (1, 2)
    """
    return -(-t_us // width_us)


@jit
def advance(state: Vector, o: int, n: int, k: int, b: int) -> None:
    """Make ``b`` the newest bucket; the buckets between hold nothing."""
    newest = int(state[o])
    if b <= newest:
        return
    first = newest + 1
    if b - first >= n:
        first = b - n + 1
    for i in range(first, b + 1):
        at = o + 1 + (i % n) * k
        for c in range(k):
            state[at + c] = 0.0
    state[o] = float(b)


@jit
def slot(o: int, n: int, k: int, b: int) -> int:
    """Where the channels of bucket ``b`` begin; only after ``advance`` to it."""
    return o + 1 + (b % n) * k


@jit
def total(state: Vector, o: int, n: int, k: int, c: int, b: int, w: int) -> float:
    """Sum of channel ``c`` over the ``w <= n`` buckets that end with ``b``, oldest first; only after ``advance`` to ``b``."""
    s = 0.0
    for i in range(b - w + 1, b + 1):
        s += state[o + 1 + (i % n) * k + c]
    return s

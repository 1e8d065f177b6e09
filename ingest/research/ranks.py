"""Ranks, and the correlations of ranks."""

from __future__ import annotations

import math

import numpy as np

from ingest.research.frame import Floats


def ranks(values: Floats) -> Floats:
    """Return the ranks of values, from 1 on; equal values have the mean of theirs.

    >>> ranks(np.array([3.0, 1.0, 3.0, 2.0]))
    array([3.5, 1. , 3.5, 2. ])
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[first, len(values)])
    found = np.empty(len(values))
    found[order] = np.repeat(first + (sizes + 1) / 2, sizes)
    return found


def cosine(a: Floats, b: Floats) -> float:
    """Return the correlation of two vectors about zero, NaN where one of them is zero."""
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0.0 else math.nan


def spearman(a: Floats, b: Floats) -> float:
    """Return the rank correlation of two vectors without nulls, NaN where one of them is constant.

    >>> round(spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 9.0, 4.0])), 6)
    0.5
    """
    if len(a) < 2:
        return math.nan
    return cosine(centred(ranks(a)), centred(ranks(b)))


def centred(rank: Floats) -> Floats:
    """Return ranks less their mean, which is that of 1 to n."""
    return rank - (len(rank) + 1) / 2


def centred_ranks(values: Floats) -> Floats:
    """Return the centred ranks of the values that are known, scaled to (-1, 1); 0 for nulls.

    >>> centred_ranks(np.array([3.0, math.nan, 1.0]))
    array([ 0.5,  0. , -0.5])
    """
    known = ~np.isnan(values)
    found = np.zeros(len(values))
    n = int(known.sum())
    if n:
        found[known] = centred(ranks(values[known])) * (2 / n)
    return found


def z_of_t(t: float, n: int) -> float:
    """Return the value of the normal distribution that is as unlikely as `t` of Student's distribution with `n` degrees
    of freedom.

    By Wallace 1959, Bounds on normal approximations to Student's and the chi-square distributions; right to 0.02 for n
    >= 3.

    >>> round(z_of_t(2.262, 9), 2), round(z_of_t(-3.25, 9), 2)
    (1.96, -2.57)
    """
    scale = (8 * n + 1) / (8 * n + 3)
    return math.copysign(scale * math.sqrt(n * math.log1p(t * t / n)), t)


def two_sided(z: float) -> float:
    """Return the probability of a normal value farther from 0 than `z`.

    >>> round(two_sided(1.96), 3)
    0.05
    """
    return math.erfc(abs(z) / math.sqrt(2))

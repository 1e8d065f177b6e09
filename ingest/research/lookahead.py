"""Features that look into the future: what of the price's coming path they cannot have known.

A feature that is known at t tells a little of the return after t, and may tell all of the return before t. Three things
no causal feature shows.

**It tells the coming return.** At rows whose returns do not overlap, the feature, or its change over one horizon, tells
a third or more of the variance of the coming return, and less than half as much of the return that ends at the row.
Predictions of returns from order books and trades reach a few per cent; a third is the size at which order flow
explains the return of the *same* time (Cont, Kukanov and Stoikov 2014, The price impact of order book events), and what
knows so much of the coming return causally, because returns follow each other, knows more of the past one. Two measures
are taken, and the larger share counts: Spearman's correlation, and Chatterjee's coefficient, which is 1 where the
feature is any function of the return, such as its sign or its size (Chatterjee 2021, A new coefficient of correlation).
Each has to exceed its deviation under independence five times.

**Its changes end after it.** Its change from t - h to t is correlated with the returns over (t + k, t + k + h] for lags
k from -2h to h. What follows the price is nearest to the return that ends at t (k = -h) or before. The test looks for
the lag of the largest correlation: where it lies after -h, and is larger than every one up to -h in ten parts of the
frame with a t above five, the feature has followed the price of a later time. This finds what was moved by a few rows,
of which the coming return is only a small part. A causal feature would have to tell more than half of the variance of
the very next row's return to look so.

**What is new in it comes later.** Where the frame has the price itself (``mid_price``) and it agrees with the returns:
a feature's change from row to row is explained by its own two last values, the price and its last three changes. What
is left is its news. In a causal feature the news tells little of the return of any single later row; in a moving
average, a momentum or a centred window of a later time it tells all or half of one.

What is compared is prices alone: a feature that takes only volumes or texts of the future is not found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ingest.research.frame import Floats, Frame, Ints, taken
from ingest.research.information import summary
from ingest.research.profiles import PARTS, Profile, alone, changes_of, chatterjee, lags_of, news_of, profile
from ingest.research.ranks import spearman

SHARE: Final = 1 / 3
"""Of the variance of a coming return: what no causal feature tells."""
DEVIATIONS: Final = 5.0
"""A measure must exceed its deviation under independence so many times."""
PRICE: Final = "mid_price"
LATER: Final = 120
"""Later rows whose returns the third test looks at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a feature looks ahead.

    Attributes
    ----------
    horizon : int
        Of the return, in microseconds.
    ends_after : int
        Microseconds after a row's time at which the return ends that the feature, or its change, tells.
    share : float
        The share of its variance.
    text : str
    """

    horizon: int
    ends_after: int
    share: float
    text: str


def find(frame: Frame, newest: Frame | None = None) -> dict[str, Finding]:
    """Return the features that look ahead, with the strongest finding of each.

    The second and the third test read `newest`, which has every moment of its time; without it, the frame.
    """
    newest = newest or frame
    found: dict[str, Finding] = {}

    def add(name: str, one: Finding | None) -> None:
        if one is not None and (name not in found or one.share > found[name].share):
            found[name] = one

    for horizon, returns in frame.returns.items():
        changes, once = changes_of(frame, horizon), alone(frame, horizon)
        past = taken(returns, frame.at(-horizon))
        curve = profile(newest, changes_of(newest, horizon), newest.returns[horizon], lags_of(horizon, frame.step_us))
        for i, name in enumerate(frame.names):
            add(name, _told(frame.x[:, i], returns, past, once, horizon, ""))
            add(name, _told(changes[:, i], returns, past, once, horizon, "its change "))
            add(name, _moved(curve, i, horizon))
    for name, one in _with_news(newest).items():
        add(name, one)
    return found


def _with_news(frame: Frame) -> dict[str, Finding]:
    price = price_of(frame)
    if price is None:
        return {}
    step = frame.step_us
    coming = taken(price, frame.at(step)) - price
    lags = np.unique(np.round(np.linspace(0, max(frame.returns), LATER)).astype(np.int64) // step) * step
    curve = profile(frame, news_of(frame, price), coming, np.asarray(lags[lags < max(frame.returns)], np.int64))
    found = {}
    for i, name in enumerate(frame.names):
        size = np.abs(curve.whole[:, i])
        if np.isnan(size).all():
            continue
        best = int(np.nanargmax(size))
        over = summary(np.abs(curve.parts[:, best, i]))
        if size[best] ** 2 >= SHARE and over.periods >= PARTS - 1 and over.mean**2 >= SHARE:
            ends = int(curve.lags[best]) + step
            share = float(size[best] ** 2)
            told = f"its news tells {share:.0%} of the variance of the {seconds(step)} return that ends {seconds(ends)} after it"
            found[name] = Finding(step, ends, share, told)
    return found


def price_of(frame: Frame) -> Floats | None:
    """Return the frame's price where it has one that agrees with its returns."""
    if PRICE not in frame.names:
        return None
    price = frame.x[:, frame.names.index(PRICE)]
    logs = np.log(np.where(price > 0, price, np.nan))
    for horizon, given in frame.returns.items():
        own = taken(logs, frame.at(horizon)) - logs
        known = ~(np.isnan(own) | np.isnan(given))
        if known.sum() < 2 or not spearman(own[known], given[known]) > 0.9:
            return None
    return price


def _told(
    values: Floats, coming: Floats, past: Floats, once: Sequence[Ints], horizon: int, what: str
) -> Finding | None:
    """Return a finding where values tell the coming return, and far less of the past one."""
    told = _share(values, coming, once)
    if told < SHARE or _share(values, past, once, sure=False) > told / 2:
        return None
    text = f"{what}tells {told:.0%} of the variance of the return over the {seconds(horizon)} after it"
    return Finding(horizon, horizon, told, text)


def _share(values: Floats, returns: Floats, once: Sequence[Ints], *, sure: bool = True) -> float:
    """Return the share of the variance of returns that values tell; with `sure`, 0 where it may be chance."""
    sums = np.zeros(2)
    total = varied = 0.0
    for rows in once:
        known = rows[~(np.isnan(values[rows]) | np.isnan(returns[rows]))]
        if len(known) < 3:
            continue
        x, y = values[known], returns[known]
        measures = np.array([spearman(x, y), chatterjee(y, x)])
        if np.isnan(measures).any():
            continue
        n = len(known)
        total += n
        sums += n * measures
        varied = max(varied, float(n - np.unique(x, return_counts=True)[1].max()))  # of symbols, which may move as one
    if not total or not varied:
        return 0.0
    rank, function = (sums / total).tolist()
    shares = [
        (rank**2, abs(rank) * math.sqrt(varied)),
        (_as_share(function), function / math.sqrt(0.4 / varied)),  # its variance under independence is 2/(5n)
    ]
    return max(share if not sure or deviations >= DEVIATIONS else 0.0 for share, deviations in shares)


def _as_share(chance: float) -> float:
    """Return the share of variance told in normal variables with such a coefficient."""
    return min(1.0, max(0.0, 2 * math.sin(math.pi / 3 * (chance + 0.5)) - 1))


def _moved(curve: Profile, i: int, horizon: int) -> Finding | None:
    """Return a finding where the feature's changes fit a return best that ends after the row."""
    size = np.abs(curve.whole[:, i])
    past = curve.lags <= -horizon
    if np.isnan(size).all() or np.isnan(size[past]).all():
        return None
    best = int(np.nanargmax(size))
    if past[best] or not size[best] ** 2 >= SHARE:
        return None
    parts = np.abs(curve.parts[:, :, i])
    before = np.where(np.isnan(parts[:, past]), -1.0, parts[:, past]).max(axis=1)
    more = summary(np.where(before < 0, np.nan, parts[:, best] - before))
    if more.periods < PARTS - 1 or not (more.t > DEVIATIONS or (more.deviation == 0 and more.mean > 0)):
        return None
    ends = int(curve.lags[best]) + horizon
    text = (
        f"its change over {seconds(horizon)} fits the return best that ends {seconds(ends)} after it: rank correlation {size[best]:.2f}, "
        f"and at most {np.nanmax(size[past]):.2f} with those that end by then"
    )
    return Finding(horizon, ends, float(size[best] ** 2), text)


def seconds(us: int) -> str:
    """Return a time as text.

    >>> seconds(60_000_000), seconds(500_000)
    ('60 s', '0.5 s')
    """
    return f"{us / 1e6:g} s"

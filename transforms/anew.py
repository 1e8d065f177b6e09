"""Kernels that begin anew in a symbol that was heard before, because their saved state is of another version.

Such a kernel is as at the first message of a symbol: null until it can know, by its own rule. What that rule looks at may belong to other
kernels, which go on, and is told here: since when the book is known without a break, and since when trades are heard. Values that have no
such rule (``trade_rate_10s``, ``effective_spread_bps_1m``, ``kyle_lambda_5m``) are those of the trades since then, as after a start.

A kernel may take over its state of others that heard only the last part of the history, up to the same moment.
"""

from __future__ import annotations

from collections.abc import Collection

from transforms import window
from transforms.context.layout import Shape
from transforms.derivatives import told
from transforms.kernel import NAN, SECOND_US, Vector, zeros
from transforms.layouts import DERIVATIVES, layouts, places
from transforms.microstructure import layout as book
from transforms.order_flow import bucket_volume, kyle, realized_spread, roll
from transforms.order_flow import kernel as flow
from transforms.saved import States
from transforms.technical import kernel as technical
from transforms.technical import volatility

_DAYS = slice(flow.VOLUME_V + bucket_volume.DAYS, flow.VOLUME_V + bucket_volume.SIZE)


def begin(states: States, names: Collection[str]) -> None:
    """Tell kernels that have the state of a new symbol since when they hear this one: from now on."""
    of_book, of_trades = states.vectors["microstructure"], states.vectors["order_flow"]
    if "book_flow" in names:
        for k in range(book.FLOW_LEVELS):
            if of_book[book.RUN + k] > 0.0:
                of_book[book.RUN + k] = 1.0
                of_book[book.SINCE + k] = of_book[book.NEWEST]
    newest_us = of_trades[flow.NEWEST_US]
    if "trade_volume" in names:
        of_trades[flow.VOLUME_FIRST] = newest_us
    if "amihud" in names:
        of_trades[flow.AMIHUD_FIRST] = newest_us
    if "roll" in names and newest_us > 0.0:
        roll.forget(of_trades, int(of_trades[flow.ROLL_AT]))
    if "realized_spread" in names and newest_us > 0.0:
        realized_spread.begin(of_trades, int(of_trades[flow.REALIZED_AT]), newest_us)
    if "kyle" in names:  # the mid at the end of the second before is not known
        heard_us = int(max(newest_us, of_trades[flow.MIDS_US]))
        kyle.advance(of_trades, flow.KYLE, window.bucket(heard_us, SECOND_US), NAN, 0.0)
    of_prices = states.vectors["technical"]
    if "volatility" in names and of_prices[technical.NEWEST] > 0.0:
        volatility.begin(of_prices, technical.VOLATILITY, of_prices[technical.NEWEST])
    told_last = states.vectors.get(DERIVATIVES)
    if "liquidations" in names and told_last is not None and told_last[told.HEARD_US] > 0.0:
        told_last[told.HEARD_US] = max(told_last[told.HEARD_US], told_last[told.NEWEST_US])


def take_over(
    states: States, others: States, names: Collection[str], bucket_us: int, late_us: int, shape: Shape | None = None
) -> States:
    """Return ``states`` with those that kernels have in ``others``, where these heard their feed.

    A session must be the same one, and the bucket volume V of VPIN must come from the same days. ``others`` may lack messages of their
    first ``late_us``.
    """
    theirs, ours = others.vectors, states.vectors
    flow_differs = theirs["order_flow"][flow.SESSION_START] != ours["order_flow"][flow.SESSION_START]
    technical_differs = theirs["technical"][technical.SESSION_START] != ours["technical"][technical.SESSION_START]
    left = set()
    if flow_differs and "trades" not in names:
        left |= {"session", "bucket_volume", "vpin"}
    if technical_differs and "prices" not in names:
        left.add("volume_profile")
    if "bucket_volume" not in names and list(theirs["order_flow"][_DAYS]) != list(ours["order_flow"][_DAYS]):
        left.add("vpin")
    heard = {
        "microstructure": theirs["microstructure"][book.NEWEST],
        "order_flow": theirs["order_flow"][flow.FIRST_US],
        "technical": theirs["technical"][technical.NEWEST],
    }
    if DERIVATIVES not in ours and DERIVATIVES in theirs and "derivatives" in names:
        ours[DERIVATIVES] = zeros(len(theirs[DERIVATIVES]))
    if DERIVATIVES in ours:
        heard[DERIVATIVES] = theirs[DERIVATIVES][told.NEWEST_US] if DERIVATIVES in theirs else 0.0
    for part, layout in layouts(bucket_us, shape).items():
        if part not in ours or heard.get(part) == 0.0:
            continue
        for name in dict(layout).keys() & set(names) - left:
            for at in places(layout, name):
                ours[part][at] = theirs[part][at]
            if name == "book_flow" and "book" not in names:
                _shorten_runs(ours[part], theirs[part])
            if name == "trade_volume":
                ours[part][flow.VOLUME_FIRST] += late_us
            if name == "amihud":
                ours[part][flow.AMIHUD_FIRST] += late_us
            if name == "liquidations" and theirs[part][told.HEARD_US] > 0.0:
                ours[part][told.HEARD_US] = theirs[part][told.HEARD_US] + late_us
    return States(ours, others.posts if "posts" in names and others.posts.last_us else states.posts)


def _shorten_runs(ours: Vector, theirs: Vector) -> None:
    """Let the runs of books begin where the others heard them from."""
    for k in range(book.FLOW_LEVELS):
        if ours[book.RUN + k] > 0.0 and theirs[book.RUN + k] > 0.0:
            ours[book.RUN + k] = theirs[book.RUN + k]
            ours[book.SINCE + k] = theirs[book.SINCE + k]

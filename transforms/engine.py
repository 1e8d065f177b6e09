"""All kernels of one symbol: events in, rows out.

The live worker, the backfill and every test call this one class, so a feature cannot have two values. It reads no clock and does no
I/O. Events come in event-time order; ``emit(t)`` comes after every event with time <= t and before every later one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transforms import kernel as k
from transforms import normalization
from transforms.catalog import RAW_VIEWS, VIEWS, View
from transforms.instrument import Instrument
from transforms.kernel import SECOND_US, Vector
from transforms.microstructure import kernel as microstructure
from transforms.microstructure.layout import MAX_LEVELS
from transforms.microstructure.levels import fill
from transforms.microstructure.microprice import install
from transforms.order_flow import kernel as order_flow
from transforms.sentiment import kernel as posts
from transforms.sentiment.post import Post
from transforms.technical import kernel as technical
from transforms.technical import relative_volume
from transforms.validation import OK, check_book, check_ranges, ranges

VERSION = ".".join(
    str(m.VERSION) for m in (microstructure, order_flow, technical, relative_volume, posts, normalization)
)
"""Stamp of a saved state; one that differs is refused, never misread."""

_RANGES = [ranges(view) for view in VIEWS]
_TTL_US = [view.ttl_s * SECOND_US for view in RAW_VIEWS]
_NORMALIZED = len(RAW_VIEWS)
_INDEX = {view.name: i for i, view in enumerate(RAW_VIEWS)}


class VersionError(ValueError):
    """A saved state of other kernels or another grid; rebuild it from history."""


class Engine:
    """The kernels of one symbol.

    Parameters
    ----------
    instrument:
        What is known of the symbol beforehand.
    emit_us:
        The grid interval, µs: below one second a divisor of it, else whole seconds.

    Attributes
    ----------
    refused:
        For each view, how often each feature fell outside the catalogue's range and was made null.
    """

    __slots__ = (
        "_book",
        "_emit_us",
        "_flow",
        "_micro",
        "_normal",
        "_outs",
        "_posts",
        "_relative",
        "_technical",
        "refused",
    )

    def __init__(self, instrument: Instrument, emit_us: int) -> None:
        bucket_us = min(SECOND_US, emit_us)
        self._emit_us = emit_us
        self._micro = microstructure.init(instrument, bucket_us)
        self._flow = order_flow.init(instrument, bucket_us)
        self._technical = technical.init(instrument, bucket_us)
        self._relative = relative_volume.init(instrument, bucket_us)
        self._posts = posts.init(instrument, bucket_us)
        self._normal = normalization.init()
        self._book = k.zeros(4 * MAX_LEVELS)
        self._outs = [k.zeros(len(view.features)) for view in VIEWS]
        self.refused = [k.zeros(len(view.features)) for view in VIEWS]

    def book(self, t_us: int, bids: Sequence[tuple[float, float]], asks: Sequence[tuple[float, float]]) -> int:
        """Take the best levels of both sides; only 20 a side are used.

        Returns
        -------
        int
            ``validation.OK``, or the code of the first fault: then the book counts as unknown from ``t_us`` on.
        """
        return self.flat_book(t_us, self._book, *fill(self._book, bids, asks))

    def flat_book(self, t_us: int, book: Vector, n_bid: int, n_ask: int) -> int:
        """As ``book``, of levels that are in one vector already; see ``transforms.microstructure.levels``."""
        code = check_book(book, n_bid, n_ask)
        if code == OK:
            microstructure.step_book(self._micro, t_us, book, n_bid, n_ask)
            order_flow.step_quote(self._flow, t_us, book[0], book[40])
        else:
            self.lose_book(t_us)
        return int(code)

    def lose_book(self, t_us: int) -> None:
        """The book is unknown from ``t_us`` until the next good one."""
        microstructure.step_invalid(self._micro, t_us)
        order_flow.step_quote_invalid(self._flow, t_us)

    def trade(self, t_us: int, price: float, size: float, side: int) -> None:
        """Take a trade; ``side`` is the aggressor's: 1 bought, -1 sold, 0 unknown."""
        order_flow.step_trade(self._flow, t_us, price, size, side)
        technical.step_trade(self._technical, t_us, price, size)
        relative_volume.step_trade(self._relative, t_us, price, size)

    def next_funding(self, at_us: int) -> None:
        """The venue, with the newest trade, said when it settles funding next."""
        technical.step_funding(self._technical, at_us)

    def post(self, t_us: int, post: Post) -> None:
        """Take a post that counts from ``t_us``."""
        posts.step_post(self._posts, t_us, post)

    def install_microprice(self, t_us: int, tick: float, g: Sequence[float | None]) -> None:
        """Use a fitted table for ``microprice`` from ``t_us`` on, in the place of the one before; ``g`` is None in unknown cells.

        Raises
        ------
        ValueError
            The table has another length, or no positive tick.
        """
        install(self._micro, [float(t_us), tick, *(k.NAN if x is None else x for x in g)])

    def speaks_until(self) -> int:
        """Time of the last row that the events so far can give: the newest event of a feed plus its longest ttl, 0 before any."""
        return max((newest + ttl for newest, ttl in zip(self._newest(), _TTL_US, strict=True) if newest), default=0)

    def silence_us(self, view: View, t_us: int) -> int:
        """For how long the feed of a view had been silent at ``t_us``; 0 of a derived view, which has none."""
        return t_us - self._newest()[_INDEX[view.name]] if view.feed != "derived" else 0

    def emit(self, t_us: int) -> list[tuple[View, Vector]]:
        """Rows of the boundary ``t_us``: one a view whose feed spoke within the view's ttl; at whole seconds, the normalised one of them.

        To be called once a boundary, in order of time. The vectors are overwritten by the next call.
        """
        rows = []
        for i, newest in enumerate(self._newest()):
            if not newest or t_us - newest > _TTL_US[i]:
                continue
            out = self._outs[i]
            if i == 0:
                microstructure.emit(self._micro, t_us, out)
            elif i == 1:
                order_flow.emit(self._flow, t_us, out)
            elif i == 2:
                technical.emit(self._technical, t_us, out)
                relative_volume.emit(self._relative, t_us, out)
            elif i == 3:
                posts.emit_sentiment(self._posts, t_us, out)
            else:
                posts.emit_social(self._posts, t_us, out)
            check_ranges(out, *_RANGES[i], self.refused[i])
            normalization.take_row(self._normal, t_us, i, out)
            rows.append((VIEWS[i], out))
        if rows and t_us % SECOND_US == 0:
            out = self._outs[_NORMALIZED]
            normalization.emit(self._normal, t_us, out)
            check_ranges(out, *_RANGES[_NORMALIZED], self.refused[_NORMALIZED])
            rows.append((VIEWS[_NORMALIZED], out))
        return rows

    def save(self) -> dict[str, bytes]:
        """The whole state in named parts; equal bytes are equal states, and parts that did not change need no second copy."""
        relative = k.to_bytes(self._relative)
        return {
            "engine": f"{VERSION} {self._emit_us}".encode(),
            "microstructure": k.to_bytes(self._micro),
            "order_flow": k.to_bytes(self._flow),
            "technical": k.to_bytes(self._technical),
            "relative_now": relative[: 8 * relative_volume.HEAD],
            "relative_days": relative[8 * relative_volume.HEAD :],
            "posts": posts.to_bytes(self._posts),
            "normalization": k.to_bytes(self._normal),
        }

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take the state that ``save`` gave.

        Raises
        ------
        VersionError
            It was saved by other kernels or for another grid.
        """
        here = f"{VERSION} {self._emit_us}".encode()
        if parts["engine"] != here:
            raise VersionError(f"a state of kernels and grid {parts['engine'].decode()}; here they are {here.decode()}")
        self._micro = k.from_bytes(parts["microstructure"])
        self._flow = k.from_bytes(parts["order_flow"])
        self._technical = k.from_bytes(parts["technical"])
        self._relative = k.from_bytes(parts["relative_now"] + parts["relative_days"])
        self._posts = posts.from_bytes(parts["posts"])
        self._normal = k.from_bytes(parts["normalization"])

    def _newest(self) -> tuple[int, int, int, int, int]:
        post = posts.last_event_us(self._posts)
        return int(self._micro[0]), int(self._flow[0]), int(self._technical[0]), post, post


def warm_up() -> None:
    """Compile every kernel, or load what was compiled before, so that the first message does not wait for it."""
    engine = Engine(Instrument(), SECOND_US)
    levels = [(100.0 - i, 1.0) for i in range(2)]
    for t_us in (1, SECOND_US + 1):
        engine.book(t_us, levels, [(200.0 + i, 1.0) for i in range(2)])
        engine.trade(t_us, 100.0, 1.0, 0)
        engine.emit(SECOND_US)
    engine.lose_book(2 * SECOND_US)
    engine.emit(2 * SECOND_US)

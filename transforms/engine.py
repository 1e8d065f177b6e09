"""All kernels of one symbol: events in, rows out.

The live worker, the backfill and every test use this one class, so a feature cannot have two values. It reads no clock and does no
I/O. Events come in the order of event time; ``emit(t)`` comes after every event with time <= t and before every later one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from transforms import anew, holes, normalization, saved
from transforms import kernel as k
from transforms.catalog import CONTEXT, MICROSTRUCTURE, RAW_VIEWS, VIEWS, View
from transforms.context.layout import Neighbours
from transforms.context.view import Context
from transforms.derivatives import told
from transforms.derivatives.contract import Contract
from transforms.instrument import Instrument
from transforms.kernel import SECOND_US, Vector
from transforms.layouts import DERIVATIVES
from transforms.limits import MAX_LEVELS
from transforms.microstructure import kernel as microstructure
from transforms.microstructure import layout
from transforms.microstructure.depth import narrow, sizes_to_base
from transforms.microstructure.microprice import install
from transforms.order_flow import kernel as order_flow
from transforms.sentiment import kernel as posts
from transforms.sentiment.state import Post
from transforms.sessions import SessionClock
from transforms.technical import kernel as technical
from transforms.technical import relative_volume
from transforms.validation import OK, check_book, check_ranges, ranges

_RANGES = [ranges(view) for view in VIEWS]
_TTL_US = [view.ttl_s * SECOND_US for view in RAW_VIEWS]
_MICROSTRUCTURE, _ORDER_FLOW, _TECHNICAL, _SENTIMENT, _SOCIAL, _DERIVATIVES, _NORMALIZED, _CONTEXT = range(len(VIEWS))
"""Numbers of the views, in the order of the catalogue."""
_INDEX = {view.name: i for i, view in enumerate(RAW_VIEWS)}
_MID = MICROSTRUCTURE.index["mid_price"]


class Engine:
    """The kernels of one symbol.

    Parameters
    ----------
    instrument : Instrument
        What is known of the symbol before its first message.
    emit_us : int
        The grid interval, µs: a divisor of one second, or whole seconds.
    neighbours : Neighbours, optional
        Other symbols whose rows it is given.

    Attributes
    ----------
    context : Context or None
        The view ``context``, whose rows may wait for neighbours: it is told and asked apart from the others.
    anew : frozenset of str
        The kernels that the last ``restore`` had no state for.
    contract : Contract
        What venues tell of the symbol besides its book and trades.
    out_of_range : Counter of str
        How often each feature fell outside the catalogue's range and was made null; the caller counts it and clears it.
    """

    __slots__ = (
        "_about", "_book", "_clock", "_emit_us", "_flow", "_instrument", "_micro", "_normal", "_out_of_range", "_outs", "_posts",
        "_relative", "_session_end_us", "_technical", "anew", "context", "contract", "out_of_range",
    )  # fmt: skip

    def __init__(self, instrument: Instrument, emit_us: int, neighbours: Neighbours | None = None) -> None:
        self._instrument = instrument if instrument.in_contracts else None
        self._emit_us = emit_us
        self._about = instrument, min(SECOND_US, emit_us), neighbours
        self.out_of_range: Counter[str] = Counter()
        self.context = Context(neighbours, self.out_of_range) if neighbours else None
        self._clock = instrument.session_clock()
        self._session_end_us = 0
        self.anew: frozenset[str] = frozenset()
        self._take(saved.fresh(*self._about))
        self._book = layout.empty(MAX_LEVELS)
        self._outs = [k.zeros(len(view.features)) for view in VIEWS]
        self._out_of_range = [k.zeros(len(view.features)) for view in VIEWS]

    def book(self, t_us: int, bids: layout.Levels, asks: layout.Levels, depth: layout.Depth | None = None) -> int:
        """Fold in a book, given as the levels of both sides, best first.

        Features of levels use 20 a side, and the depths use all, or are those of ``depth``. Return ``validation.OK``, or the code of the
        first fault; the book is then unknown from ``t_us`` on.
        """
        deepest = max(len(bids), len(asks))
        book = self._book if deepest <= MAX_LEVELS else layout.empty(deepest)
        return self.flat_book(t_us, book, *layout.fill(book, bids, asks), depth)

    def flat_book(self, t_us: int, book: Vector, n_bid: int, n_ask: int, depth: layout.Depth | None = None) -> int:
        """Do the same with a flat or deep book, as ``transforms.microstructure.layout`` draws it; its sizes may become base units."""
        code = check_book(book, n_bid, n_ask)
        if code == OK:
            if self._instrument is not None:
                sizes_to_base(book, n_bid, n_ask, self._instrument.contract_size, self._instrument.inverse)
            if n_bid > MAX_LEVELS or n_ask > MAX_LEVELS:
                narrow(book, n_bid, n_ask, self._book)
                book, n_bid, n_ask = self._book, min(n_bid, MAX_LEVELS), min(n_ask, MAX_LEVELS)
            if depth is not None:
                layout.fill_depth(book, depth)
            microstructure.step_book(self._micro, t_us, book, n_bid, n_ask)
            order_flow.step_quote(self._flow, t_us, book[layout.FLAT_BID_PRICE], book[layout.FLAT_ASK_PRICE])
        else:
            microstructure.step_invalid(self._micro, t_us)
            order_flow.step_quote_invalid(self._flow, t_us)
        return int(code)

    def lose_book(self, t_us: int) -> None:
        """Mark the book as unknown from ``t_us`` until the next good one, because messages are missing.

        Unlike after an impossible book, mids that nobody heard are missing too, and windows that contain that time are not whole.
        """
        microstructure.step_invalid(self._micro, t_us)
        order_flow.lose_book(self._flow, t_us)

    def last_hole_us(self) -> tuple[int, int]:
        """Return since and until when trades may be missing, of the last hole that ``lose_trades`` told; 0 and 0 where it told none."""
        since_us, until_us = self._flow[order_flow.HOLES + holes.SINCE], self._flow[order_flow.HOLES + holes.UNTIL]
        return (0, 0) if until_us == -math.inf else (int(since_us), int(until_us))

    def has_lost_book(self) -> bool:
        """Return whether ``lose_book`` was called and no good book came since."""
        return bool(self._flow[order_flow.BOOK_BACK] == math.inf)

    def lose_trades(self, since_us: int, until_us: int) -> None:
        """Note that trades from ``since_us`` until ``until_us``, both included, may be missing; 0 is since the newest trade.

        Call it before the trades of ``since_us`` and later, or at once where they came already; the hole then lasts until the newest.
        """
        newest_us = int(self._flow[order_flow.NEWEST_US])
        if since_us <= 0:
            since_us = min(newest_us or until_us, until_us)
        if since_us == until_us:
            until_us += 1  # also the trades of that very time do not tell the last price
        until_us = max(until_us, newest_us)
        if self._clock is not None and since_us >= self._session_end_us:
            self._start_session(self._clock, since_us)
        order_flow.lose_trades(self._flow, since_us, until_us)
        technical.lose_trades(self._technical, since_us, until_us)
        relative_volume.lose_trades(self._relative, since_us, until_us)

    def trade(self, t_us: int, price: float, size: float, side: int) -> None:
        """Fold in a trade; ``side`` is the aggressor's: 1 bought, -1 sold, 0 unknown."""
        if self._instrument is not None:
            size = self._instrument.base(size, price)
        if self._clock is not None and t_us >= self._session_end_us:
            self._start_session(self._clock, t_us)
        order_flow.step_trade(self._flow, t_us, price, size, side)
        technical.step_trade(self._technical, t_us, price, size)
        relative_volume.step_trade(self._relative, t_us, price, size)

    def next_funding(self, at_us: int) -> None:
        """Set when the venue settles funding next, as the newest message told it."""
        technical.step_funding(self._technical, at_us)

    def tell_contract(self, t_us: int, *, settled_us: int | None = None, **told: float | None) -> None:
        """Fold in what a venue tells of a contract, as ``Contract.tell``; the newest message tells when it settles funding next."""
        if settled_us is not None and t_us >= self.contract.newest_us:
            self.next_funding(settled_us)
        self.contract.tell(t_us, settled_us=settled_us, **told)

    def post(self, t_us: int, post: Post) -> bool:
        """Fold in a post that counts from ``t_us``; return False if it is so old that it may have been counted before."""
        return posts.step_post(self._posts, t_us, post)

    def withdraw_post(self, t_us: int, post_id: str) -> None:
        """Take a post out of every window from ``t_us`` on."""
        posts.withdraw_post(self._posts, t_us, post_id)

    def remembers_posts(self) -> bool:
        """Return whether the symbol has any post in a window or remembers the id of one."""
        return bool(self._posts.by_id or self._posts.gone)

    def knows_post(self, post_id: str) -> bool:
        """Return whether the symbol has a post in a window, or remembers its id."""
        return posts.knows(self._posts, post_id)

    def install_microprice(self, t_us: int, tick: float, g: Sequence[float | None]) -> None:
        """Use a fitted table for ``microprice`` from ``t_us`` on, in place of the one before; ``g`` is None in unknown cells.

        Raise ``ValueError`` if the table has the wrong length, or a tick that is not a positive number.
        """
        install(self._micro, [float(t_us), tick, *(k.NAN if x is None else x for x in g)])

    def last_row_us(self) -> int:
        """Return the time of the last row that the events so far can give: a feed's newest event plus its ttl; 0 before any event."""
        return max((newest + ttl for newest, ttl in zip(self._newest(), _TTL_US, strict=True) if newest), default=0)

    def first_trade_us(self) -> int:
        """Return the time of the first trade that the kernel of trades heard; 0 before any."""
        return int(self._flow[order_flow.FIRST_US])

    def silence_us(self, view: View, t_us: int) -> int:
        """Return for how long the feed of a view had been silent at ``t_us``; 0 for a derived view, which has no feed."""
        if view is CONTEXT:
            return self.context.silence_us(t_us) if self.context else 0
        return t_us - self._newest()[_INDEX[view.name]] if view.feed != "derived" else 0

    def emit(self, t_us: int) -> list[tuple[View, Vector]]:
        """Return the rows of grid time ``t_us``: one for each view whose feed had an event within the view's ttl.

        At whole seconds, the normalised row of these follows. Call it once for each grid time, in order. The next call overwrites the
        vectors.
        """
        if self._clock is not None and t_us >= self._session_end_us:
            self._start_session(self._clock, t_us)
        rows = []
        for i, newest in enumerate(self._newest()):
            if not newest or t_us - newest > _TTL_US[i]:
                continue
            out = self._outs[i]
            if i == _MICROSTRUCTURE:
                microstructure.emit(self._micro, t_us, out)
            elif i == _ORDER_FLOW:
                order_flow.emit(self._flow, t_us, out)
            elif i == _TECHNICAL:
                technical.emit(self._technical, t_us, out)
                relative_volume.emit(self._relative, t_us, out)
            elif i == _SENTIMENT:
                posts.emit_sentiment(self._posts, t_us, out)
            elif i == _SOCIAL:
                posts.emit_social(self._posts, t_us, out)
            else:
                last = technical.last_price(self._technical, t_us, told.FRESH_US)
                self.contract.emit(t_us, last, technical.minutes_to_funding(self._technical, t_us), out)
            if check_ranges(out, *_RANGES[i], self._out_of_range[i]):
                self._count_out_of_range(i)
            normalization.keep_row(self._normal, t_us, i, out)
            rows.append((VIEWS[i], out))
        if rows and t_us % SECOND_US == 0:
            out = self._outs[_NORMALIZED]
            normalization.emit(self._normal, t_us, out)
            if check_ranges(out, *_RANGES[_NORMALIZED], self._out_of_range[_NORMALIZED]):
                self._count_out_of_range(_NORMALIZED)
            rows.append((VIEWS[_NORMALIZED], out))
            if self.context is not None:
                self.context.keep_own(t_us, *self.quote(t_us))
        return rows

    def quote(self, t_us: int) -> tuple[float, float, float]:
        """Return the mid and the sizes of the best bid and ask of ``t_us``, for which rows were given last; NaN without a valid book."""
        newest = int(self._micro[layout.NEWEST])
        mid = self._outs[_MICROSTRUCTURE][_MID]
        if not newest or t_us - newest > _TTL_US[_MICROSTRUCTURE] or mid != mid:
            return k.NAN, k.NAN, k.NAN
        return float(mid), float(self._micro[layout.BID_SIZE]), float(self._micro[layout.ASK_SIZE])

    def _start_session(self, clock: SessionClock, t_us: int) -> None:
        """Begin the session that holds ``t_us``; where an instrument names no sessions, the kernels begin UTC days themselves."""
        begin_us, end_us, day = clock.session(t_us)
        if t_us >= self._flow[order_flow.SESSION_END]:
            order_flow.start_session(self._flow, begin_us, end_us, day)
        if t_us >= self._technical[technical.SESSION_END]:
            technical.start_session(self._technical, begin_us, end_us, day)
        self._session_end_us = end_us

    def _count_out_of_range(self, view: int) -> None:
        counts = self._out_of_range[view]
        for slot, name in enumerate(VIEWS[view].names):
            if counts[slot]:
                self.out_of_range[name] += int(counts[slot])
                counts[slot] = 0.0

    def save(self) -> dict[str, bytes]:
        """Return the whole state in named parts; states are equal when their bytes are. Parts that did not change can be skipped."""
        return saved.save(self._states(), self._emit_us, self._about[2])

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Replace the state by one that ``save`` returned; ``anew`` then says which kernels it has no state for.

        Raise ``VersionError`` if it is of another grid or format.
        """
        states, self.anew = saved.restore(parts, self._about[0], self._emit_us, self._about[2])
        anew.begin(states, self.anew)
        self._take(states)

    def take_over(self, other: Engine, late_us: int, names: Collection[str] | None = None) -> None:
        """Let kernels, those that begin anew unless others are named, have their states of an engine that was given the last history.

        Both stand at the same moment. ``other`` may lack messages of its first ``late_us``.
        """
        names = self.anew if names is None else names
        shape = self._about[2].shape if self._about[2] else None
        self._take(anew.take_over(self._states(), other._states(), names, self._about[1], late_us, shape))

    def _states(self) -> saved.States:
        vectors = {
            **({} if self.context is None else {"context": self.context.state}),
            "microstructure": self._micro,
            "order_flow": self._flow,
            "technical": self._technical,
            "relative_now": self._relative[: relative_volume.HEAD],
            "relative_days": self._relative[relative_volume.HEAD :],
            "normalization": self._normal,
        }
        if self.contract.state is not None:
            vectors[DERIVATIVES] = self.contract.state
        return saved.States(vectors, self._posts)

    def _take(self, states: saved.States) -> None:
        of = states.vectors
        self._micro, self._flow, self._technical = of["microstructure"], of["order_flow"], of["technical"]
        self._relative = k.concatenate(of["relative_now"], of["relative_days"])
        self._posts, self._normal = states.posts, of["normalization"]
        self.contract = Contract(self._about[:2], of.get(DERIVATIVES))
        if self.context is not None:
            self.context.take(of["context"])
        ends_us = self._flow[order_flow.SESSION_END], self._technical[technical.SESSION_END]
        self._session_end_us = int(min(ends_us))

    def _newest(self) -> tuple[int, int, int, int, int, int]:
        post = posts.last_event_us(self._posts)
        book = int(self._micro[layout.NEWEST])
        flow, price = int(self._flow[order_flow.NEWEST_US]), int(self._technical[technical.NEWEST])
        return book, flow, price, post, post, self.contract.newest_us

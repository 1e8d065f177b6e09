"""The kinds of messages, one struct each.

Times are whole milliseconds since the epoch, UTC. A message of a producer has its event time in ``timestamp``, or in microseconds in
``timestamp_us``; ``timestamp`` is then 0. ``time_us`` returns the one that is given.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from ingest.messages.contract_kinds import Derivatives, Liquidation
from transforms.microstructure.layout import Depth

EARLIEST_MS = 1_230_768_000_000  # 2009-01-01; an earlier time is a wrong unit, such as seconds
MAX_TIME_MS = 9_007_199_254_740  # the largest time whose microseconds a double holds exactly, in the year 2255
EARLIEST_US = EARLIEST_MS * 1000
MAX_TIME_US = MAX_TIME_MS * 1000
UNITS = "`timestamp` is in milliseconds since 1970, `timestamp_us` in microseconds"
NO_TIME = f"neither timestamp nor timestamp_us: {UNITS}"
TWO_TIMES = f"both timestamp and timestamp_us: send one of them; {UNITS}"
MAX_INTEGER = 2**63  # whole numbers must be smaller than this, to fit the 64 bits of a column
BOOK_CHANNEL, TRADE_CHANNEL, LIQUIDATION_CHANNEL = "book", "trade", "liquidation"  # the channels of a gap
MAX_HOLD_MS = 600_000  # the longest hold
MAX_AHEAD_MS = 31 * 86_400_000  # how long before its use a microprice table may be published


class OrderBook(msgspec.Struct, gc=False, omit_defaults=True):
    """Stream ``order_book``: the best levels of both sides, best first; each message replaces the book before.

    ``sequence`` grows by one with each message of a symbol; leave it out where a venue's numbers jump. A producer that knows more of the
    book than it sends may add ``depth``: the quote value (sum of price times size) of bids, then of asks, within 10, 25 and 50 bps of the
    mid, ``[[b10, b25, b50], [a10, a25, a50]]``, null where it does not know the book that far.
    """

    timestamp: int
    symbol: str
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    sequence: int | None = None
    received: int | None = None
    depth: Depth | None = None
    timestamp_us: int | None = None


class Trade(msgspec.Struct, gc=False, omit_defaults=True):
    """Stream ``market_data``: one trade; ``side`` is the aggressor's. ``next_funding`` is when the venue settles funding next.

    ``recovered`` says that the feed asked for the trade because the stream had not brought it.
    """

    timestamp: int
    symbol: str
    price: float
    size: float
    side: str | None = None
    trade_id: int | str | None = None
    received: int | None = None
    next_funding: int | None = None
    timestamp_us: int | None = None
    recovered: bool = False


class SocialPost(msgspec.Struct, gc=False, omit_defaults=True):
    """Stream ``social_data``: one post as written; ``observed_at`` is when its likes, reposts and replies were counted.

    ``source`` and ``id`` together identify a post, because two sources (two channels, for example) may use the same id.
    """

    timestamp: int
    id: str
    text: str
    source: str
    author: str | None = None
    likes: int | None = None
    reposts: int | None = None
    replies: int | None = None
    followers: int | None = None
    observed_at: int | None = None
    symbols: list[str] | None = None
    received: int | None = None
    deleted: bool = False  # the post was withdrawn; then only its id and source count
    timestamp_us: int | None = None


class ScoredPost(msgspec.Struct, gc=False, omit_defaults=True):
    """A post in the log of one symbol; it is scored once, before it enters the log. ``source`` and ``id`` identify it.

    ``available`` is when the score was ready. The probabilities are None where the text has nothing to score.
    """

    timestamp: int
    symbol: str
    id: str
    available: int
    simhash: int
    positive: float | None = None
    negative: float | None = None
    neutral: float | None = None
    model: str | None = None
    author: str | None = None
    likes: int | None = None
    reposts: int | None = None
    replies: int | None = None
    followers: int | None = None
    received: int | None = None
    source: str = ""
    timestamp_us: int | None = None


class WithdrawnPost(msgspec.Struct, gc=False, omit_defaults=True):
    """A post was withdrawn by its author or source at ``timestamp``; a log gets it once, for all of its symbols that have the post.

    Where the number of partitions was raised, it says for which of how many ``partitions`` it is: on the tape several logs are together.
    """

    timestamp: int
    id: str
    source: str
    symbol: str = "-"
    received: int | None = None
    timestamp_us: int | None = None
    partition: int = 0
    partitions: int = 1


class Tick(msgspec.Struct, gc=False, omit_defaults=True):
    """Progress of time in the log: every message of the symbol up to ``timestamp`` is known.

    With ``lost`` the feed of the symbol is not heard any more: the book is unknown from its newest message on, and trades may be missing
    until ``timestamp``.
    """

    timestamp: int
    symbol: str
    timestamp_us: int | None = None
    lost: bool = False


class Clock(msgspec.Struct, gc=False, omit_defaults=True):
    """A live connection has heard the event time ``timestamp``: time passes for ``symbols`` as if each had had a book or trade then.

    ``timestamp`` is before the allowed lateness is taken off. The parser of a live feed gives one when a row is due; it names no symbol
    whose messages are held back. A log gets one entry for all of its symbols. It opens no symbol, and changes one only while rows or held
    messages wait for time.

    For ``TFS_RECOVER_S`` after the last clock or hold of a symbol, as the entries arrive, the worker makes no time pass for it. So a feed
    that is restarted meanwhile, and asks for the trades that it missed, has no late message. After that the feed counts as lost, and time
    passes by ticks that say so (``Tick.lost``): no row has the values of a market that was not heard.
    """

    timestamp: int
    symbols: list[str]
    symbol: str = "-"
    received: int | None = None
    timestamp_us: int | None = None


class Hold(msgspec.Struct, gc=False, omit_defaults=True):
    """A feed fetches missing trades of a symbol from ``timestamp`` on: until ``until`` no tick of the worker makes time pass for it.

    ``until - timestamp`` counts from the arrival of the entry, so no clock need agree with another. A hold that is not longer than that of
    a clock, such as one that ends at its ``timestamp``, counts as a clock: the feed lives, and time passes by its clock again.
    """

    timestamp: int
    symbol: str
    until: int
    received: int | None = None
    timestamp_us: int | None = None


class Neighbour(msgspec.Struct, gc=False, omit_defaults=True):
    """What ``neighbour`` was at the whole second ``timestamp``, as its finished row says, for the ``symbols`` that follow it.

    A log gets one entry for all of its symbols. A null is unknown: the book was not valid. The owner of ``neighbour`` appends the entry
    before it commits its row, and where the row comes from a recording, whoever writes the recording does, behind the message that
    finished the row. It is no event: it opens no symbol and makes no time pass. One that is not newer than the last is passed over.
    """

    timestamp: int
    symbols: list[str]
    neighbour: str
    mid: float | None = None
    bid_size: float | None = None
    ask_size: float | None = None
    symbol: str = "-"
    received: int | None = None
    timestamp_us: int | None = None


class Leave(msgspec.Struct, gc=False, omit_defaults=True):
    """A symbol leaves the worker's memory, if no message came since the owner decided so and ``arrivals`` is still its count.

    With ``forget`` it leaves whatever came, and its state is dropped.
    """

    timestamp: int
    symbol: str
    arrivals: int = 0
    forget: bool = False
    timestamp_us: int | None = None


class Gap(msgspec.Struct, gc=False, omit_defaults=True):
    """A feed missed messages of a ``channel``.

    ``book``: the book is unknown from ``timestamp`` until the next one. ``trade``: trades from ``since`` until ``timestamp``, both
    included, may be missing. ``since`` is the event time of the last trade known before, None where none was known; ``timestamp`` is that
    of the first one known after it, or the newest time known where there is none. ``missing`` is how many are missing, None where that
    is not known. ``liquidation``: the same of liquidations, which are heard from ``timestamp`` on; so a feed that begins tells one.
    """

    timestamp: int
    symbol: str
    received: int | None = None
    timestamp_us: int | None = None
    channel: str = BOOK_CHANNEL
    since: int | None = None
    since_us: int | None = None
    missing: int | None = None


class MicropriceTable(msgspec.Struct, gc=False, omit_defaults=True):
    """A fitted table of ``microprice`` in the log of its symbol, used for rows from ``usable_from`` on.

    ``timestamp`` is when it was published, and its data end before ``fitted_before``. ``g`` is the expected move of the mid, in ticks, by
    imbalance bin and spread bin; None where there were too few data.
    """

    timestamp: int
    symbol: str
    version: int
    fitted_before: int
    usable_from: int
    tick: float
    g: list[float | None]
    timestamp_us: int | None = None


Message = (
    OrderBook
    | Trade
    | Derivatives
    | Liquidation
    | ScoredPost
    | WithdrawnPost
    | Tick
    | Clock
    | Hold
    | Neighbour
    | Leave
    | Gap
    | MicropriceTable
)
KIND: dict[str, type[Message]] = {
    "book": OrderBook,
    "trade": Trade,
    "derivatives": Derivatives,
    "liquidation": Liquidation,
    "post": ScoredPost,
    "withdrawal": WithdrawnPost,
    "tick": Tick,
    "clock": Clock,
    "hold": Hold,
    "neighbour": Neighbour,
    "leave": Leave,
    "gap": Gap,
    "microprice": MicropriceTable,
}
"""The messages of a partition log, by the field ``kind`` of their entries."""
TIMED: frozenset[type] = frozenset({*KIND.values(), SocialPost})
"""The structs with an event time, which a producer gives in milliseconds or in microseconds."""
PLAIN_STREAM: dict[str, str] = {
    "order_book": "book",
    "market_data": "trade",
    "derivatives": "derivatives",
    "liquidation": "liquidation",
}
"""The plain streams that the router reads, and the kind of their messages."""


class Timed(Protocol):
    """A message that may have its event time in microseconds."""

    timestamp: int
    timestamp_us: int | None


def time_us(message: Timed) -> int:
    """Return the event time of a message in microseconds.

    >>> time_us(Gap(1_700_000_000_000, "A")), time_us(Gap(0, "A", timestamp_us=1_700_000_000_000_250))
    (1700000000000000, 1700000000000250)
    """
    us = message.timestamp_us
    return message.timestamp * 1000 if us is None else us


def since_us(gap: Gap) -> int:
    """Return the begin of a trade gap in microseconds, 0 where it has none.

    >>> since_us(Gap(1_700_000_000_000, "A", channel="trade", since=1_699_999_999_000))
    1699999999000000
    """
    return (gap.since or 0) * 1000 if gap.since_us is None else gap.since_us


def time_fields(us: int) -> tuple[int, int | None]:
    """Return ``timestamp`` and ``timestamp_us`` of a message of this event time: whole milliseconds are sent as such.

    >>> time_fields(1_700_000_000_000_000), time_fields(1_700_000_000_000_250)
    ((1700000000000, None), (0, 1700000000000250))
    """
    ms, rest = divmod(us, 1000)
    return (0, us) if rest else (ms, None)


def post_identity(source: str, post_id: str) -> str:
    """Return what tells a post from every other: two sources, such as two channels, may use one id."""
    return f"{source}\0{post_id}"

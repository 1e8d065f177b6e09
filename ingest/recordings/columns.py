"""The common names of columns in files and tables of recordings, and the names that a user gives instead."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

Names = Mapping[str, Sequence[str]]
"""For each field the names of columns that hold it; of several in one table the first counts."""

_EVENT: Names = {
    "symbol": ("symbol", "instrument", "market", "pair", "ticker"),
    "received": ("received", "received_at", "receive_time", "received_time"),
}
TRADE: Names = {
    "price": ("price", "px"),
    "size": ("size", "qty", "quantity", "amount"),
    "side": ("side", "aggressor", "taker_side"),
    "trade_id": ("trade_id",),
    "next_funding": ("next_funding",),
}
BOOK: Names = {"bids": ("bids",), "asks": ("asks",), "sequence": ("sequence",)}
MARKET_FILE: Names = {
    "timestamp": ("timestamp", "time", "event_time", "event_timestamp", "ts", "ts_ms", "datetime", "date"),
    **_EVENT,
    **TRADE,
    **BOOK,
}
"""Of Parquet and CSV files of trades or books."""
RAW_TABLE: Names = {
    "time": ("time", "event_time", "timestamp", "event_timestamp", "ts"),
    **_EVENT,
    "arrival": ("arrival",),
    **TRADE,
    **BOOK,
}
"""Of database tables of trades or books."""
POST_FILE: Names = {
    "text": ("text", "full_text", "content", "body", "tweet", "comment_text", "title"),
    "timestamp": ("timestamp", "created_at", "published_at", "time", "date", "datetime", "created_utc"),
    "id": ("id", "tweet_id", "post_id", "url", "link"),
    "symbols": ("symbols", "symbol", "ticker"),
    "source": ("source", "platform", "subreddit"),
    "author": ("author", "user", "username", "user_name", "screen_name"),
    "likes": ("likes", "like_count", "favorite_count", "favorites", "score", "upvotes"),
    "reposts": ("reposts", "retweets", "retweet_count", "share_count"),
    "replies": ("replies", "reply_count", "num_comments"),
    "followers": ("followers", "follower_count", "followers_count", "user_followers"),
    "observed_at": ("observed_at",),
    "received": ("received", "received_at"),
}
"""Of Parquet and CSV files of posts."""


def first_present(names: Sequence[str], present: Container[str]) -> str | None:
    """Return the first of ``names`` that is in ``present``.

    >>> first_present(RAW_TABLE["size"], ["price", "quantity"])
    'quantity'
    """
    return next((name for name in names if name in present), None)


@dataclass(frozen=True, slots=True)
class GivenColumns:
    """Names of columns that a user gives for files; None looks for the common names.

    Attributes
    ----------
    text, timestamp, id, symbols : str or None
        Columns of a post; ``timestamp`` and ``symbols`` also of trades and books.
    symbol : str or None
        No column: the symbol of trades and books in files that name none.
    """

    text: str | None = None
    timestamp: str | None = None
    id: str | None = None
    symbols: str | None = None
    symbol: str | None = None


COMMON = GivenColumns()
"""Every column has one of the common names."""

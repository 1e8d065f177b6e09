"""The common names of columns in files and tables of recordings, and the options by which a user gives other names."""

from __future__ import annotations

import argparse
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from feature_repo.stores.errors import UserError
from ingest.messages.check import is_symbol

Names = Mapping[str, Sequence[str]]
"""For each field the names of columns that hold it; of several in one table the first counts."""

_EVENT: Names = {
    "symbol": ("symbol", "instrument", "instrument_name", "instId", "market", "pair", "ticker", "s"),
    "received": (
        "received", "received_at", "receive_time", "received_time", "local_timestamp", "receipt_timestamp", "ts_recv",
    ),
}  # fmt: skip
_TRADE_TIMES = ("trade_time", "transact_time", "created_time", "ts_event", "T")
TRADE: Names = {
    "price": ("price", "px", "p"),
    "size": ("size", "qty", "quantity", "amount", "sz", "q"),
    "side": ("side", "aggressor", "aggressor_side", "taker_side", "direction"),
    "maker_bought": ("is_buyer_maker", "isBuyerMaker", "buyer_maker", "buyer_is_maker", "m"),
    "trade_id": (
        "trade_id", "tradeId", "agg_trade_id", "aggTradeId", "trdMatchID", "execId", "exec_id", "id", "a", "t",
    ),
    "next_funding": ("next_funding",),
}  # fmt: skip
"""``maker_bought`` is Binance's: true where the buyer was the maker, so that the seller was the aggressor."""
BOOK: Names = {"bids": ("bids",), "asks": ("asks",), "sequence": ("sequence",)}
_DEPTH: Names = {"depth": ()}  # only where the user names the column: others call the number of levels so
MARKET_FILE: Names = {  # of Parquet and CSV files of trades or books
    "timestamp": (
        "timestamp", "time", "event_time", "event_timestamp", "ts", "ts_ms", "datetime", "date", *_TRADE_TIMES, "E",
        "timestamp_us",
    ),
    **_EVENT,
    "venue": ("exchange", "venue"),  # tells two markets of one symbol apart
    **TRADE,
    **BOOK,
}  # fmt: skip
RAW_TABLE: Names = {  # of database tables of trades or books
    "time": ("time", "event_time", "timestamp", "event_timestamp", "ts", *_TRADE_TIMES, "timestamp_us"),
    **_EVENT,
    "arrival": ("arrival",),
    **TRADE,
    **BOOK,
    **_DEPTH,
}
_LEVEL_SIDES = (("bid", "ask"), ("best_bid", "best_ask"))
OTHER_TABLES: Sequence[tuple[Sequence[str], str]] = (
    (("is_snapshot",), "changes of an order book, and not whole books: make a row of each book"),
    (("open", "high", "low", "close"), "bars: features are computed from trades and books"),
    *(
        (
            (f"{bid}{end}", f"{ask}{end}"),
            "quotes of the best bid and ask: name the columns of prices and sizes bid_px_0, bid_qty_0, ask_px_0, ask_qty_0",
        )
        for bid, ask in _LEVEL_SIDES
        for end in ("", "_price", "_px", "Price")
    ),
    (("funding_rate",), "funding rates: features are computed from trades and books"),
)
"""Columns that tell that a table holds something that is not read, and what that is."""
POST_FILE: Names = {  # of Parquet and CSV files of posts
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
    "deleted": ("deleted",),
    "received": ("received", "received_at"),
}


def what_else(names: Sequence[str]) -> str:
    """Return what a table holds that is not read, by its columns; empty where they do not tell.

    >>> what_else(["Date", "Open", "High", "Low", "Close"])
    'bars: features are computed from trades and books'
    """
    there = {*names, *(name.lower() for name in names)}
    return next((what for needed, what in OTHER_TABLES if there.issuperset(needed)), "")


def first_present(names: Sequence[str], present: Container[str]) -> str | None:
    """Return the first of ``names`` that is in ``present``.

    >>> first_present(RAW_TABLE["size"], ["price", "quantity"])
    'quantity'
    """
    return next((name for name in names if name in present), None)


@dataclass(frozen=True, slots=True)
class GivenColumns:
    """Names of columns that a user gives for files; None looks for the common names."""

    text: str | None = None
    timestamp: str | None = None  # of posts, trades and books, as is ``symbols``
    id: str | None = None
    symbols: str | None = None
    symbol: str | None = None  # no column: the symbol of trades and books in files that name none
    prefixes: tuple[
        tuple[str, str], ...
    ] = ()  # no columns: for files whose name matches, what stands before their symbols
    fields: tuple[tuple[str, str], ...] = ()  # for fields of trades and books, by their names in `MARKET_FILE`


COMMON = GivenColumns()
NO_COLUMN = ""  # given for a field: whatever the columns are called, none holds it
ANY_FILE = "*"


class PrefixError(UserError, ValueError):
    """A prefix cannot be part of a symbol, or is for a file that is not named."""


def given_prefix(columns: GivenColumns, path: Path) -> str | None:
    """Return the prefix that the user gave for the symbols of a file; the last one that matches counts.

    >>> given_prefix(GivenColumns(prefixes=(("*", "SPOT:"), ("perp*", "PERP:"))), Path("day1/perp.jsonl.gz"))
    'PERP:'
    """
    found = None
    for pattern, prefix in columns.prefixes:
        if fnmatchcase(path.name, pattern) or fnmatchcase(str(path), pattern):
            found = prefix
    return found


def check_prefixes(columns: GivenColumns, paths: Sequence[Path]) -> None:
    """Raise ``PrefixError`` if a given prefix is for no file of ``paths``."""
    for pattern, _ in columns.prefixes:
        alone = GivenColumns(prefixes=((pattern, ""),))
        if pattern != ANY_FILE and all(given_prefix(alone, path) is None for path in paths):
            raise PrefixError(f"--prefix {pattern}=... names none of the files")


def _prefix(text: str) -> tuple[str, str]:
    """Return the pattern of files and the prefix of ``[FILE=]PREFIX``.

    >>> _prefix("BINANCE-FUTURES:"), _prefix("perp*.gz=PERP:")
    (('*', 'BINANCE-FUTURES:'), ('perp*.gz', 'PERP:'))
    """
    pattern, equals, prefix = text.rpartition("=")
    if prefix and not is_symbol(prefix):
        raise argparse.ArgumentTypeError(f"{prefix!r} cannot begin a symbol: use letters, digits and : . _ / -")
    return (pattern if equals else ANY_FILE), prefix


def column_of_table(text: str) -> tuple[str, str, str]:
    """Return the table (or none), the field and the column (or none) of ``[TABLE:]FIELD=NAME``.

    >>> column_of_table("market.fills:size=lots"), column_of_table("received=")
    (('market.fills', 'size', 'lots'), ('', 'received', ''))
    """
    left, equals, column = text.partition("=")
    table, _, field = left.rpartition(":")
    if not equals or field not in RAW_TABLE:
        raise argparse.ArgumentTypeError(f"write FIELD=NAME or TABLE:FIELD=NAME, FIELD one of {', '.join(RAW_TABLE)}")
    return table, field, column


def add_column_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name columns, the same for every command that reads recordings."""
    parser.add_argument("--text-column", metavar="NAME", help="column of the posts' texts, where it has no common name")
    parser.add_argument("--time-column", metavar="NAME", help="of their times")
    parser.add_argument("--id-column", metavar="NAME", help="of their ids")
    parser.add_argument("--symbol-column", metavar="NAME", help="of the symbols they are about")
    parser.add_argument("--symbol", metavar="NAME", help="of trades and books in files that do not name it")
    prefix = "before the symbols of all files, or of FILE (* allowed; several times): perp.jsonl.gz=BINANCE-FUTURES:"
    parser.add_argument("--prefix", type=_prefix, action="append", default=[], metavar="[FILE=]PREFIX", help=prefix)


def given_columns(args: argparse.Namespace) -> GivenColumns:
    """Return the columns that these options name."""
    return GivenColumns(
        args.text_column, args.time_column, args.id_column, args.symbol_column, args.symbol, tuple(args.prefix)
    )

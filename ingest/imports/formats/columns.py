"""Any CSV or Parquet file of trades or of whole books, by the names of its columns: the common ones, or those that the user gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ingest.imports.formats.form import MAX_FUTURE_MS, Context, Format, Head
from ingest.messages.refusal import Refused
from ingest.recordings import market_tables, own
from ingest.recordings.columns import GivenColumns
from ingest.recordings.files import FileFormError
from ingest.recordings.lines import Output, Rejected

OF_ORDERS = frozenset({
    "action", "rtype", "publisher_id", "order_id", "orderid", "order_type", "event_type", "update_type", "is_snapshot",
    "status", "orderstatus", "order_status", "filled", "remaining", "fee", "commission", "pnl", "realized_pnl", "realizedpnl", "closedpnl",
})  # fmt: skip
"""Columns of events of orders, of changes of a book, or of somebody's own trades: such a file is no table of a market's trades."""
NAME = "columns"
_OF_A_LEVEL = re.compile(rb'"side":"(?:bid|ask|offer|a)s?"', re.IGNORECASE).search
_TIME = "time: write day and time in one column, as 2026-01-31T12:00:00Z, or a number since 1970"
_SIDE = "JSON list of levels, each [price, size]"
_TYPES = {"timestamp": _TIME, "received": _TIME, "price": "number", "size": "number", "bids": _SIDE, "asks": _SIDE}
_AT_FIELD = re.compile(r" - at `\$\.(\w+)[^`]*`$")  # how the decoder ends the reason for a value of another type


class _Venue(msgspec.Struct):
    venue: Any = None


_venue = msgspec.json.Decoder(_Venue).decode


def recognises(head: Head, columns: GivenColumns) -> bool:
    """Return whether a file has the columns of trades or of books. Where the user names columns, only these and the needed ones count."""
    names = [str(name).strip() for name in head.rows[0]] if head.rows else []
    if not columns.fields and OF_ORDERS & {name.lower() for name in names}:
        return False
    return market_tables.kind_of(names, columns) is not None


def _read(path: Path, context: Context) -> Iterator[Output]:
    columns = context.columns
    found = market_tables.columns_of(path, columns)
    context.note(f"Columns that are read: {', '.join(f'{field} from {name}' for field, name in found.items())}.")
    has_side = bool({"side", "maker_bought"} & found.keys())
    if market_tables.has_no_zone(path, found["timestamp"]):
        context.note(
            "Its times name no zone and are read as UTC: if they are of another zone, write it behind each (+08:00)."
        )
    says_aggressor = "side" in dict(columns.fields)
    venue = None
    for line in market_tables.read_lines(path, columns):
        if b'"venue":' in line.data:
            told = _venue(line.data).venue
            venue = venue or told
            if told != venue:
                raise FileFormError(
                    f"{path.name} is of two markets, {venue!s:.40} and {told!s:.40} in its column {found['venue']}: write a file for each, "
                    "or say that they are one with --column venue="
                )
        if not says_aggressor and _OF_A_LEVEL(line.data):
            raise FileFormError(
                f"{path.name} is not read: its sides are bid and ask, so it seems to hold levels of a book: make a row of each whole book; "
                f"if it holds trades and {found['side']} is the aggressor's side, say so with --column side={found['side']}"
            )
        parsed = own.parse(line, MAX_FUTURE_MS)
        if isinstance(parsed, Rejected):
            yield parsed._replace(detail=_in_words(parsed.detail, line.data))
            continue
        try:
            own.check_numbers(parsed.message)
            parsed.message.symbol = context.prefix + parsed.message.symbol  # type: ignore[union-attr]  # no post
        except Refused as refused:
            what = _other_sizes(parsed.kind, refused, has_side=has_side)
            if what:
                raise FileFormError(f"{path.name} is not read: {what}") from None
            parsed = Rejected(line, refused.reason, refused.detail)
        yield parsed


def _other_sizes(kind: str, refused: Refused, *, has_side: bool) -> str:
    """Return what sizes that are no sizes of trades or books tell of a file; empty where one row is wrong."""
    if kind == "trade" and refused.detail.startswith("size -") and not has_side:
        return (
            "it has negative sizes and no side, so the sign seems to be the side: write sizes without a sign, and a column side with buy "
            "or sell, the side of the aggressor"
        )
    if kind == "book" and refused.detail.startswith("size 0"):
        return "a level has the size 0, so the file seems to hold changes of a book: make a row of each whole book"
    return ""


def _in_words(detail: str, data: bytes) -> str:
    """Return why a row is refused; a value of another type in the words of a table."""
    at = _AT_FIELD.search(detail)
    what = None if at is None else _TYPES.get(at[1])
    if at is None or what is None:
        return detail
    return f"{at[1]} {msgspec.json.decode(data).get(at[1])!s:.40} is no {what}"


COLUMNS = Format(
    NAME,
    "What has no column is not known, such as the side.",
    lambda head: recognises(head, GivenColumns()),
    _read,
)

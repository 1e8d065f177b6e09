"""Any CSV or Parquet file of trades or of whole books, by the names of its columns: the common ones, or those that the user gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ingest.imports.formats.form import MAX_FUTURE_MS, Context, Format, Head
from ingest.messages.refusal import Reason, Refused
from ingest.recordings import market_tables, own
from ingest.recordings.columns import GivenColumns
from ingest.recordings.lines import Output, Parsed, Rejected

OF_ORDERS = frozenset({
    "action", "rtype", "publisher_id", "order_id", "orderid", "order_type", "event_type", "update_type", "is_snapshot",
    "status", "orderstatus", "order_status", "filled", "remaining",
})  # fmt: skip
"""Columns of events of orders, or of changes of a book: such a file is no table of trades, though it has prices and sizes."""
NAME = "columns"


class _Venue(msgspec.Struct):
    venue: Any = None


_venue = msgspec.json.Decoder(_Venue).decode


def recognises(head: Head, columns: GivenColumns) -> bool:
    """Return whether a file has the columns of trades or of books. Where the user names columns, only these and the needed ones count."""
    names = [str(name) for name in head.rows[0]] if head.rows else []
    if not columns.fields and OF_ORDERS & {name.lower() for name in names}:
        return False
    return market_tables.kind_of(names, columns) is not None


def _read(path: Path, context: Context) -> Iterator[Output]:
    columns = context.columns
    venue = None
    for line in market_tables.read_lines(path, columns):
        if b'"venue":' in line.data:
            told = _venue(line.data).venue
            venue = venue or told
            if told != venue:
                yield Rejected(line, Reason.OTHER_MARKET, f"a row of {told!s:.40} in a file of {venue!s:.40}")
                continue
        parsed = own.parse(line, MAX_FUTURE_MS)
        if isinstance(parsed, Parsed):
            try:
                own.check_numbers(parsed.message)
                parsed.message.symbol = context.prefix + parsed.message.symbol  # type: ignore[union-attr]  # no post
            except Refused as refused:
                parsed = Rejected(line, refused.reason, refused.detail)
        yield parsed


COLUMNS = Format(
    NAME, "What has no column is not known, such as the side.", lambda head: recognises(head, GivenColumns()), _read
)

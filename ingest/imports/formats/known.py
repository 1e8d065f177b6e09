"""All formats of this package, and which of them a file has."""

from __future__ import annotations

from ingest.imports.formats import (
    binance,
    captures,
    columns,
    contracts,
    databento_csv,
    databento_dbn,
    hftbacktest,
    json_files,
    lobster,
    tardis,
    trade_tables,
)
from ingest.imports.formats.form import Format, Head, refusing
from ingest.recordings.columns import COMMON, GivenColumns, what_else
from ingest.recordings.files import TABLE_WITH_NAMES, FileFormError, open_text, seems_to_be

KRAKEN_BARS = refusing(
    "Kraken bars (OHLCVT)",
    "bars: features are computed from trades, so import the file of trades (time and sales)",
    trade_tables.is_kraken_bars,
)
FORMATS: tuple[Format, ...] = (
    *binance.FORMATS,
    *tardis.FORMATS,
    *contracts.FORMATS,
    *trade_tables.FORMATS,
    *json_files.FORMATS,
    *captures.FORMATS,
    *lobster.FORMATS,
    *databento_dbn.FORMATS,
    *databento_csv.FORMATS,
    *hftbacktest.FORMATS,
    KRAKEN_BARS,
)
EVERY = (*FORMATS, columns.COLUMNS)


def format_of(head: Head, given: GivenColumns = COMMON, name: str = "") -> Format:
    """Return the format of a file: the only one that recognises it, else that of any table whose columns are known.

    Raise ``FileFormError`` if there is none or there are two. ``name`` is the one that the user names; it must recognise the file too,
    except where nothing but the words of the user tell the columns.
    """
    if not (head.rows or head.first or "".join(head.lines).strip()):
        raise FileFormError(f"{head.path.name} is empty")
    found = [] if given.fields else [one for one in FORMATS if one.recognise(head)]
    if not found and columns.recognises(head, given):
        found = [columns.COLUMNS]
    if name:
        found = [one for one in EVERY if one.name == name and (one in found or one.recognise(head))]
        if not found:
            raise FileFormError(
                f"{head.path.name} is not of the format {name!r:.60}: leave --format out to see what it is"
            )
    if not found:
        raise FileFormError(f"{head.path.name} is of no format that is read{_seems(head)}")
    if len(found) > 1:
        names = " or ".join(f"--format {one.name!r}" for one in found)
        raise FileFormError(f"{head.path.name} is of more than one format: say which with {names}")
    if found[0].why_not:
        raise FileFormError(f"{head.path.name} is not read: it holds {found[0].why_not}")
    return found[0]


def _seems(head: Head) -> str:
    names = [str(name) for name in head.rows[0]] if head.rows else []
    if columns.OF_ORDERS & {name.lower() for name in names}:
        return (
            ": it seems to hold events of orders, changes of a book, or somebody's own trades; make a row of each trade of the "
            "market, or of each book, or name the columns, such as --column price=NAME --column size=NAME"
        )
    if what := what_else(names):
        return f": it seems to hold {what}"
    if head.lines:
        with open_text(head.path) as stream:
            seems = seems_to_be(stream)
        if seems and seems != TABLE_WITH_NAMES:
            return f": it seems to be {seems}"
    if len(names) > 1:
        shown = ", ".join(names)
        return (
            f": its first row is {shown:.120}; if it holds trades or whole books, name their columns, such as --column price=NAME "
            "--column size=NAME --time-column NAME"
        )
    return ": write it as CSV or Parquet with a row of names, such as timestamp, symbol, price, size, side, trade_id"

"""All formats of this package; the first that recognises a file reads it."""

from __future__ import annotations

from ingest.imports.formats import json_files, tardis, trades
from ingest.imports.formats.form import Format, Head, refusing

KRAKEN_BARS = refusing(
    "Kraken bars (OHLCVT)",
    "bars: features are computed from trades, so import the file of trades (time and sales)",
    trades.is_kraken_bars,
)
FORMATS: tuple[Format, ...] = (*tardis.FORMATS, *trades.FORMATS, *json_files.FORMATS, KRAKEN_BARS)


def format_of(head: Head) -> Format | None:
    """Return the format of a file; None where none is known."""
    return next((one for one in FORMATS if one.recognise(head)), None)

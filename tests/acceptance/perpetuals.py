"""``python -m tests.acceptance.perpetuals FILE...``: hold the features of ``derivatives`` and ``context`` against pandas and numpy.

The files are imported onto a tape and backfilled into PostgreSQL, as a user does it, and read once more by a few lines of pandas that
know nothing of this project. Every row and every feature of the two views is compared, and ``mid_price``. Files are raw captures of
Binance (lines ``<time of receipt> <json>``, those of cryptofeed too), Binance's public files (metrics, fundingRate, liquidationSnapshot,
bookTicker, aggTrades, trades, markPriceKlines and indexPriceKlines in folders so named) and files of Tardis (derivative_ticker,
liquidations, quotes, trades, book_snapshot)::

    python -m tests.acceptance.perpetuals usdm.jsonl.gz spot.jsonl.gz --prefix usdm.jsonl.gz=BINANCE-FUTURES:
    python -m tests.acceptance.perpetuals binance-futures_*.csv.gz binance_quotes_*.csv.gz

Without ``--instruments`` the first symbol that has books leads the others, and symbols of the same name behind their prefix (``BTCUSDT``
and ``BINANCE-FUTURES:BTCUSDT``) are a pair, and venues of one asset.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
from psycopg import sql

from ingest.backfill.days.run import backfill_from_tape
from ingest.imports import run as imports
from ingest.recordings.columns import GivenColumns
from ingest.servers import embedded
from ingest.settings import Settings
from ingest.settings import instruments as read_instruments
from ingest.worker import kernels
from tests.acceptance import perpetual_context, perpetual_figures
from tests.acceptance.perpetual_figures import S, Symbol
from tests.acceptance.perpetual_files import read
from transforms.catalog import CONTEXT, DERIVATIVES, MICROSTRUCTURE, NORMALIZED, VIEW, View
from transforms.instrument import Instrument

COMPARED = (DERIVATIVES, CONTEXT, MICROSTRUCTURE, NORMALIZED)
"""The views that are written; the last tells at which seconds a symbol gave rows."""
CLOSE = 1e-9
"""Sums of pandas are in another order, so their last bits may differ."""


@dataclass
class Report:
    """What was compared, what differs, and which features had values."""

    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    values: int = 0

    def compare(self, view: View, symbol: str, found: pd.DataFrame, wanted: pd.DataFrame) -> None:
        """Compare the rows of a symbol; their times are the index."""
        name = f"{view.name} of {symbol}"
        if found.empty and wanted.empty:
            self.lines.append(f"{symbol:28} no row of {view.name}, as it must be")
            return
        for text, times in (
            ("are missing", wanted.index.difference(found.index)),
            ("are too many", found.index.difference(wanted.index)),
        ):
            if len(times):
                self.wrong.append(f"{name}: {len(times)} rows {text}, the first at {times[0]}")
        both = found.index.intersection(wanted.index)
        for column in wanted.columns:
            a, b = (frame.loc[both, column].to_numpy(float) for frame in (found, wanted))
            is_equal = np.isclose(a, b, rtol=CLOSE, atol=CLOSE * np.nanmax(np.abs(b), initial=0.0), equal_nan=True)
            nulls = int(np.isnan(b).sum())
            self.values += len(both) - nulls
            if view is not MICROSTRUCTURE and nulls < len(both):
                self.known.add(column)
            self.lines.append(
                f"{symbol:28} {column:26} {len(both):9,} rows {len(both) - nulls:9,} values {nulls:9,} nulls"
            )
            if not is_equal.all():
                at = int(np.flatnonzero(~is_equal)[0])
                self.wrong.append(
                    f"{name}: {column} differs in {(~is_equal).sum()} rows, first at {both[at]}: {a[at]}, and pandas has {b[at]}"
                )


def related(events: pd.DataFrame, settings: Settings) -> dict[str, Instrument]:
    """Return what is known of each symbol, with relations between them."""
    names = list(dict.fromkeys(events.symbol))
    of_books = [name for name in names if ((events.symbol == name) & (events.kind == "book")).any()]
    found = {}
    for name in names:
        asset = name.rpartition(":")[2]
        pair = next((other for other in names if other != name and other.rpartition(":")[2] == asset), "")
        leader = next((other for other in of_books[:1] if other != name), "")
        found[name] = replace(settings.instrument(name), leader=leader, pair=pair, asset=asset if pair else "")
    return found


def rows_of(url: str, view: View, symbol: str, names: Sequence[str]) -> pd.DataFrame:
    """The rows of a view in the database; their times in microseconds are the index."""
    query = sql.SQL(
        "SELECT (extract(epoch FROM event_timestamp) * 1000000)::bigint, {} FROM {} WHERE symbol = %s ORDER BY 1"
    ).format(sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(view.name))
    with psycopg.connect(url) as connection:
        found = connection.execute(query, (symbol,)).fetchall()
    frame = pd.DataFrame(found, columns=["t", *names]).set_index("t").astype(float)
    assert frame.index.is_unique
    return frame[frame.index % S == 0]


def run(
    paths: Sequence[Path],
    url: str,
    folder: Path,
    prefixes: Mapping[str, str] | None = None,
    instruments: Mapping[str, Instrument] | None = None,
) -> Report:
    """Import, backfill and compare; the tables must be empty."""
    report = Report()
    prefixes = prefixes or {}
    events = read(paths, prefixes)
    conf = Settings(partitions=2, tape=str(folder / "tape"))
    about = dict(instruments or {})
    about |= {name: replace(conf, instruments=about).instrument(name) for name in set(events.symbol) - about.keys()}
    conf = replace(conf, instruments=about if instruments else related(events, conf))
    refused: dict[str, int] = {}
    for job in imports.plan(paths, GivenColumns(prefixes=tuple(prefixes.items()))):
        done = imports.run(job, conf, folder / "refused", lambda _: None)
        refused |= {reason: refused.get(reason, 0) + n for reason, n in done.refused.items()}
    backfill_from_tape(url, conf, views=[view.name for view in COMPARED], refused_folder=folder / "refused")
    symbols = {str(name): Symbol.of(of) for name, of in events.groupby("symbol")}
    kinds, late = events.kind.value_counts().to_dict(), sum(one.refused for one in symbols.values())
    report.lines.append(
        f"{len(events):,} events {kinds}; {late} came too late; refused by the import: {refused or 'none'}"
    )
    _compare_derivatives(report, events, symbols, conf, url)
    _compare_context(report, symbols, conf, url)
    if not report.values:
        report.wrong.append("there was nothing to compare")
    return report


def _compare_derivatives(
    report: Report, events: pd.DataFrame, symbols: Mapping[str, Symbol], conf: Settings, url: str
) -> None:
    for name, symbol in symbols.items():
        found = rows_of(url, DERIVATIVES, name, DERIVATIVES.names)
        of = pd.concat([symbol.market.t_us, symbol.told.holds_us])
        grid = pd.Series(np.arange(-(-int(of.min()) // S), -(-int(of.max()) // S) + 1) * S)
        grid = grid[perpetual_figures.is_due(symbol, grid)]
        report.compare(DERIVATIVES, name, found, perpetual_figures.derivatives(symbol, conf.instrument(name), grid))


def _compare_context(report: Report, symbols: Mapping[str, Symbol], conf: Settings, url: str) -> None:
    ttl_us = VIEW["microstructure"].ttl_s * S
    of_books = {name: rows_of(url, MICROSTRUCTURE, name, ["mid_price"]) for name in symbols}
    of_books = {name: rows for name, rows in of_books.items() if len(rows)}
    if not of_books:
        return
    span = range(
        min(rows.index[0] for rows in of_books.values()) // S,
        max(rows.index[-1] for rows in of_books.values()) // S + 1,
    )
    seconds = {}
    for name, rows in of_books.items():
        at = pd.Series(rows.index)
        quotes = perpetual_figures.quotes(symbols[name], at, ttl_us)
        mid = ((quotes.bid + quotes.ask) / 2).to_numpy()
        report.compare(MICROSTRUCTURE, name, rows, pd.DataFrame({"mid_price": mid}, index=rows.index))
        seconds[name] = perpetual_context.Seconds.of(symbols[name], at, quotes, conf.instrument(name), span)
    for name in of_books:
        if conf.neighbours(name) is None:
            continue
        own = pd.Series(rows_of(url, NORMALIZED, name, NORMALIZED.names[:1]).index)
        own = own[(own // S >= span.start) & (own // S < span.stop)]
        about = {other: conf.instrument(other) for other in symbols}
        found = rows_of(url, CONTEXT, name, CONTEXT.names)
        report.compare(CONTEXT, name, found, perpetual_context.context(name, about, symbols, seconds, own))


def main(argv: Sequence[str] | None = None) -> int:
    """1 where anything differs, or nothing could be compared."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.acceptance.perpetuals",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--prefix", action="append", default=[], metavar="FILE=PREFIX", help="as for import")
    parser.add_argument("--instruments", type=Path, metavar="TOML", help="as TFS_INSTRUMENTS names it")
    args = parser.parse_args(argv)
    kernels.warm_up()
    prefixes = dict(one.rsplit("=", 1) for one in args.prefix)
    with tempfile.TemporaryDirectory(prefix="tfs-") as data, tempfile.TemporaryDirectory() as folder:
        Path(data).chmod(0o711)  # the servers may run as another user
        with embedded.running(Path(data), durable=False) as servers:
            given = read_instruments(args.instruments) if args.instruments else None
            report = run(args.paths, servers.postgres_url, Path(folder), prefixes, given)
    print("\n".join(report.lines))
    for line in report.wrong:
        print(line)
    print("different" if report.wrong else f"equal: {report.values:,} values")
    return int(bool(report.wrong))


if __name__ == "__main__":
    sys.exit(main())

"""Rows to fit to, made of the tape: its entries go through the partitions of a worker, and a temporary folder keeps what the fit needs.

A row takes 32 bytes there, so memory does not grow with the history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.microprice.fit import PIECE, Piece, fit_rows, smallest_step
from ingest.microprice.tables import Span
from ingest.settings import Settings
from ingest.tape.period import in_order
from ingest.tape.table import Tape, of_tape
from ingest.worker.partition import Partition
from transforms.catalog import MICROSTRUCTURE
from transforms.compiling import warm_up
from transforms.microstructure.microprice_fit import Floats
from transforms.times import EPOCH, us_of_datetime

_AROUND = timedelta(minutes=10)
"""What arrives so much before and after the time of the rows is read too: a row has a book of the last seconds."""
_ROWS = 20_000  # of all views, that a partition collects before they are kept
_ALONE = 1_000_000  # symbols: none is turned away because others came first, as in a backfill
_FEATURES = ("mid_price", "imbalance_l1", "spread")
_KEPT = np.dtype([("t_us", "i8"), *((name, "f8") for name in _FEATURES)])


class TapedRows:
    """Rows of the view ``microstructure`` from the tape, by symbol. A context manager, which deletes them at its end.

    Attributes
    ----------
    smallest_spread : dict of str to float
        Of each symbol that has a row with a spread.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="tfs-fit-")
        self._numbers: dict[str, int] = {}
        self._newest_us: dict[str, int] = {}
        self._turned_back: set[str] = set()
        self.smallest_spread: dict[str, float] = {}

    def __enter__(self) -> TapedRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    @property
    def symbols(self) -> list[str]:
        """The symbols that have rows."""
        return sorted(self._numbers)

    def read(
        self,
        tape: Tape,
        settings: Settings,
        symbols: Sequence[str],
        span: Span,
        progress: Callable[[int], None] = lambda t_us: None,
    ) -> None:
        """Make the rows from ``span.since`` on and before ``span.before``, of what arrived at that time.

        ``progress`` is called with times of arrival (µs).
        """
        warm_up()
        alone = replace(of_tape(tape, settings), max_symbols=_ALONE)
        partitions = [Partition(p, alone) for p in range(alone.partitions)]
        since = span.since - _AROUND if span.since > EPOCH else None
        for entry_id, p, fields in in_order(tape, settings, since, span.before + _AROUND, symbols, imported=True):
            partition = partitions[p]
            partition.process(entry_id, fields, 0)
            if partition.pending.n_rows >= _ROWS:
                self._keep(partition, span)
                progress(int(entry_id.partition(b"-")[0]) * 1000)
        for partition in partitions:
            self._keep(partition, span)

    def pieces(self, symbol: str) -> Iterator[Piece]:
        """Yield the rows of a symbol in order of time, some at a time."""
        if symbol not in self._numbers:
            return
        if symbol in self._turned_back:
            rows = np.fromfile(self._path(symbol), _KEPT)
            rows = rows[np.argsort(rows["t_us"], kind="stable")]
            is_last = np.append(rows["t_us"][1:] != rows["t_us"][:-1], True)  # of several of one time
            yield _piece(rows[is_last])
            return
        with self._path(symbol).open("rb") as file:
            while len(rows := np.frombuffer(file.read(PIECE * _KEPT.itemsize), _KEPT)):
                yield _piece(rows)

    def fit(
        self, symbol: str, span: Span, grid_us: int, *, tick: float | None = None, **given: Any
    ) -> tuple[Floats, int]:
        """Fit the table of a symbol to its rows, as ``fit.fit_symbol`` does to those of the database."""
        smallest = self.smallest_spread.get(symbol)
        step = tick or smallest_step(symbol, span.before, smallest, "the tape has no book of it there")
        return fit_rows(symbol, self.pieces(symbol), span.before, grid_us, step, **given)

    def _keep(self, partition: Partition, span: Span) -> None:
        batch = partition.take_pending().batches[MICROSTRUCTURE.name]
        if not len(batch):
            return
        columns = batch.columns()
        begin_us, end_us = us_of_datetime(span.since), us_of_datetime(span.before)
        is_wanted = (columns.event_us >= begin_us) & (columns.event_us < end_us)
        symbols = np.array(columns.symbols)
        for symbol in set(columns.symbols):
            chosen = np.flatnonzero(is_wanted & (symbols == symbol))
            if len(chosen):
                rows = np.empty(len(chosen), _KEPT)
                rows["t_us"] = columns.event_us[chosen]
                for name in _FEATURES:
                    rows[name] = columns.values[chosen, MICROSTRUCTURE.index[name]]
                self._append(symbol, rows)

    def _append(self, symbol: str, rows: NDArray[np.void]) -> None:
        self._numbers.setdefault(symbol, len(self._numbers))
        with self._path(symbol).open("ab") as file:
            file.write(rows.tobytes())
        times_us = np.append(self._newest_us.get(symbol, -1), rows["t_us"])
        if np.any(np.diff(times_us) <= 0):
            self._turned_back.add(symbol)  # the symbol was forgotten, and its history came once more
        self._newest_us[symbol] = int(times_us[-1])
        spreads = rows["spread"][rows["spread"] > 0]
        if len(spreads):
            self.smallest_spread[symbol] = min(float(spreads.min()), self.smallest_spread.get(symbol, np.inf))

    def _path(self, symbol: str) -> Path:
        return Path(self._folder.name, str(self._numbers[symbol]))


def _piece(rows: NDArray[np.void]) -> Piece:
    mid, imbalance, spread = (np.ascontiguousarray(rows[name]) for name in _FEATURES)
    return rows["t_us"], mid, imbalance, spread

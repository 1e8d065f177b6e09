"""Prices of the book: the mid and the spread of the view ``microstructure``, from the lake where it has a day as the database does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore
from psycopg import sql

from feature_repo.stores.history import History
from feature_repo.stores.offline.binary import decode
from feature_repo.stores.offline.binary import format as wire
from feature_repo.stores.offline.binary.cells import arrow_type
from feature_repo.stores.offline.histories import counts
from feature_repo.stores.offline.join import from_lake
from feature_repo.stores.offline.join.latest import NONE
from feature_repo.stores.offline.join.period import days
from feature_repo.stores.offline.lake.read import View, forget
from feature_repo.stores.offline.lake.tables import CREATED, EVENT, KEY
from feature_repo.stores.offline.session import snapshot
from feature_repo.stores.offline.tables.schema import RECOMPUTED, SILENCE, is_managed
from feature_repo.training.prices import Ints
from feature_repo.training.sources import Rows
from transforms import catalog
from transforms.times import datetime_of_us

log = logging.getLogger(__name__)

_TYPES: Final = (wire.TIMESTAMPTZ, wire.TIMESTAMPTZ, wire.FLOAT8, wire.FLOAT8, wire.INT8)
_PRICES: Final = ("mid_price", "spread")


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A transaction, and the days of the lake that are as it sees them."""

    connection: psycopg.Connection[Any]
    lake: View | None


class Books:
    """The mid and the spread of the view ``microstructure``, on its grid.

    A read is a transaction of its own; those inside `reading` are one.
    """

    def __init__(self, store: FeatureStore, history: History) -> None:
        view = catalog.view_of("mid_price")
        self.ttl_us = view.ttl_s * 1_000_000
        self._settings = store.config.offline_store
        self._name = view.name
        self._table = sql.Identifier(view.name)
        self._history = history if is_managed(store.get_feature_view(view.name)) else None
        self._open: _Snapshot | None = None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let the reads inside be of one transaction, which looks up the days of the lake once."""
        with snapshot(self._settings) as connection:
            lake = from_lake.days_of(connection, (self._name,)) if self._history is not None else None
            self._open = _Snapshot(connection, lake)
            try:
                yield
            finally:
                self._open = None

    def newest_us(self, symbol: str) -> int:
        """Return the event time of the newest row that has a mid, -1 where none has."""
        query = sql.SQL(
            "SELECT event_timestamp FROM {} WHERE symbol = {} AND mid_price IS NOT NULL ORDER BY event_timestamp DESC LIMIT 1"
        ).format(self._table, sql.Literal(symbol))
        with snapshot(self._settings) as connection:
            found = list(decode.read_columns(connection, query, [wire.TIMESTAMPTZ]))
        return int(_us(found[0][0])[0]) if found else NONE

    def read(self, symbol: str, begin_us: int, end_us: int) -> Rows:
        """Return the rows of one history with event times from ``begin_us`` to ``end_us``, both included."""
        if self._open is None:
            with self.reading():
                return self.read(symbol, begin_us, end_us)
        connection, lake = self._open.connection, self._open.lake

        def asked(first_us: int, last_us: int) -> pa.Table:
            return self._asked(connection, symbol, first_us, last_us)

        if lake is None:
            return self._rows(asked(begin_us, end_us))
        try:
            parts = list(
                days(lake, begin_us, end_us, lambda day: self._of_day(lake, day, symbol, begin_us, end_us), asked)
            )
        except (OSError, pa.ArrowException) as error:
            log.warning("%s is read from the database: %.300s", self._name, error)
            forget(lake)
            self._open = _Snapshot(connection, None)
            return self._rows(asked(begin_us, end_us))
        return self._rows(pa.concat_tables(parts) if parts else asked(begin_us, end_us))

    def _asked(self, connection: psycopg.Connection[Any], symbol: str, begin_us: int, end_us: int) -> pa.Table:
        bounds = sql.SQL("BETWEEN {} AND {}").format(datetime_of_us(begin_us), datetime_of_us(end_us))
        where = [
            sql.SQL("r.symbol = {}").format(sql.Literal(symbol)),
            sql.SQL("r.event_timestamp {} AND r.created_timestamp IS NOT NULL").format(bounds),
        ]
        silence: sql.Composable = sql.SQL("0::bigint")
        if self._history is not None:
            other = [sql.SQL("o.event_timestamp {}").format(bounds)]
            where.append(counts("r", self._table, ["symbol"], "event_timestamp", self._history, other))
            silence = sql.SQL("COALESCE({}, 0)::bigint").format(sql.Identifier("r", SILENCE))
        query = sql.SQL(
            "SELECT r.event_timestamp, r.created_timestamp, r.mid_price, r.spread, {} FROM {} AS r WHERE {} ORDER BY 1, 2"
        ).format(silence, self._table, sql.SQL(" AND ").join(where))
        batches = list(decode.read_columns(connection, query, _TYPES))
        return pa.table(
            {
                name: pa.chunked_array([batch[i] for batch in batches], arrow_type(kind))
                for i, (name, kind) in enumerate(zip((EVENT, CREATED, *_PRICES, SILENCE), _TYPES, strict=True))
            }
        )

    def _of_day(self, lake: View, day: int, symbol: str, begin_us: int, end_us: int) -> pa.Table | None:
        groups = [
            group
            for group in lake.groups(day)
            if group.symbols[0] <= symbol <= group.symbols[1]
            and group.events[0] <= end_us
            and group.events[1] >= begin_us
        ]
        if not groups:
            return None
        found = lake.read(groups, [KEY, EVENT, CREATED, *_PRICES, SILENCE, RECOMPUTED])
        event_us = _us(found.column(EVENT))
        is_own = pc.equal(found.column(KEY), symbol).to_numpy()
        mine = pa.array(np.flatnonzero(is_own & (event_us >= begin_us) & (event_us <= end_us)))
        rows = found.select([EVENT, CREATED, *_PRICES, SILENCE, RECOMPUTED]).take(mine)
        if not rows.num_rows:
            return None
        event_us = _us(rows.column(EVENT))
        kept = from_lake.counting(rows, self._history, np.zeros(len(event_us), np.int64), event_us)
        rows = rows if kept is None else rows.take(pa.array(kept))
        times = [rows.column(name).cast(pa.timestamp("us")) for name in (EVENT, CREATED)]
        silence = pc.fill_null(rows.column(SILENCE), 0).cast(pa.int64())
        return pa.table(
            [*times, *(rows.column(name) for name in _PRICES), silence], names=[EVENT, CREATED, *_PRICES, SILENCE]
        )

    def _rows(self, found: pa.Table) -> Rows:
        t_us, created_us = (_us(found.column(name)) for name in (EVENT, CREATED))
        mid, spread = (np.asarray(found.column(name).to_numpy(), np.float64) for name in _PRICES)  # null is NaN
        return Rows(t_us, created_us, mid, spread, found.column(SILENCE).to_numpy() * 1000, self.ttl_us)


def _us(column: pa.Array | pa.ChunkedArray) -> Ints:
    return np.asarray(column.cast(pa.int64()).to_numpy(), np.int64)

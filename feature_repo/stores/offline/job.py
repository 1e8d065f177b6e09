"""Results of retrievals. Nothing is read before ``to_df``, ``to_arrow``, ``to_sql`` or ``persist`` is called."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres import PostgreSQLRetrievalJob
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import SavedDatasetPostgreSQLStorage
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from feast.infra.utils.postgres.connection_utils import _get_conn
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.saved_dataset import SavedDatasetStorage
from psycopg import sql

from feature_repo.stores.offline.binary import decode, encode
from feature_repo.stores.offline.join import period, retrieve, statement
from feature_repo.stores.offline.join.lookup import Lookup
from feature_repo.stores.offline.join.spine import Spine
from feature_repo.stores.offline.session import export, snapshot
from feature_repo.stores.offline.tables.schema import column_definitions, identifier_parts
from feature_repo.stores.references import column_names

CONNECTIONS: Final = 8  # at most, of one retrieval


class QueryJob(PostgreSQLRetrievalJob):  # type: ignore[misc]  # Feast is untyped here
    """The result of a query, decoded in columns."""

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        with self._query_generator() as query, snapshot(self.config.offline_store, timeout) as connection:
            return decode.read_table(connection, sql.SQL(query))

    def persist(
        self, storage: SavedDatasetStorage, allow_overwrite: bool | None = False, timeout: int | None = None
    ) -> None:
        """Write the result, on-demand features included, to a table. Raise Feast's error where it may not be replaced."""
        if not isinstance(storage, SavedDatasetPostgreSQLStorage):
            raise TypeError(f"results are stored in PostgreSQL, not as {type(storage).__name__}")
        name = storage.postgres_options._table
        _store(self.config.offline_store, name, self.to_arrow(timeout=timeout), overwrite=bool(allow_overwrite))


class PeriodJob(QueryJob):
    """All rows of one view in a range of event time."""

    def __init__(
        self,
        lookup: Lookup,
        bounds: tuple[datetime, datetime],
        config: RepoConfig,
        full_feature_names: bool,
        on_demand_feature_views: list[OnDemandFeatureView],
    ) -> None:
        # The statement holds only identifiers and times, so its text needs no connection.
        query = statement.rows_between(lookup, bounds).as_string(None)
        super().__init__(query, config, full_feature_names, on_demand_feature_views)
        self._lookup = lookup
        self._bounds = bounds

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        with snapshot(self.config.offline_store, timeout) as connection:
            return period.rows(connection, self._lookup, self._bounds)


class HistoricalJob(QueryJob):
    """The result of a point-in-time join of `lookups` for the entity rows that `spine` returns, given a connection.

    `frame` is the caller's own SQL for the entity rows; without it ``to_sql`` writes the rows out. `features` are
    Feast's references.
    """

    def __init__(
        self,
        *,
        config: RepoConfig,
        spine: Callable[[Any], Spine],
        lookups: Sequence[Lookup],
        frame: str | None,
        features: list[str],
        full_feature_names: bool,
        on_demand_feature_views: list[OnDemandFeatureView],
    ) -> None:
        super().__init__("", config, full_feature_names, on_demand_feature_views)
        self._make_spine = spine
        self._lookups = lookups
        self._frame = frame
        self._features = features

    @property
    def metadata(self) -> RetrievalMetadata:
        """Features, keys and the range of moments. Entity SQL runs for it unless it has run already."""
        if self._metadata is None:
            with snapshot(self.config.offline_store) as connection:
                self._read_spine(connection)
        return self._metadata

    def to_sql(self) -> str:
        """Return one statement that gives the result without on-demand features. It holds the entity rows."""
        with snapshot(self.config.offline_store) as connection:
            spine = self._read_spine(connection)
            return statement.joined(spine, self._lookups, self._frame).as_string(connection)

    def to_arrow(self, *args: Any, **kwargs: Any) -> pa.Table:
        """Return the entity rows, then the features in the order of the references, as an online response has them.

        Feast appends what is computed on demand at the end. Columns that only an on-demand view reads come last.
        """
        table = super().to_arrow(*args, **kwargs)
        named = column_names(self._features, full_names=self.full_feature_names)
        present = table.column_names
        named = [name for name in named if name in present]
        if present[-len(named) :] == named:
            return table
        return table.select([name for name in present if name not in named] + named)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        settings = self.config.offline_store
        with ExitStack() as stack:
            connection = stack.enter_context(snapshot(settings, timeout))
            spine = self._read_spine(connection)

            def more() -> list[Any]:
                same = export(connection)
                # One more than there are processors: the server reads on while this side decodes.
                count = min(1 + (os.cpu_count() or 1), CONNECTIONS, settings.max_conn) - 1
                return [stack.enter_context(snapshot(settings, timeout, same)) for _ in range(count)]

            return retrieve.join(connection, spine, self._lookups, more)

    def _read_spine(self, connection: Any) -> Spine:
        """Return the entity rows, and keep their metadata."""
        spine = self._make_spine(connection)
        times = spine.table.column(spine.event)
        self._metadata = RetrievalMetadata(
            features=self._features,
            keys=[name for name in spine.table.column_names if name != spine.event],
            min_event_timestamp=pc.min(times).as_py(),
            max_event_timestamp=pc.max(times).as_py(),
        )
        return spine


def _store(settings: Any, name: str, table: pa.Table, *, overwrite: bool) -> None:
    """Write an Arrow table to a new table of the database, in one transaction."""
    target = sql.Identifier(*identifier_parts(name))
    kinds = {field.name: encode.column_type(field.type) for field in table.schema}
    encoded = [encode.column_of(table.column(field).combine_chunks(), kind) for field, kind in kinds.items()]
    with _get_conn(settings) as connection, connection.cursor() as cursor:
        if overwrite:
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(target))
        elif cursor.execute("SELECT to_regclass(%s)", (target.as_string(connection),)).fetchone() != (None,):
            raise SavedDatasetLocationAlreadyExists(name)
        cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(target, column_definitions(kinds)))
        encode.copy_in(cursor, target, encoded)

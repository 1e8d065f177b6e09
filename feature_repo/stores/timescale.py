"""Feast's offline store on TimescaleDB or on plain PostgreSQL.

It gives the results of Feast's own PostgreSQL store, reads faster, and has the writes that Feast's own lacks. Named in
``feature_store.yaml`` as ``type: feature_repo.stores.timescale.TimescaleOfflineStore``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

import pandas as pd
import psycopg
import pyarrow as pa
from feast import FeatureView
from feast.errors import FeastEntityDFMissingColumnsError, InvalidEntityType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres import (
    PostgreSQLOfflineStore,
    PostgreSQLOfflineStoreConfig,
)
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLOptions
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.infra.utils.postgres.connection_utils import _get_conn
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.utils import compute_non_entity_date_range
from psycopg import sql
from pydantic import Field, PositiveFloat, StrictStr, model_validator

from feature_repo.stores.endpoints import postgres_parameters, postgres_url
from feature_repo.stores.history import History, current
from feature_repo.stores.offline.append import append_table
from feature_repo.stores.offline.histories import rows_of
from feature_repo.stores.offline.job import HistoricalJob, PeriodJob, QueryJob
from feature_repo.stores.offline.join.entity_sql import bare
from feature_repo.stores.offline.join.lookup import lookups
from feature_repo.stores.offline.join.spine import Spine, spine_of_frame, spine_of_query
from feature_repo.stores.offline.join.statement import moments_between
from feature_repo.stores.offline.tables.hypertable import Policy
from feature_repo.stores.offline.tables.schema import (
    MAKERS,
    SILENCE,
    has_makers,
    identifier_parts,
    table_of_feature_view,
)
from transforms.times import us_of_datetime

_TLS: Final = ("sslmode", "sslkey_path", "sslcert_path", "sslrootcert_path")
_ADDRESS: Final = ("host", "port", "database", "user", "password", *_TLS)


class TimescaleOfflineStoreConfig(PostgreSQLOfflineStoreConfig):  # type: ignore[misc]  # Feast is untyped here
    """Feast's PostgreSQL settings, all optional.

    Without a ``host`` the server is that of ``TFS_POSTGRES_URL``, else the embedded one. It is looked up for every
    connection, so that a long-lived store finds a server that has moved. With a ``host`` Feast's own rules hold:
    database, user and password are required, and ``sslmode`` is ``require`` unless it is given.
    """

    type: Literal["feature_repo.stores.timescale.TimescaleOfflineStore"] = (
        "feature_repo.stores.timescale.TimescaleOfflineStore"
    )
    host: StrictStr | None = None
    port: int | None = None
    database: StrictStr | None = None
    user: StrictStr | None = None
    password: StrictStr | None = Field(default=None, repr=False)
    sslmode: StrictStr | None = None
    columnstore_after_days: PositiveFloat | None = 2  # age at which a chunk goes to the columnstore; null keeps rows
    history: History = "served"  # which rows joins read where there are served and recomputed ones (stores/history.py)
    retain_days: PositiveFloat | None = None  # age at which a chunk is deleted; null keeps everything

    @model_validator(mode="after")
    def _whole(self) -> TimescaleOfflineStoreConfig:
        given = self.__dict__
        if given["host"] is None:
            stray = [name for name in _ADDRESS if given[name] is not None]
            if stray:
                raise ValueError(f"offline_store has {', '.join(stray)} but no host")
        else:
            absent = [name for name in ("database", "user", "password") if given[name] is None]
            if absent:
                raise ValueError(f"offline_store has a host but no {', '.join(absent)}")
            given["port"] = given["port"] or 5432
            given["sslmode"] = given["sslmode"] or "require"
        return self

    def __getattribute__(self, name: str) -> Any:
        # Feast reads host, port and so on from the settings for each connection: look up the server there.
        value = super().__getattribute__(name)
        if value is None and name in _ADDRESS and not self.has_host:
            return postgres_parameters(postgres_url()).get(name.removesuffix("_path"))
        return value

    @property
    def has_host(self) -> bool:
        """Whether the yaml names the server."""
        return self.__dict__["host"] is not None

    @property
    def policy(self) -> Policy:
        """How hypertables are kept."""
        ages = (self.columnstore_after_days, self.retain_days)
        after, retain = (timedelta(days=days) if days else None for days in ages)
        return Policy(columnstore_after=after, retain=retain)


class TimescaleOfflineStore(PostgreSQLOfflineStore):  # type: ignore[misc]
    """Feast's PostgreSQL offline store with a point-in-time join by index, results in columns, and writes."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        **kwargs: Any,
    ) -> RetrievalJob:
        """Return the features of each entity row as they were at its moment.

        A row holds from its event time until the next one, but no longer than the view's ttl (inclusive). Of several
        rows of one event time the one created last counts, and of served and recomputed rows those of the history that is
        read (``feature_repo.stores.history``). The result has every entity row once, in order, with all of
        its columns, and null where no row holds.

        Parameters are those of Feast: `entity_df` is a frame, or SQL that gives one, with the join keys and moments, or
        None for all rows between ``start_date`` and ``end_date``. `filter_by_created_timestamp` leaves out rows created
        after the moment; training should set it.
        """
        known = filter_by_created_timestamp
        history = current(config.offline_store.history)
        names = {"full_names": full_feature_names}
        views = lookups(feature_refs, feature_views, registry, project, **names, known=known, history=history)
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        # The SQL is put into brackets. A semicolon would end the statement there; a comment would swallow the bracket.
        frame = f"{bare(entity_df)}\n" if isinstance(entity_df, str) else None
        if entity_df is None:
            if known:
                raise ValueError("filter_by_created_timestamp needs an entity frame: no row is known at its event time")
            period = compute_non_entity_date_range(
                feature_views, start_date=kwargs.get("start_date"), end_date=kwargs.get("end_date")
            )
            views = [replace(view, since=us_of_datetime(period[0])) for view in views]
            if len(views) == 1:
                return PeriodJob(views[0], period, config, full_feature_names, on_demand)
            # Only identifiers and times are in the statement, so its text needs no connection.
            frame = moments_between(views, period).as_string(None)
        keys = {key for view in views for key in view.key_names}
        return HistoricalJob(
            config=config,
            spine=partial(spine_of_query, query=frame) if frame is not None else _spine_of(entity_df, keys),
            lookups=views,
            frame=frame,
            features=feature_refs,
            full_feature_names=full_feature_names,
            on_demand_feature_views=on_demand,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        *args: Any,
        **kwargs: Any,
    ) -> RetrievalJob:
        """Return the result of Feast's own query for the newest row of each key, decoded in columns."""
        source = _source_of_history(config, data_source, join_key_columns, timestamp_field)
        pull = PostgreSQLOfflineStore.pull_latest_from_table_or_query
        return _in_columns(
            pull(config, source, join_key_columns, feature_name_columns, timestamp_field, *args, **kwargs)
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        *args: Any,
        **kwargs: Any,
    ) -> RetrievalJob:
        """Return the result of Feast's own query for all rows of a range, decoded in columns."""
        source = _source_of_history(config, data_source, join_key_columns, timestamp_field)
        pull = PostgreSQLOfflineStore.pull_all_from_table_or_query
        return _in_columns(
            pull(config, source, join_key_columns, feature_name_columns, timestamp_field, *args, **kwargs)
        )

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: Any
    ) -> Iterable[tuple[str, str]]:
        """Return the columns that Feast expects in a pushed frame; nobody who pushes rows knows the silence of a feed or its kernels."""
        columns = list(super().get_table_column_names_and_types_from_data_source(config, data_source))
        own = {SILENCE, *MAKERS} if SILENCE in dict(columns) else set()
        return [(name, kind) for name, kind in columns if name not in own]

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Append rows to the table behind `feature_view`; rows that are there already are ignored (``offline/facts.py``).

        Columns may come in any order, named as in the table or, where the source maps fields, as in the view. A row
        without ``created_timestamp`` counts as available from now on. `progress` gets the number of rows of each slice.
        Where columns or values do not fit, raise ValueError and write nothing of the slice.
        """
        target = table_of_feature_view(feature_view)
        if target is None:
            raise ValueError(f"{feature_view.name}: its source is a query, which cannot be written to")
        source = {new: old for old, new in feature_view.batch_source.field_mapping.items()}
        table = table.rename_columns([source.get(name, name) for name in table.column_names])
        with _get_conn(config.offline_store) as connection:
            connection.execute("SET TimeZone = 'UTC'")  # a desk's table may have times without a zone
            connection.commit()
            try:
                append_table(connection, target, table, datetime.now(UTC), progress)
            except psycopg.errors.DatatypeMismatch as error:
                problem = f"{feature_view.name} can be read but not written to: {error.diag.message_primary}"
                raise ValueError(problem) from error


def _spine_of(frame: Any, keys: Iterable[str]) -> Callable[[Any], Spine]:
    """Return the spine of the caller's frame as it is now. Later changes of the frame do not matter."""
    if not isinstance(frame, pd.DataFrame):
        raise InvalidEntityType(type(frame))
    spine = spine_of_frame(frame)
    if missing := set(keys) - set(spine.table.column_names):
        raise FeastEntityDFMissingColumnsError(set(keys), missing)
    return lambda connection: spine


def _in_columns(job: Any) -> QueryJob:
    """Return a job of Feast as one that decodes its result in columns."""
    return QueryJob(job.to_sql(), job.config, full_feature_names=False)


def _source_of_history(config: RepoConfig, source: Any, keys: list[str], event: str) -> Any:
    """Return a source whose query Feast can put into brackets.

    That of a managed table has the rows that count in the history that is read. A query has no semicolon, and no comment that hides the
    bracket. Every other source stays as it is.
    """
    options = source._postgres_options
    if options._query:
        query = f"{bare(options._query)}\n"
    else:
        name = sql.Identifier(*identifier_parts(options._table))
        with _get_conn(config.offline_store) as connection:
            if not has_makers(connection, name):
                return source
        query = rows_of(name, keys, event, current(config.offline_store.history)).as_string(None)
    source = copy.copy(source)
    source._postgres_options = PostgreSQLOptions(name=options._name, query=query, table=None)
    return source

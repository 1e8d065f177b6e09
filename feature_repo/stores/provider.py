"""Feast's provider for this project: ``feast apply`` also creates and migrates the tables of the catalogue's views.

Those views carry the tag ``schema.MANAGED``. The table of any other view is somebody else's and is left as it is.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import psycopg
from feast import Entity, FeatureView, Field
from feast.infra.passthrough_provider import PassthroughProvider
from feast.infra.utils.postgres.connection_utils import _get_conn
from feast.repo_config import RepoConfig
from feast.types import Int64
from psycopg import sql

from feature_repo.stores.endpoints import postgres_url
from feature_repo.stores.offline.tables.schema import (
    SILENCE,
    identifier_parts,
    is_managed,
    migrate,
    table_of_feature_view,
)
from feature_repo.stores.redis import RedisOnlineStore
from feature_repo.stores.timescale import TimescaleOfflineStoreConfig

log = logging.getLogger(__name__)


class TradingProvider(PassthroughProvider):  # type: ignore[misc]  # Feast is untyped here
    """Feast's own provider, which also keeps the tables of managed views in step with the definitions."""

    def update_infra(
        self,
        project: str,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Create the tables of managed views and add their new columns; drop none. Feast calls it in every ``feast apply``."""
        offline = self.repo_config.offline_store
        if isinstance(offline, TimescaleOfflineStoreConfig) and not offline.has_host:
            postgres_url()  # without a server the apply ends here, before it has changed anything
        super().update_infra(project, tables_to_delete, tables_to_keep, entities_to_delete, entities_to_keep, partial)
        if not isinstance(offline, TimescaleOfflineStoreConfig):
            return
        views = [view for view in tables_to_keep if isinstance(view, FeatureView) and is_managed(view)]
        tables = [table for table in map(table_of_feature_view, views) if table is not None]
        if tables:
            with _get_conn(offline) as connection:
                connection.autocommit = True  # each step of the migration is a transaction of its own
                _make_schema(connection, offline.db_schema)
                migrate(connection, tables, offline.policy)
        for view in tables_to_delete:
            if isinstance(view, FeatureView) and is_managed(view):
                log.warning("%s is no longer defined; its offline table is kept with its rows", view.name)

    def materialize_single_feature_view(self, config: RepoConfig, feature_view: Any, *args: Any, **kwargs: Any) -> None:
        """Write rows of a view into the online store, with how long its feed had been silent.

        The silence travels to `RedisOnlineStore` as one more column, which that store puts into the time of the row.
        """
        if is_managed(feature_view) and isinstance(self.online_store, RedisOnlineStore):
            feature_view = copy.copy(feature_view)
            feature_view.features = [*feature_view.features, Field(name=SILENCE, dtype=Int64)]
        super().materialize_single_feature_view(config, feature_view, *args, **kwargs)


def _make_schema(connection: psycopg.Connection[Any], name: str) -> None:
    """Create the configured schema unless it exists. Its name is parsed as PostgreSQL parses a search path."""
    schema = sql.Identifier(*identifier_parts(name))
    there = connection.execute("SELECT to_regnamespace(%s)", (schema.as_string(connection),)).fetchone()
    if there == (None,):  # CREATE ... IF NOT EXISTS needs the right to create even when the schema exists
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))

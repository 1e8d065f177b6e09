"""Feast's provider for this project: ``feast apply`` also creates and migrates the offline tables."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from feast import Entity, FeatureView
from feast.infra.passthrough_provider import PassthroughProvider
from feast.infra.utils.postgres.connection_utils import _get_conn
from psycopg import sql

from feature_repo.stores.endpoints import NoServerError, postgres_url
from feature_repo.stores.offline.tables.schema import identifier_parts, migrate, table_of_feature_view
from feature_repo.stores.timescale import TimescaleOfflineStoreConfig

log = logging.getLogger(__name__)


class TradingProvider(PassthroughProvider):  # type: ignore[misc]  # Feast is untyped here
    """Passes everything to the two stores, as Feast does, and keeps the offline tables in step with the definitions."""

    def update_infra(
        self,
        project: str,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Called by every ``feast apply``. Offline tables are created and get new columns; none is ever dropped."""
        offline = self.repo_config.offline_store
        if not isinstance(offline, TimescaleOfflineStoreConfig):
            super().update_infra(
                project, tables_to_delete, tables_to_keep, entities_to_delete, entities_to_keep, partial
            )
            return
        with _servers(offline):
            super().update_infra(
                project, tables_to_delete, tables_to_keep, entities_to_delete, entities_to_keep, partial
            )
            views = [view for view in tables_to_keep if isinstance(view, FeatureView) and view.batch_source is not None]
            tables = [table for table in map(table_of_feature_view, views) if table is not None]
            with _get_conn(offline) as connection:
                _make_schema(connection, offline.db_schema)
                migrate(connection, tables, offline.policy)
        for view in tables_to_delete:
            if isinstance(view, FeatureView):
                log.warning("%s is no longer defined; its offline table is kept with its rows", view.name)


def _make_schema(connection: psycopg.Connection[Any], name: str) -> None:
    """Make the schema of the configuration, its name read as the search path reads it; nothing where it is there."""
    schema = sql.Identifier(*identifier_parts(name))
    there = connection.execute("SELECT to_regnamespace(%s)", (schema.as_string(connection),)).fetchone()
    if there == (None,):  # "if not exists" would ask for a right that is not needed
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))


@contextmanager
def _servers(offline: TimescaleOfflineStoreConfig) -> Iterator[None]:
    """The configured servers; where none is known, the embedded ones for as long as the block runs."""
    try:
        if not offline.has_host:
            postgres_url()
    except NoServerError:
        # Imported here: this is the one place where definitions need servers, and only on a machine without any.
        from ingest.servers import embedded

        log.warning("no server is configured or up: the embedded ones are started, and stopped again after apply")
        with embedded.running():
            yield
    else:
        yield

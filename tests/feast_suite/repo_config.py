"""Tells Feast's universal test suite which stores to run on: this project's or Feast's own, on the embedded servers.

The suite reads two lists from the module that ``FULL_REPO_CONFIGS_MODULE`` names. ``SUITE_OFFLINE`` and ``SUITE_ONLINE``
choose their entries. docs/feast-suite.md has the commands.
"""

import os
import uuid
from urllib.parse import urlsplit

import psycopg
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres import (
    PostgreSQLOfflineStoreConfig,
    PostgreSQLSource,
)
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import SavedDatasetPostgreSQLStorage
from feast.infra.utils.postgres.connection_utils import df_to_postgres_table
from psycopg import sql
from tests.universal.feature_repos.universal.data_source_creator import DataSourceCreator
from tests.universal.feature_repos.universal.online_store_creator import OnlineStoreCreator

from feature_repo.stores.endpoints import postgres_parameters, postgres_url, redis_url
from feature_repo.stores.timescale import TimescaleOfflineStoreConfig


class Tables(DataSourceCreator):
    """Sources that are tables, or queries of them, in the embedded PostgreSQL."""

    def __init__(self, project_name, config=PostgreSQLOfflineStoreConfig, queries=False):
        super().__init__(project_name)
        server = postgres_parameters(postgres_url())
        names = ("host", "port", "database", "user", "password", "sslmode")
        self.config = config(**{name: server[name] for name in names}, db_schema="public")
        self.queries = queries
        self.tables = []

    def create_data_source(
        self, df, destination_name, created_timestamp_column="created_ts", field_mapping=None, timestamp_field="ts"
    ):
        name = f"{self.project_name}_{destination_name}"
        df_to_postgres_table(self.config, self.serialize_complex_columns(df), name)
        self.tables.append(name)
        query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(name.lower())).as_string(None)
        return PostgreSQLSource(
            name=name,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=field_mapping or {"ts_1": "ts"},
            **({"query": query} if self.queries else {"table": name}),
        )

    def create_offline_store_config(self):
        return self.config

    def create_saved_dataset_destination(self):
        return SavedDatasetPostgreSQLStorage(table_ref=f"persisted_{uuid.uuid4().hex[:8]}")

    def create_logged_features_destination(self):
        return None  # this kind of source cannot be logged to

    def teardown(self):
        with psycopg.connect(postgres_url(), autocommit=True) as connection:
            for name in self.tables:
                for spelled in {name, name.lower()}:
                    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(spelled)))


def offline(config, queries=False):
    """Return a class that the suite makes with the project's name."""

    class Creator(Tables):
        def __init__(self, project_name, fixture_request=None, **_):
            super().__init__(project_name, config, queries)

    return Creator


def online(settings):
    """Return a class that gives the settings of an online store."""

    class Creator(OnlineStoreCreator):
        def create_online_store(self):
            return settings

        def teardown(self):
            pass

    return Creator


REDIS = urlsplit(redis_url())
OURS = "feature_repo.stores.redis.RedisOnlineStore"
ONLINE = {
    "stock": {"type": "redis", "connection_string": f"{REDIS.hostname}:{REDIS.port},password={REDIS.password},db=0"},
    "ours": {"type": OURS},
    "ours_without_ttl": {"type": OURS, "enforce_ttl": False},
    "ours_records": {"type": OURS, "enforce_ttl": False, "packed_only": True, "client_cache": 1_000},
}
OFFLINE = {
    "stock": ("local", offline(PostgreSQLOfflineStoreConfig)),
    "stock_queries": ("local", offline(PostgreSQLOfflineStoreConfig, queries=True)),
    "ours": ("local", offline(TimescaleOfflineStoreConfig)),
    "ours_queries": ("local", offline(TimescaleOfflineStoreConfig, queries=True)),
    "ours_and_provider": ("feature_repo.stores.provider.TradingProvider", offline(TimescaleOfflineStoreConfig)),
}
chosen = online(ONLINE[os.environ.get("SUITE_ONLINE", "stock")])
AVAILABLE_ONLINE_STORES = {"redis": ({"type": "redis"}, chosen)}
AVAILABLE_OFFLINE_STORES = [OFFLINE[os.environ.get("SUITE_OFFLINE", "ours_and_provider")]]

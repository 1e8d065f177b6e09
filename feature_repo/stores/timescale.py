"""Feast's offline store on TimescaleDB, or on plain PostgreSQL: what Feast's own lacks, and the same results.

Named in ``feature_store.yaml`` as ``type: feature_repo.stores.timescale.TimescaleOfflineStore``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import pyarrow as pa
from feast import FeatureView
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres import (
    PostgreSQLOfflineStore,
    PostgreSQLOfflineStoreConfig,
)
from feast.infra.utils.postgres.connection_utils import _get_conn
from feast.repo_config import RepoConfig
from pydantic import Field, PositiveFloat, StrictStr, model_validator

from feature_repo.stores.endpoints import postgres_parameters, postgres_url
from feature_repo.stores.hypertable import Policy
from feature_repo.stores.schema import table_of_feature_view
from feature_repo.stores.write import append_table

_FROM_URL: Final = {
    "host": "host",
    "port": "port",
    "database": "database",
    "user": "user",
    "password": "password",
    "sslmode": "sslmode",
    "sslkey_path": "sslkey",
    "sslcert_path": "sslcert",
    "sslrootcert_path": "sslrootcert",
}


class TimescaleOfflineStoreConfig(PostgreSQLOfflineStoreConfig):  # type: ignore[misc]  # Feast is untyped here
    """Feast's PostgreSQL settings, all optional.

    With no ``host`` the server is the one of ``TFS_POSTGRES_URL``, else the embedded one, looked up whenever a
    connection is made: a store that lives long finds a server that came back elsewhere. With a ``host``, Feast's own
    rules hold: database, user and password are needed and ``sslmode`` is ``require`` unless it is given.
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
    columnstore_after_days: PositiveFloat | None = 2
    """Age at which a chunk goes to TimescaleDB's columnstore; null keeps rows."""
    retain_days: PositiveFloat | None = None
    """Age at which a chunk is deleted; null, the default, keeps everything."""

    @model_validator(mode="after")
    def _whole(self) -> TimescaleOfflineStoreConfig:
        given = self.__dict__
        if given["host"] is None:
            stray = [name for name in _FROM_URL if given[name] is not None]
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
        # Feast reads host, port ... of the config at each connection; that is where the server is looked up.
        value = super().__getattribute__(name)
        if value is None and name in _FROM_URL and not self.has_host:
            return postgres_parameters(postgres_url()).get(_FROM_URL[name])
        return value

    @property
    def has_host(self) -> bool:
        """Whether the yaml names the server."""
        return self.__dict__["host"] is not None

    @property
    def policy(self) -> Policy:
        """How hypertables are kept."""
        after, retain = self.columnstore_after_days, self.retain_days
        return Policy(
            columnstore_after=timedelta(days=after) if after else None,
            retain=timedelta(days=retain) if retain else None,
        )


class TimescaleOfflineStore(PostgreSQLOfflineStore):  # type: ignore[misc]
    """Feast's PostgreSQL offline store, with writes."""

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Append rows to the table behind `feature_view`; a row that is there already is ignored.

        Parameters
        ----------
        config
            With a `TimescaleOfflineStoreConfig`.
        feature_view
            Over a table (not a query).
        table
            Columns in any order, named as in the table or, where the source maps fields, as in the view. Without
            ``created_timestamp`` a row counts as available from now on.
        progress
            Called with the rows of each slice written.

        Raises
        ------
        ValueError
            Columns or values do not fit; nothing of the slice is written.
        """
        target = table_of_feature_view(feature_view)
        if target is None:
            raise ValueError(f"{feature_view.name}: its source is a query, which cannot be written to")
        source = {new: old for old, new in feature_view.batch_source.field_mapping.items()}
        table = table.rename_columns([source.get(name, name) for name in table.column_names])
        with _get_conn(config.offline_store) as connection:
            append_table(connection, target, table, datetime.now(UTC), progress)

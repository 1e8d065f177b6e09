"""The check of the servers before the parts start: a server that is away at the start is an error; later it is waited for."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import redis

from feature_repo.stores.endpoints import masked, postgres_url, redis_url
from feature_repo.stores.errors import UserError
from ingest.settings import Settings
from ingest.streams import deployment
from ingest.streams.outage import open_redis

CONNECT_S = 5


def check_servers(settings: Settings, roles: Sequence[str]) -> None:
    """Raise `UserError`, which names every server that the roles cannot use, or `DeploymentError` if they are of another deployment.

    Only the writer needs the database at once: the scorer works without it.
    """
    database = postgres_url() if {"writer", "scorer", "lake"} & set(roles) else deployment.known_database()
    troubles = []
    with open_redis(redis_url()) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            troubles.append(f"Redis at {masked(redis_url())} cannot be used: {_line(error)}")
        if database is not None and "writer" in roles:
            try:
                psycopg.connect(database, connect_timeout=CONNECT_S).close()
            except psycopg.Error as error:
                troubles.append(f"PostgreSQL at {masked(database)} cannot be used: {_line(error)}")
        if troubles:
            advice = "start the servers (`python -m ingest servers up`), or correct TFS_REDIS_URL and TFS_POSTGRES_URL"
            raise UserError("; ".join([*troubles, advice]))
        deployment.check(client, settings, database)


def _line(error: Exception) -> str:
    """Return an error on one line, bounded."""
    return f"{' '.join(str(error).split()) or type(error).__name__:.300}"

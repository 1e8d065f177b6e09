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
from ingest.tape.table import StorageError, TapeError, open_tape
from ingest.worker import versions
from transforms.kernel import SECOND_US
from transforms.kernels import KERNEL, with_users
from transforms.saved import stateful
from transforms.warmup import stated

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


def check_history(settings: Settings) -> None:
    """Raise `UserError` where workers of a hand-over could not rebuild what changed, as no tape can be read; it says what would be null."""
    with open_redis(redis_url()) as client:
        settings = deployment.adopted(client, settings)
        theirs = [about["versions"] for about in versions.fleet(client, settings.partitions).values()]
    changed = set().union(*map(versions.changed, theirs))
    kept = stateful(min(settings.emit_us, SECOND_US), has_followers=bool(settings.followers()))
    lost = sorted(with_users(changed) & kept)
    if not lost:
        return
    why = "TFS_TAPE is empty"
    if settings.tape:
        try:
            open_tape(settings)
        except (TapeError, StorageError) as error:
            why = str(error)
        else:
            return
    by_time: dict[str, list[str]] = {}
    for feature in (feature for name in lost for feature in KERNEL[name].features):
        by_time.setdefault(str(stated(feature)), []).append(feature)
    told = "; ".join(f"{', '.join(features)}: {time}" for time, features in by_time.items())
    raise UserError(
        f"a hand-over cannot rebuild the kernels that changed: {why}. After it these features would be null, or begin anew, for so much "
        f"history: {told}. Set TFS_TAPE to a tape that can be read here, or say --cold to take over all the same"
    )


def _line(error: Exception) -> str:
    """Return an error on one line, bounded."""
    return f"{' '.join(str(error).split()) or type(error).__name__:.300}"

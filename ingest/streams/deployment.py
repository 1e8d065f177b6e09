"""Which deployment a Redis and a database belong to, and the check that every part makes before it writes.

A deployment is one Redis (one of its numbered databases) and one PostgreSQL database. Its first start fixes two things in Redis:
the number of partitions, and an id. The id is ``TFS_DEPLOYMENT`` where it is set, else it is made at random. The database keeps the same
id in the table ``tfs_deployment``. A part with another number of partitions, with another name, or between a Redis and a database of
different ids is refused. While an offline writer runs, it holds a lock in its database that names its Redis, so that another Redis is
seen there too. The number is raised by ``ingest partitions`` alone (``streams.raised``); a part that has one of the numbers before goes on
with that of today.

A Redis without an id takes that of its database: it is new, was emptied, or is of a version that kept none. A database without an id
takes none from a Redis that has one, unless ``TFS_DEPLOYMENT`` names it: two databases would share the Redis.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
import time
import zlib
from collections.abc import Iterator
from typing import Any

import psycopg
import redis

from feature_repo.stores.endpoints import (
    POSTGRES_VARIABLE,
    REDIS_VARIABLE,
    NoServerError,
    given,
    postgres_url,
    redis_url,
)
from feature_repo.stores.errors import UserError
from feature_repo.stores.online.client import is_cluster
from feature_repo.stores.scripts import read_script
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.keys import DEPLOYMENT, PARTITIONS, RAISED
from ingest.streams.outage import open_redis

PARTITIONS_BEFORE = "tfs:partitions"  # where the release before stored it
COUNTERS_BEFORE = "counters:{edge}"  # where it counted what was refused before any log
CONNECT_S = 2
OTHER_LOOKS, LOOK_S = 5, 0.2
"""Looks for the writer of another Redis before a part is refused: the lock of a writer whose Redis restarted is gone soon."""
_LOCK = 0x7F51  # the class of the writers' advisory locks; the second number names their Redis
_TABLE = """
CREATE TABLE IF NOT EXISTS tfs_deployment (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id text NOT NULL
)"""
_KEEP_ALIVE = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
"""The server ends the session of a writer whose machine lost power after 25 s, and with it the lock; its own default is two hours."""
_OTHERS = """
SELECT EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid <> %s AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"""
_FIX = read_script(__file__, "fix_deployment.lua")
_MAY_NOT = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)
_LOG = logging.getLogger(__name__)


class DeploymentError(UserError, RuntimeError):
    """A part was started on the servers of another deployment; the message says what to correct."""


class PartitionsError(DeploymentError):
    """This deployment was started with another number of partitions."""


class OtherRedisError(DeploymentError):
    """The offline writer of another Redis writes to this database now."""


def check(client: redis.Redis, settings: Settings, database: str | None = None, *, fix: bool = True) -> Settings:
    """Return the settings with the number of partitions of today.

    Raise `DeploymentError` unless Redis, the database and the settings belong together. Nothing was written then.

    Parameters
    ----------
    database : str, optional
        Address of the offline database, where the part knows it. While it is away, it is not asked.
    fix : bool
        Whether to store what the servers do not hold yet. Commands that only look store nothing.
    """
    settings = adopted(client, settings)
    if database is not None:
        try:
            with psycopg.connect(database, autocommit=True, connect_timeout=CONNECT_S) as connection:
                check_database(client, connection, settings.deployment, fix=fix)
        except psycopg.Error as error:
            why = str(error).partition("\n")[0]
            _LOG.warning("not asked which deployment the database belongs to, as it cannot be read: %.200s", why)
    return fixed(client, settings) if fix else settings


def fixed(client: redis.Redis, settings: Settings) -> Settings:
    """Return the settings with the number of partitions of today, which Redis holds from now on; raise `DeploymentError` as `adopted`."""
    settings = adopted(client, settings)
    try:
        fix_in_redis(client, settings.partitions, settings.deployment)
    except PartitionsError:
        # The number may have been raised between the two looks; `adopted` refuses one that was not.
        settings = adopted(client, settings)
        fix_in_redis(client, settings.partitions, settings.deployment)
    return settings


def adopted(client: redis.Redis, settings: Settings) -> Settings:
    """Return the settings with the number of partitions of today, where it was raised from the one that they have.

    Raise `DeploymentError` if Redis holds another number that was not raised from that one, or another name.
    """
    configured = settings.configured or settings.partitions
    stored = _stored(client)
    raised: Any = client.hget(RAISED, "numbers")  # after the number, as both change at once
    numbers = [int(n) for n in (raised or b"").split()]
    if configured in numbers and stored[0] is not None and int(stored[0]) in numbers[1:]:
        settings = dataclasses.replace(settings, partitions=int(stored[0]), configured=configured)
    else:
        settings = dataclasses.replace(settings, partitions=configured, configured=0)
    _refuse_other(stored, settings.partitions, settings.deployment)
    return settings


def compare(client: redis.Redis, partitions: int, name: str) -> None:
    """Raise `DeploymentError` if Redis holds another number of partitions, or another name than a `name` that is set."""
    _refuse_other(_stored(client), partitions, name)


def _stored(client: redis.Redis) -> list[bytes | None]:
    """Return the number of partitions and the id that Redis holds."""
    stored: Any = client.mget(PARTITIONS, DEPLOYMENT)
    before: Any = client.get(PARTITIONS_BEFORE)
    return [stored[0] or before, stored[1]]


def fix_in_redis(client: redis.Redis, partitions: int, name: str = "") -> None:
    """Store the number of partitions, and a `name` that is set, unless Redis holds them; raise `DeploymentError` if it holds others.

    Of parts that start at once on an empty Redis one wins with both values, as one script compares and stores.
    """
    compare(client, partitions, name)
    if not is_cluster(client) and client.exists(COUNTERS_BEFORE):  # that release ran on one server alone
        client.renamenx(COUNTERS_BEFORE, keys.counters(keys.EDGE))
    stored: Any = client.eval(_FIX, 2, PARTITIONS, DEPLOYMENT, partitions, name)
    _refuse_other(stored, partitions, name)


def _refuse_other(stored: list[bytes | None], partitions: int, name: str) -> None:
    fixed, known = stored
    if fixed is not None and int(fixed) != partitions:
        raise PartitionsError(
            f"TFS_PARTITIONS={partitions}, but this Redis holds the logs of {int(fixed)} partitions; use that number, or an empty Redis"
        )
    if name and known is not None and _shown(known) != name:
        raise DeploymentError(
            f"TFS_DEPLOYMENT={name}, but this Redis belongs to the deployment {_shown(known)}; correct TFS_DEPLOYMENT or TFS_REDIS_URL"
        )


def check_database(
    client: redis.Redis, connection: psycopg.Connection, name: str = "", *, fix: bool = True, claim: bool = False
) -> None:
    """Raise `DeploymentError` if the database belongs to another deployment than Redis, or if another Redis writes to it now.

    Parameters
    ----------
    name : str
        ``TFS_DEPLOYMENT``.
    fix : bool
        Whether to store the id where one of the servers has none.
    claim : bool
        Lock the database for this Redis until the connection ends; the offline writer does.
    """
    _refuse_other_redis(connection, _place(client), claim=claim)
    theirs = _id_of(connection)
    stored: Any = client.get(DEPLOYMENT)
    ours = None if stored is None else _shown(stored)
    if theirs is None and ours is not None:
        theirs = _id_behind_others(connection)
    if name and theirs not in (None, name):
        raise DeploymentError(
            f"TFS_DEPLOYMENT={name}, but this database belongs to the deployment {theirs}; correct TFS_DEPLOYMENT or TFS_POSTGRES_URL"
        )
    if None not in (ours, theirs) and ours != theirs:
        raise DeploymentError(
            f"this Redis belongs to the deployment {ours} and this database to {theirs}; correct TFS_REDIS_URL or TFS_POSTGRES_URL"
        )
    if theirs is None and ours not in (None, name):
        raise DeploymentError(
            f"this Redis belongs to the deployment {ours} and this database to none; correct TFS_REDIS_URL or TFS_POSTGRES_URL, "
            f"or set TFS_DEPLOYMENT={ours} if the database is new"
        )
    if not fix or ours == theirs is not None:
        return
    try:
        with connection.transaction():  # nothing stays in the database where another id is in Redis meanwhile
            _store(client, connection, theirs or name or secrets.token_hex(4))
    except _MAY_NOT:
        _LOG.warning("the database keeps no deployment id, as this role may not write it: run deploy/sql/roles.sql")


def _store(client: redis.Redis, connection: psycopg.Connection, wanted: str) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))  # one part at a time
    if _id_of(connection) is None:
        if connection.execute("SELECT to_regclass('tfs_deployment')").fetchone() == (None,):
            connection.execute(_TABLE)  # a role that may not make tables is refused even where it is there
        connection.execute("INSERT INTO tfs_deployment (id) VALUES (%s) ON CONFLICT DO NOTHING", (wanted,))
    theirs = _id_of(connection)  # another part may have been first
    pipe: Any = client.pipeline(transaction=True)
    pipe.set(DEPLOYMENT, theirs, nx=True)
    pipe.get(DEPLOYMENT)
    was_none, ours = pipe.execute()
    if _shown(ours) != theirs:
        raise DeploymentError(
            f"this Redis has just become part of the deployment {_shown(ours)}; correct TFS_REDIS_URL"
        )
    if was_none:
        _LOG.info("this Redis and this database belong to the deployment %s", theirs)


def _id_behind_others(connection: psycopg.Connection) -> str | None:
    """Return the id once no part is storing one: a part that starts for the first time writes to Redis and then commits here."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        return _id_of(connection)


def _id_of(connection: psycopg.Connection) -> str | None:
    try:
        with connection.transaction():  # to_regclass would not see a table that was made since this transaction began
            row = connection.execute("SELECT id FROM tfs_deployment").fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return None if row is None else str(row[0])


def _shown(raw: bytes) -> str:
    return raw[:64].decode(errors="replace")


def _place(client: redis.Redis) -> int | None:
    """Return a number that names the Redis process and its numbered database, whatever address it was reached by.

    Of a cluster it names the first node; a node keeps its name.
    """
    try:
        if is_cluster(client):
            nodes: Any = client.execute_command("CLUSTER NODES")  # type: ignore[no-untyped-call]
            return zlib.crc32(min(about["node_id"] for about in nodes.values()).encode()) >> 1
        about: Any = client.info("server")
    except redis.ResponseError:  # a role without the right
        return None
    db = client.connection_pool.connection_kwargs.get("db") or 0
    return zlib.crc32(f"{about['run_id']}/{db}".encode()) >> 1 if "run_id" in about else None


def _refuse_other_redis(connection: psycopg.Connection, place: int | None, *, claim: bool) -> None:
    if place is None:
        return
    if claim:
        connection.execute(_KEEP_ALIVE)
        connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", (_LOCK, place))
    for _ in range(OTHER_LOOKS):
        if connection.execute(_OTHERS, (_LOCK, place)).fetchone() == (False,):
            return
        time.sleep(LOOK_S)
    raise OtherRedisError(
        "the offline writer of another Redis writes to this database; correct TFS_REDIS_URL or TFS_POSTGRES_URL, or stop it first "
        "(one whose machine has failed is gone after half a minute)"
    )


def known_database() -> str | None:
    """Return the address of the offline database if this process was given it together with that of Redis, else None."""
    if given(POSTGRES_VARIABLE) is None and given(REDIS_VARIABLE) is not None:
        return None  # an embedded server that runs here is not the database of a Redis elsewhere
    try:
        return postgres_url()
    except NoServerError:
        return None


@contextlib.contextmanager
def opened(settings: Settings, *, fix: bool = True) -> Iterator[tuple[redis.Redis, Settings]]:
    """Open the Redis of this deployment for a command, after `check`; ``fix=False`` for a command that only looks.

    Yield the client, and the settings with the number of partitions of today.
    """
    with open_redis(redis_url(), settings.redis_replicas) as client:
        yield client, check(client, settings, known_database(), fix=fix)

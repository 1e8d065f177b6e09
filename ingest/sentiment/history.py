"""The table ``social_scores``: the score of each text by each model, so that no text is scored twice.

The scorer works without it: while the database does not answer, texts are scored again, and the newest ``WAITING_MAX`` rows wait in
memory until it is back.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection
from hashlib import blake2b
from typing import NamedTuple

import psycopg
from psycopg import errors

from ingest.sentiment.model.labels import Probabilities

WAITING_MAX = 100_000
RETRY_S = 10.0
_LOG = logging.getLogger(__name__)

_TABLE = """
CREATE TABLE IF NOT EXISTS social_scores (
    id text NOT NULL,
    text_hash bytea NOT NULL,
    model text NOT NULL,
    revision text NOT NULL,
    positive double precision,
    negative double precision,
    neutral double precision,
    posted_at timestamptz NOT NULL,
    scored_at timestamptz NOT NULL,
    source text NOT NULL DEFAULT '',
    PRIMARY KEY (text_hash, model, revision, source, id)
)"""
_IS_OLD = """
SELECT NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'social_scores'::regclass AND attname = 'source' AND NOT attisdropped)"""
_MIGRATE = """
ALTER TABLE social_scores
    ADD COLUMN source text NOT NULL DEFAULT '',
    DROP CONSTRAINT social_scores_pkey,
    ADD CONSTRAINT social_scores_pkey PRIMARY KEY (text_hash, model, revision, source, id)"""
_FIND = """
SELECT DISTINCT ON (text_hash) text_hash, positive, negative, neutral FROM social_scores
WHERE text_hash = ANY(%s) AND model = %s AND revision = %s AND positive IS NOT NULL"""
_ADD = """
INSERT INTO social_scores (source, id, text_hash, model, revision, positive, negative, neutral, posted_at, scored_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, to_timestamp(%s / 1000.0), to_timestamp(%s / 1000.0)) ON CONFLICT DO NOTHING"""


class Scored(NamedTuple):
    """One row. The probabilities are None if the text held nothing to score."""

    source: str
    id: str
    text_hash: bytes
    model: str
    revision: str
    positive: float | None
    negative: float | None
    neutral: float | None
    posted_ms: int
    scored_ms: int


def text_hash(text: str) -> bytes:
    """Return 16 bytes that identify a text."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class History:
    """The table, through one connection that is opened when it is needed.

    Parameters
    ----------
    url : str or None
        The database; None keeps no history.
    clock : callable
        Seconds of a monotonic clock. After an error the database is not asked for ``RETRY_S``.
    """

    def __init__(self, url: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._connection: psycopg.Connection | None = None
        self._retry_at = float("-inf")
        self._is_lost = False
        self._waiting: deque[Scored] = deque(maxlen=WAITING_MAX)

    def find(self, hashes: Collection[bytes], model: str, revision: str) -> dict[bytes, Probabilities]:
        """Return the probabilities of texts that this model scored before, by hash; empty while the database is down."""
        connection = self._connected()
        if connection is None or not hashes:
            return {}
        try:
            rows = connection.execute(_FIND, (list(hashes), model, revision)).fetchall()
        except psycopg.Error as error:
            self._lost(error)
            return {}
        return {bytes(row[0]): (row[1], row[2], row[3]) for row in rows}

    def add(self, rows: Collection[Scored]) -> None:
        """Write rows, now or when the database is back. A row that exists already is not changed."""
        if self._url is None:
            return
        self._waiting.extend(rows)
        connection = self._connected()
        if connection is None or not self._waiting:
            return
        try:
            with connection.cursor() as cursor:
                cursor.executemany(_ADD, self._waiting)
        except psycopg.Error as error:
            self._lost(error)
        else:
            self._waiting.clear()

    @property
    def waiting(self) -> int:
        """Rows not written yet."""
        return len(self._waiting)

    def close(self) -> None:
        """Write the waiting rows if possible, and disconnect."""
        self._retry_at = float("-inf")
        self.add(())
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection | None:
        if self._connection is None and self._url is not None and self._clock() >= self._retry_at:
            try:
                connection = psycopg.connect(
                    self._url, autocommit=True, connect_timeout=3, options="-c statement_timeout=5000"
                )
                _make_or_migrate(connection)
            except psycopg.Error as error:
                self._lost(error)
            else:
                self._connection = connection
                if self._is_lost:
                    _LOG.warning("social_scores is back; %d rows waited", len(self._waiting))
                self._is_lost = False
        return self._connection

    def _lost(self, error: psycopg.Error) -> None:
        """Try again later. Log once an outage, and only the error's class, because its text could hold the address."""
        if not self._is_lost:
            hint = " (run deploy/sql/roles.sql again)" if isinstance(error, errors.InsufficientPrivilege) else ""
            _LOG.warning("social_scores: %s%s; trying again every %.0f s", type(error).__name__, hint, RETRY_S)
        self._is_lost = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._retry_at = self._clock() + RETRY_S


def _make_or_migrate(connection: psycopg.Connection) -> None:
    """Make the table, or give a table of an earlier version the column ``source``, without which two sources' posts of one id were one.

    Ask first: a role without the right to create or change tables may not say "if not exists" either.
    """
    if connection.execute("SELECT to_regclass('social_scores')").fetchone() == (None,):
        connection.execute(_TABLE)
    elif connection.execute(_IS_OLD).fetchone() == (True,):
        with connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0")  # the new key is an index over the whole table
            connection.execute("LOCK TABLE social_scores")
            if connection.execute(_IS_OLD).fetchone() == (True,):  # no other scorer did it meanwhile
                connection.execute(_MIGRATE)

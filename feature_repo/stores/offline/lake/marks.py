"""Marks in the database, by which a copy of a day tells whether the day has changed since it was made.

Triggers on a table add a mark, a random number, for each closed day in which a statement inserted, changed or deleted rows, in the
statement's own transaction; deletions of a day in one transaction may share a mark. So a snapshot of the database sees a mark exactly
where it sees the change, whoever made it. The *state* of a day is the exclusive or of all of its marks, of those of the whole table, and
of a hash of the table's columns and chunks: where the state is that of the copy, the rows are, too. Two different states are equal once in
2^64 cases. Marks can be put together into one without a change of the state.

A day that is still written is not marked, because nobody copies it: a mark for each batch of live rows would be millions a day. Marks begin
an hour before the day ends by the clock of the database, and a copy is made behind all transactions that began before it ended. A snapshot
that is older than that may lack rows that are not marked, so it reads no copy (`write`, ``settled``).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import psycopg
from psycopg import sql

from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.tables import hypertable

MARKS: Final = "lake_marks"
_FUNCTION: Final = "lake_mark"
_OF_ROWS: Final = "lake_mark_deleted"
_TRIGGERS: Final = {
    "lake_inserted": "INSERT ON {} REFERENCING NEW TABLE AS changed FOR EACH STATEMENT",
    "lake_updated": "UPDATE ON {} REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT",
    "lake_truncated": "TRUNCATE ON {} FOR EACH STATEMENT",
    "lake_deleted": "DELETE ON {} FOR EACH ROW",  # TimescaleDB has no table of the rows that a statement deletes
}
_LOCK: Final = 0x7F5_0FF3  # an arbitrary number: one installation at a time on a database
_RANDOM: Final = "hashtextextended(gen_random_uuid()::text, 0)"
_MAKE: Final = """
CREATE TABLE IF NOT EXISTS {marks} (name text NOT NULL, day date, mark bigint NOT NULL);
CREATE INDEX IF NOT EXISTS lake_marks_day ON {marks} (name, day);
GRANT SELECT ON {marks} TO PUBLIC;
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    open_day CONSTANT timestamptz := date_trunc('day', clock_timestamp() + interval '1 hour', 'UTC');
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO {marks} VALUES (TG_ARGV[0], NULL, {random});
        RETURN NULL;
    END IF;
    INSERT INTO {marks} SELECT TG_ARGV[0], day, {random} FROM (
        SELECT DISTINCT (event_timestamp AT TIME ZONE 'UTC')::date AS day FROM changed WHERE event_timestamp < open_day) AS days;
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO {marks} SELECT TG_ARGV[0], day, {random} FROM (
            SELECT DISTINCT (event_timestamp AT TIME ZONE 'UTC')::date AS day FROM before WHERE event_timestamp < open_day) AS days;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION {of_rows}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    deleted_day CONSTANT date := (OLD.event_timestamp AT TIME ZONE 'UTC')::date;
    marked CONSTANT text := TG_ARGV[0] || ' ' || deleted_day;
BEGIN
    -- A mark is enough for a day of a transaction. What is set here ends with it, or with the part of it that is rolled back.
    IF current_setting('lake.marked', true) IS DISTINCT FROM marked
       AND OLD.event_timestamp < date_trunc('day', clock_timestamp() + interval '1 hour', 'UTC') THEN
        INSERT INTO {marks} VALUES (TG_ARGV[0], deleted_day, {random});
        PERFORM set_config('lake.marked', marked, true);
    END IF;
    RETURN NULL;
END $$"""
_SCHEMA: Final = "SELECT nspname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)"
_LOOK: Final = """
SELECT
    (SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(%(table)s) AND tgname = ANY(%(triggers)s) AND tgenabled IN ('O', 'A')),
    (SELECT hashtextextended(string_agg(format('%%s %%s %%s', attnum, attname, atttypid), ' ' ORDER BY attnum), 0)
     FROM pg_attribute WHERE attrelid = to_regclass(%(table)s) AND attnum > 0 AND NOT attisdropped),
    to_regclass(%(marks)s) IS NOT NULL"""
_STATES: Final = "SELECT day, bit_xor(mark) FROM {} WHERE name = %s AND (day IS NULL OR day >= '0001-01-01' AND isfinite(day)) GROUP BY day"
_CHUNKS: Final = """
SELECT chunk_schema || '.' || chunk_name, is_compressed,
    (range_start AT TIME ZONE 'UTC')::date, ((range_end - interval '1 us') AT TIME ZONE 'UTC')::date
FROM timescaledb_information.chunks
WHERE format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = to_regclass(%s) ORDER BY 1"""
_MERGE: Final = """
WITH gone AS (DELETE FROM {marks} WHERE name = %s AND day = %s RETURNING mark)
INSERT INTO {marks} SELECT %s, %s, bit_xor(mark) FROM gone HAVING count(*) > 0"""


class MarksError(UserError, RuntimeError):
    """The changes of a table cannot be marked; the message says what to do."""


class OpenTransactionError(UserError, RuntimeError):
    """A transaction of before has not ended; the message says what to do."""


@dataclass(frozen=True, slots=True)
class States:
    """The states of the days of a table in one snapshot: of every day ``of_table``, which its own marks and chunks change.

    ``packed`` are the days whose rows lie in the columnstore of TimescaleDB, or some of them. It is no part of a state.
    """

    of_table: int
    of_day: dict[date, int]
    packed: frozenset[date] = frozenset()

    def __getitem__(self, day: date) -> int:
        return self.of_table ^ self.of_day.get(day, 0)


def install(connection: psycopg.Connection[Any], name: tuple[str, ...]) -> None:
    """Let the changes of a table be marked from now on; copies that were made before count no more. Nothing is done where they are marked.

    `connection` is in autocommit mode. Writers of the table wait for a moment, and this waits for those that write now.
    Raise `MarksError` where the server refuses it.
    """
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            if states(connection, name) is not None:
                return
            where = connection.execute(_SCHEMA, (sql.Identifier(*name).as_string(None),)).fetchone()
            if where is None:
                raise MarksError(f"there is no table {'.'.join(name)}; run `feast apply`, which makes it")
            # The function has a search path of its own, so everything in it is named with its schema.
            marks, function, of_rows = (sql.Identifier(where[0], other) for other in (MARKS, _FUNCTION, _OF_ROWS))
            names = {"marks": marks, "function": function, "of_rows": of_rows, "random": sql.SQL(_RANDOM)}
            connection.execute(sql.SQL(_MAKE).format(**names))
            trigger = sql.SQL("CREATE OR REPLACE TRIGGER {} AFTER {} EXECUTE FUNCTION {}({})")
            for trigger_name, event in _TRIGGERS.items():
                on = sql.SQL(event).format(sql.Identifier(*name))
                called = of_rows if "EACH ROW" in event else function
                connection.execute(trigger.format(sql.Identifier(trigger_name), on, called, name[-1]))
            renew(connection, name)
    except psycopg.errors.InsufficientPrivilege as error:
        raise MarksError(
            f"the lake needs triggers on {name[-1]}, which this user may not make: run `python -m ingest lake write` once as the "
            "owner of the tables"
        ) from error
    except psycopg.errors.FeatureNotSupported as error:
        said = error.diag.message_primary
        raise MarksError(
            f"the lake needs TimescaleDB 2.18 or later, or PostgreSQL without it; this server says: {said}"
        ) from error


def renew(connection: psycopg.Connection[Any], name: tuple[str, ...]) -> None:
    """Change the state of every day of a table, so that no copy of one counts any more."""
    whole = sql.SQL("INSERT INTO {} VALUES (%s, NULL, {})").format(_beside(name, MARKS), sql.SQL(_RANDOM))
    connection.execute(whole, (name[-1],))


def states(connection: psycopg.Connection[Any], name: tuple[str, ...]) -> States | None:
    """Return the states of the days of a table in the connection's snapshot, or None where its changes are not all marked."""
    shown, marks = sql.Identifier(*name).as_string(None), _beside(name, MARKS)
    asked = {"table": shown, "triggers": list(_TRIGGERS), "marks": marks.as_string(None)}
    row = connection.execute(_LOOK, asked).fetchone()
    if row is None or row[0] != len(_TRIGGERS) or not row[2]:
        return None
    found = dict(connection.execute(sql.SQL(_STATES).format(marks), (name[-1],)).fetchall())
    of_table = row[1] ^ found.pop(None, 0)
    packed: set[date] = set()
    if hypertable.installed(connection):
        # A retention policy drops chunks without a trigger. A day knows the chunks that may hold its rows.
        chunks: dict[date, str] = {}
        for chunk, is_packed, first, last in connection.execute(_CHUNKS, (shown,)):
            for day in map(date.fromordinal, range(first.toordinal(), last.toordinal() + 1)):
                chunks[day] = chunks.get(day, "") + chunk + " "
                if is_packed:
                    packed.add(day)
        for day, named in chunks.items():
            found[day] = found.get(day, 0) ^ number_of(named)
    return States(of_table, found, frozenset(packed))


def number_of(text: str) -> int:
    """Return the number of 64 bits that stands for a text in a state."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def merge(connection: psycopg.Connection[Any], name: tuple[str, ...], days: Sequence[date]) -> None:
    """Put the marks of each day together into one, so that they stay few; no state changes. `connection` is in autocommit mode."""
    statement = sql.SQL(_MERGE).format(marks=_beside(name, MARKS))
    for day in days:
        connection.execute(statement, (name[-1], day, name[-1], day))


def wait_for_writers(connection: psycopg.Connection[Any], patience_s: float) -> bool:
    """Wait until all transactions that have written by now are over; return False where one still runs after ``patience_s``.

    `connection` is in autocommit mode.
    """
    begun = _number(connection, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    deadline = time.monotonic() + patience_s
    while _number(connection, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint") < begun:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def _number(connection: psycopg.Connection[Any], query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _beside(name: tuple[str, ...], other: str) -> sql.Identifier:
    """Return the name of something in the schema of the table."""
    return sql.Identifier(*name[:-1], other)

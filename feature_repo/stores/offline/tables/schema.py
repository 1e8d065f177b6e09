"""The offline tables: one for each view of the catalogue, created and migrated by ``feast apply``.

Columns are ``symbol, event_timestamp, created_timestamp, <features>, feed_silence_ms, kernels, recomputed``, unique on the first three
and the last. A new feature adds a column. A feature that is no longer defined keeps its column, because rows are facts. Where the server
has TimescaleDB each table is a hypertable. ``kernel_versions`` has the versions behind the numbers in ``kernels``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import psycopg
from psycopg import sql

from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.tables import hypertable
from transforms import catalog

log = logging.getLogger(__name__)

TYPES: Final[Mapping[str, str]] = {
    "Float64": "double precision",
    "Int64": "bigint",
    "Float32": "real",
    "Int32": "integer",
    "Bool": "boolean",
    "String": "text",
    "Bytes": "bytea",
    "UnixTimestamp": "timestamp with time zone",
}
"""PostgreSQL's name, as ``format_type`` writes it, for each of Feast's primitive types."""

MANAGED: Final[Mapping[str, str]] = {"offline_table": "managed"}
"""The tag of a feature view whose table is this project's own: ``feast apply`` creates and migrates it.

The table of every other view belongs to somebody else. It is read as it is, and never created, altered or dropped.
"""

SILENCE: Final = "feed_silence_ms"
"""Column of every managed table: milliseconds for which the view's feed had been silent at the event time.

A ttl counts from the feed's last message. Null is unknown and counts as 0, and so do rows that somebody pushed.
"""

KERNELS: Final = "kernels"
"""Column of every managed table: the number in ``kernel_versions`` of the kernels that made the row. Null is unknown."""

RECOMPUTED: Final = "recomputed"
"""Column of every managed table: whether a backfill made the row, and not the live worker or somebody who pushed it."""

MAKERS: Final[Mapping[str, str]] = {KERNELS: "smallint", RECOMPUTED: "boolean"}
"""The columns that say who made a row. Both have a constant default, so that adding them to a table rewrites no row."""

_DEFAULTS: Final = {RECOMPUTED: sql.SQL("false")}
_VERSIONS: Final = """
CREATE TABLE IF NOT EXISTS kernel_versions (
    id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    versions jsonb NOT NULL UNIQUE
)"""
_LOCK: Final = 0x7F5_0FF1  # an arbitrary number: one migration at a time on a database
_COLUMNS: Final = (
    "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
    "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
)
_NAME_PART: Final = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([A-Za-z_][A-Za-z0-9_$]*))\s*')


class SchemaError(UserError, RuntimeError):
    """A table cannot hold what the definitions say. The message names the column and both types."""


@dataclass(frozen=True, slots=True)
class Table:
    """An offline table as the definitions want it."""

    name: tuple[str, ...]  # ("table",) or ("schema", "table")
    keys: Mapping[str, str]  # columns and their types, in order
    event: str  # name of the column of event times
    created: str  # name of the column of created times, or empty
    features: Mapping[str, str]  # as keys
    silence: str = ""  # name of the column of silences, or empty

    def __hash__(self) -> int:  # a key of caches; mappings have no hash of their own
        return hash((self.name, *self.columns))

    @property
    def identifier(self) -> sql.Identifier:
        """Name of the table, quoted."""
        return sql.Identifier(*self.name)

    @property
    def managed(self) -> bool:
        """Whether the table is this project's own; only those have columns of silences and of makers."""
        return bool(self.silence)

    @property
    def unique(self) -> tuple[str, ...]:
        """Columns by which two rows are the same row."""
        return (*self.keys, self.event, *([self.created] if self.created else []))

    @property
    def index(self) -> tuple[str, ...]:
        """Columns of the unique index: a served and a recomputed row may have the same key."""
        return (*self.unique, RECOMPUTED) if self.managed else self.unique

    @property
    def columns(self) -> dict[str, str]:
        """Type of every column that a row brings with it, in the order of the table."""
        times = dict.fromkeys(self.unique[len(self.keys) :], TYPES["UnixTimestamp"])
        silence = {self.silence: TYPES["Int32"]} if self.silence else {}
        return {**self.keys, **times, **self.features, **silence}

    @property
    def all_columns(self) -> dict[str, str]:
        """Type of every column, in the order of the table."""
        return {**self.columns, **(MAKERS if self.managed else {})}


def table_of_view(view: catalog.View) -> Table:
    """Return the table of a view of the catalogue, which has the view's name."""
    return Table(
        name=(view.name,),
        keys={"symbol": TYPES["String"]},
        event="event_timestamp",
        created="created_timestamp",
        features={f.name: TYPES[f.dtype] for f in view.features},
        silence=SILENCE,
    )


def is_managed(view: Any) -> bool:
    """Return whether a Feast feature view carries the tag `MANAGED` and reads a table, not a query."""
    return bool(MANAGED.items() <= view.tags.items() and _table_name(view))


def table_of_feature_view(view: Any) -> Table | None:
    """Return the table behind a Feast feature view, or None where its source is not a table.

    Raise SchemaError where a field has a type that the offline store has no column type for.
    """
    source = view.batch_source
    name = _table_name(view)
    if not name:
        return None
    column = {new: old for old, new in source.field_mapping.items()}

    def typed(fields: Sequence[Any]) -> dict[str, str]:
        columns = {}
        for field in fields:
            if str(field.dtype) not in TYPES:
                raise SchemaError(f"{view.name}.{field.name}: the offline store has no column type for {field.dtype}")
            columns[column.get(field.name, field.name)] = TYPES[str(field.dtype)]
        return columns

    return Table(
        name=identifier_parts(name),
        keys=typed(view.entity_columns),
        event=source.timestamp_field,
        created=source.created_timestamp_column or "",
        features=typed(view.features),
        silence=SILENCE if is_managed(view) else "",
    )


def _table_name(view: Any) -> str:
    return str(getattr(getattr(view.batch_source, "_postgres_options", None), "_table", ""))


def has_makers(connection: psycopg.Connection[Any], name: sql.Identifier) -> bool:
    """Return whether a table says who made its rows, which only managed ones do."""
    found = connection.execute(_COLUMNS, (name.as_string(connection),)).fetchall()
    return {SILENCE, *MAKERS} <= {column for column, _ in found}


def identifier_parts(name: str) -> tuple[str, ...]:
    """Split a table name as SQL does: unquoted parts become lower case, quoted ones stay. Raise ValueError for other text.

    >>> identifier_parts('Prices.microstructure'), identifier_parts('"Odd ""name"')
    (('prices', 'microstructure'), ('Odd "name',))
    """
    parts: list[str] = []
    position = 0
    while match := _NAME_PART.match(name, position):
        quoted, plain = match.groups()
        parts.append(quoted.replace('""', '"') if quoted else plain.lower())
        position = match.end()
        if position == len(name):
            return tuple(parts)
        if name[position] != ".":
            break
        position += 1
    raise ValueError(f"not a table name: {name!r}")


def migrate(
    connection: psycopg.Connection[Any], tables: Sequence[Table], policy: hypertable.Policy = hypertable.DEFAULT
) -> None:
    """Create what is missing of `tables`. A second run changes nothing.

    Tables and columns are made in one transaction, then the index of each table in one of its own, where `connection` is in autocommit
    mode: building an index stops writers for as long as it takes, and must not stop readers with them. The search path of `connection`
    decides the schema of unqualified names. `policy` is for a server with TimescaleDB.
    Raise `SchemaError` where a column exists with another type, or the database does not hold text as UTF8.
    """
    if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
        made = "CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
        raise SchemaError(f"the database holds text as {encoding}, which not every symbol is: make one with {made}")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = hypertable.version(connection)
        connection.execute(_VERSIONS)
        for table in tables:
            _migrate(connection, table)
            if version:
                keys = tuple(table.keys)
                hypertable.convert(connection, table.identifier, table.unique[len(keys) :], keys, policy)
    for table in tables:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            _make_index(connection, table)
    if not version:
        log.warning("PostgreSQL here has no TimescaleDB: the %d offline tables are plain tables", len(tables))


def _migrate(connection: psycopg.Connection[Any], table: Table) -> None:
    shown = ".".join(table.name)
    have = dict(connection.execute(_COLUMNS, (table.identifier.as_string(connection),)).fetchall())
    wanted = table.all_columns
    if not have:
        body = column_definitions(wanted, required=table.index, defaults=_DEFAULTS)
        connection.execute(sql.SQL("CREATE TABLE {} ({})").format(table.identifier, body))
        log.info("%s: table created", shown)
    wrong = [f"{name} is {have[name]}, not {kind}" for name, kind in wanted.items() if have.get(name, kind) != kind]
    if wrong:
        raise SchemaError(f"table {shown}: {'; '.join(wrong)}. Give the feature a new name, or convert the column.")
    added = {name: kind for name, kind in wanted.items() if have and name not in have}
    if added:
        body = column_definitions(added, required=table.index, before="ADD COLUMN ", defaults=_DEFAULTS)
        connection.execute(sql.SQL("ALTER TABLE {} {}").format(table.identifier, body))
        log.warning("%s: added %s", shown, ", ".join(added))
    kept = [name for name in have if name not in wanted]
    if kept:
        log.warning("%s: no longer defined, kept with its rows: %s", shown, ", ".join(kept))


def _make_index(connection: psycopg.Connection[Any], table: Table) -> None:
    """Make the unique index, and drop that of tables from before rows said who made them."""
    *schema, name = table.name
    before, now = (sql.Identifier(f"{name[:55]}_{suffix}") for suffix in ("row", "fact"))  # of at most 63 bytes
    columns = sql.SQL(", ").join(map(sql.Identifier, table.index))
    connection.execute(
        sql.SQL("CREATE UNIQUE INDEX IF NOT EXISTS {} ON {} ({})").format(now, table.identifier, columns)
    )
    connection.execute(
        sql.SQL("DROP INDEX IF EXISTS {}").format(sql.SQL(".").join([*map(sql.Identifier, schema), before]))
    )


def makers(kernels: int | None, *, recomputed: bool) -> dict[str, sql.Composable]:
    """Return the defaults of a table of rows to insert that all have the same makers."""
    return {KERNELS: sql.Literal(kernels), RECOMPUTED: sql.Literal(recomputed)}


def column_definitions(
    columns: Mapping[str, str],
    required: Sequence[str] = (),
    before: str = "",
    defaults: Mapping[str, sql.Composable] = MappingProxyType({}),
) -> sql.Composed:
    """Return ``name type, ...`` for CREATE TABLE, with `before` in front of each name. No type is a caller's text."""

    def definition(name: str, kind: str) -> sql.Composed:
        default = sql.SQL(" DEFAULT {}").format(defaults[name]) if name in defaults else sql.SQL("")
        null = sql.SQL(" NOT NULL" if name in required else "")
        return sql.SQL("{}{} {}{}{}").format(sql.SQL(before), sql.Identifier(name), sql.SQL(kind), null, default)

    return sql.SQL(", ").join(definition(name, kind) for name, kind in columns.items())

"""Which rows of a table count in a history (``feature_repo.stores.history``), as SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from feature_repo.stores.history import History
from feature_repo.stores.offline.tables.schema import RECOMPUTED


def is_other(alias: str, history: History) -> sql.Composed:
    """Return the condition that a row is of the history that counts only where the one that is read has no row."""
    return sql.SQL("{}{}").format(sql.SQL("" if history == "served" else "NOT "), sql.Identifier(alias, RECOMPUTED))


def counts(
    alias: str,
    source: sql.Composable,
    keys: Sequence[str],
    event: str,
    history: History,
    where: Iterable[sql.Composable] = (),
) -> sql.Composed:
    """Return the condition that the row of `alias` counts in a history; its table is `source`.

    A row of the history itself counts without a look into the table. For one of the other history the index is asked, once, whether
    the key has a row at the event time: OFFSET 0 keeps PostgreSQL from reading the whole table instead. `where` are further conditions
    of that look-up, whose row is called ``o``: constant bounds of the time let TimescaleDB leave out chunks.
    """
    same = [
        sql.SQL("{} = {}").format(sql.Identifier("o", name), sql.Identifier(alias, name)) for name in (*keys, event)
    ]
    others = sql.SQL(" AND ").join([*same, sql.SQL("NOT {}").format(is_other("o", history)), *where])
    return sql.SQL("(NOT {} OR NOT EXISTS (SELECT FROM {} AS o WHERE {} OFFSET 0))").format(
        is_other(alias, history), source, others
    )


def rows_of(source: sql.Identifier, keys: Sequence[str], event: str, history: History) -> sql.Composed:
    """Return the query for a table's rows that count in a history."""
    return sql.SQL("SELECT r.* FROM {} AS r WHERE {}").format(source, counts("r", source, keys, event, history))

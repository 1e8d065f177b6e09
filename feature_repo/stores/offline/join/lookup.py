"""One feature view of a retrieval, and the statements that read it.

`look_up` asks the index for one row for each entity row. The other plan, in ``scan``, reads all rows of a stretch of
time once, for a merge on this side. Both are plain SQL and give the same rows; on hypertables constant time bounds leave
out the chunks outside of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from feast import FeatureView
from feast.infra.offline_stores.offline_utils import get_feature_view_query_context
from psycopg import sql

from feature_repo.stores.offline.tables.schema import identifier_parts
from transforms.times import EPOCH, datetime_of_us

ASKED: Final = sql.Identifier("pg_temp", "asked")
"""Temporary table ``(n, t, k0, k1 ...)``: number, moment and key of the entity rows to look up."""

KEYS: Final = sql.Identifier("pg_temp", "asked_keys")
"""Temporary table ``(id, void, k0, k1 ...)``: the distinct keys, and what stands for null in a scan."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is read of one feature view.

    Attributes
    ----------
    view
        Name of the view or of its alias.
    source
        Table or sub-query, ready for FROM.
    keys
        Pairs of a column of the entity frame and the source's own.
    event, created
        Time columns of the source; ``created`` may be empty.
    ttl
        Oldest age in microseconds, 0 for any. Whole seconds, as Feast counts.
    features
        Columns of the source.
    names
        Their names in the result.
    known
        Leave out rows created after the moment.
    since
        Earliest event time read, in microseconds, where the caller gave one.
    """

    view: str
    source: sql.Composable
    keys: tuple[tuple[str, str], ...]
    event: str
    created: str
    ttl: int
    features: tuple[str, ...]
    names: tuple[str, ...]
    known: bool
    since: int | None = None

    @property
    def key_names(self) -> tuple[str, ...]:
        """Key columns of the entity frame."""
        return tuple(name for name, _ in self.keys)


def lookups(
    feature_refs: Sequence[str],
    views: Sequence[FeatureView],
    registry: Any,
    project: str,
    *,
    full_names: bool,
    known: bool,
    since: int | None = None,
) -> list[Lookup]:
    """What Feast's references ask of each view, in Feast's order of columns.

    Raises
    ------
    ValueError
        A view has no source, or one whose name is not a table's.
    """
    found = []
    contexts = get_feature_view_query_context(list(feature_refs), list(views), registry, project, (EPOCH, EPOCH))
    sources = {view.projection.name_to_use(): view.batch_source for view in views}
    for context in contexts:
        table = sources[context.name]._postgres_options._table
        plain = [context.field_mapping.get(feature, feature) for feature in context.features]
        found.append(
            Lookup(
                view=context.name,
                source=sql.Identifier(*identifier_parts(table)) if table else sql.SQL(context.table_subquery),
                keys=tuple(
                    (key, selection.removesuffix(f" AS {key}"))
                    for key, selection in zip(context.entities, context.entity_selections, strict=True)
                ),
                event=context.timestamp_field,
                created=context.created_timestamp_column or "",
                ttl=context.ttl * 1_000_000,
                features=tuple(context.features),
                names=tuple(f"{context.name}__{name}" if full_names else name for name in plain),
                known=known and bool(context.created_timestamp_column),
                since=since,
            )
        )
    return found


def look_up(lookup: Lookup, begin: int, end: int) -> sql.Composed:
    """Statement for `ASKED`: ``n`` and the features of the row that holds, for rows that have one.

    Parameters
    ----------
    lookup
        The view.
    begin, end
        Earliest and latest moment in `ASKED`, microseconds.
    """
    return sql.SQL("SELECT a.n, f.* FROM {} AS a CROSS JOIN LATERAL ({}) AS f").format(
        ASKED, holding(lookup, "a", [f"k{i}" for i in range(len(lookup.keys))], "t", (begin, end))
    )


def holding(
    lookup: Lookup, alias: str, keys: Sequence[str], moment: str, bounds: tuple[int, int] | None
) -> sql.Composed:
    """The sub-query after LATERAL: features of the row that holds for the row of `alias`."""
    at = sql.Identifier(alias, moment)
    event = _of("r", lookup.event)
    where = [
        sql.SQL("{} = {}").format(_of("r", own), sql.Identifier(alias, key))
        for (_, own), key in zip(lookup.keys, keys, strict=True)
    ]
    where.append(sql.SQL("{} <= {}").format(event, at))
    order = [sql.SQL("{} DESC").format(event)]
    if lookup.ttl:
        where.append(sql.SQL("{} >= {} - {}::interval").format(event, at, timedelta(microseconds=lookup.ttl)))
    if lookup.created:
        created = _of("r", lookup.created)
        order.append(sql.SQL("{} DESC").format(created))
        where.append(sql.SQL("{} <= {}" if lookup.known else "{} IS NOT NULL").format(created, at))
    if bounds is not None:
        where.extend(within(lookup, event, bounds[0] - lookup.ttl if lookup.ttl else None, bounds[1]))
    return sql.SQL("SELECT {} FROM {} AS r WHERE {} ORDER BY {} LIMIT 1").format(
        sql.SQL(", ").join(_of("r", feature) for feature in lookup.features),
        lookup.source,
        sql.SQL(" AND ").join(where),
        sql.SQL(", ").join(order),
    )


def within(lookup: Lookup, event: sql.Composable, begin: int | None, end: int) -> list[sql.Composed]:
    """Conditions that hold `event` to ``[begin, end]`` and to what the caller asked for; the upper bound comes first."""
    low = max(x for x in (begin, lookup.since, -(2**62)) if x is not None)
    where = [sql.SQL("{} <= {}").format(event, _time(end))]
    if low > -(2**62):
        where.append(sql.SQL("{} >= {}").format(event, _time(low)))
    return where


def _of(alias: str, column: str) -> sql.Identifier:
    return sql.Identifier(alias, column)


def _time(us: int) -> sql.Literal:
    return sql.Literal(datetime_of_us(us))

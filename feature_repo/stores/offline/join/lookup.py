"""One feature view of a retrieval, and the statement that asks the index for one row for each entity row.

The other way to read a view stands in ``scan``: it reads all rows of a stretch of time once, and merges them here. Both
ways give the same rows. Their constant time bounds let TimescaleDB leave out the chunks outside of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from feast import FeatureView
from feast.infra.offline_stores.offline_utils import get_feature_view_query_context
from psycopg import sql

from feature_repo.stores.history import History
from feature_repo.stores.offline.binary.decode import cast_to
from feature_repo.stores.offline.histories import counts
from feature_repo.stores.offline.join.entity_sql import bare
from feature_repo.stores.offline.join.spine import ASKED, key_columns
from feature_repo.stores.offline.tables.schema import SILENCE, identifier_parts, is_managed
from transforms.times import EPOCH, datetime_of_us


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is read of one feature view."""

    source: sql.Composable  # table or sub-query, ready for FROM
    keys: tuple[tuple[str, str], ...]  # pairs of a column of the entity frame and the source's own
    event: str  # event time column of the source
    created: str  # created time column of the source, or empty
    ttl: int  # oldest age in microseconds, in whole seconds as Feast counts; 0 for any
    features: tuple[str, ...]  # columns of the source
    names: tuple[str, ...]  # their names in the result
    known: bool  # leave out rows created after the moment
    since: int | None = None  # earliest event time read, in microseconds since 1970 UTC
    view: str = ""  # name of the view, for messages
    casts: tuple[str, ...] = ()  # type that the server converts each feature to, empty for none; () converts none
    key_casts: tuple[str, ...] = ()  # the same for the keys of the entity frame
    silence: str = ""  # column of the source: milliseconds for which the feed had been silent at the event time
    history: History | None = None  # which rows count where a time has served and recomputed ones; None: it never has
    table: tuple[str, ...] = ()  # name of the source where it is a table of this project's own, which the lake may have
    heard: int = 0  # oldest age in microseconds of the feed's last message, where the source tells it; 0 for any

    @property
    def key_names(self) -> tuple[str, ...]:
        """Key columns of the entity frame."""
        return tuple(name for name, _ in self.keys)

    @property
    def tells_silence(self) -> bool:
        """Whether a row can be too old although its event time is not: its feed had been silent."""
        return bool(self.silence and self.heard)

    @property
    def columns(self) -> list[sql.Composable]:
        """Features as columns of the source, which statements call ``r``, in the types in which they are sent."""
        casts = self.casts or ("",) * len(self.features)
        return [cast_to(sql.Identifier("r", name), cast) for name, cast in zip(self.features, casts, strict=True)]

    def counting(self, bounds: tuple[int, int] | None = None) -> list[sql.Composable]:
        """Return the condition that a row of the source counts in the history that is read; none where all rows do.

        `bounds` are constant ones of the event time, if there are any.
        """
        if self.history is None:
            return []
        own = [name for _, name in self.keys]
        other = sql.Identifier("o", self.event)
        where = within(self, other, bounds[0] - self.ttl if self.ttl else None, bounds[1]) if bounds else []
        return [counts("r", self.source, own, self.event, self.history, where)]

    def same_key(self, alias: str, names: Sequence[str]) -> list[sql.Composable]:
        """Return conditions that a row of the source has the key in columns `names` of `alias`."""
        casts = self.key_casts or ("",) * len(self.keys)
        return [
            sql.SQL("{} = {}").format(sql.Identifier("r", own), cast_to(sql.Identifier(alias, name), cast))
            for (_, own), name, cast in zip(self.keys, names, casts, strict=True)
        ]


def lookups(
    refs: Sequence[str],
    views: Sequence[FeatureView],
    registry: Any,
    project: str,
    *,
    full_names: bool,
    known: bool,
    history: History,
) -> list[Lookup]:
    """Return what Feast's references ask of each view, in Feast's order of columns.

    Raise ValueError where a view has no source, or one whose name is not a table's.
    """
    found = []
    contexts = get_feature_view_query_context(list(refs), list(views), registry, project, (EPOCH, EPOCH))
    named = {view.projection.name_to_use(): view for view in views}
    for context in contexts:
        view = named[context.name]
        options = view.batch_source._postgres_options
        source = sql.Identifier(*identifier_parts(options._table)) if options._table else _query(options._query)
        plain = [context.field_mapping.get(feature, feature) for feature in context.features]
        found.append(
            Lookup(
                source=source,
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
                view=context.name,
                silence=SILENCE if is_managed(view) else "",
                history=history if is_managed(view) else None,
                table=identifier_parts(options._table) if is_managed(view) else (),
                heard=context.ttl * 1_000_000,
            )
        )
    return found


def _query(text: str) -> sql.Composable:
    """Return the query of a source as a sub-query. Its text ends in a new line, so that nothing in it hides the bracket."""
    return sql.SQL("({}\n)").format(sql.SQL(bare(text)))


def look_up(lookup: Lookup, begin: int, end: int) -> sql.Composed:
    """Return the statement for the rows of `ASKED` from `begin` to `end`, both included, in microseconds.

    Columns are ``n`` and the features of the row that holds, where one does.
    """
    return sql.SQL("SELECT a.n, f.* FROM {} AS a CROSS JOIN LATERAL ({}) AS f WHERE a.t BETWEEN {} AND {}").format(
        ASKED,
        holding(lookup, "a", key_columns(len(lookup.keys)), "t", (begin, end)),
        datetime_of_us(begin),
        datetime_of_us(end),
    )


def holding(
    lookup: Lookup, alias: str, keys: Sequence[str], moment: str, bounds: tuple[int, int] | None
) -> sql.Composed:
    """Return the sub-query after LATERAL: the features of the row that holds for the row of `alias`."""
    at = sql.Identifier(alias, moment)
    event = sql.Identifier("r", lookup.event)
    where = [*lookup.same_key(alias, keys), sql.SQL("{} <= {}").format(event, at)]
    order = [sql.SQL("{} DESC").format(event)]
    if lookup.ttl:
        where.append(sql.SQL("{} >= {} - {}::interval").format(event, at, timedelta(microseconds=lookup.ttl)))
    if lookup.created:
        created = sql.Identifier("r", lookup.created)
        order.append(sql.SQL("{} DESC").format(created))
        where.append(sql.SQL("{} <= {}" if lookup.known else "{} IS NOT NULL").format(created, at))
    if bounds is not None:
        where.extend(within(lookup, event, bounds[0] - lookup.ttl if lookup.ttl else None, bounds[1]))
    where.extend(lookup.counting(bounds))
    columns = lookup.columns
    if lookup.tells_silence:
        columns.append(
            sql.SQL("{} - COALESCE({}, 0) * interval '1 ms' >= {} - {}::interval").format(
                event, sql.Identifier("r", lookup.silence), at, timedelta(microseconds=lookup.heard)
            )
        )
    row = sql.SQL("SELECT {} FROM {} AS r WHERE {} ORDER BY {} LIMIT 1").format(
        sql.SQL(", ").join(columns),
        lookup.source,
        sql.SQL(" AND ").join(where),
        sql.SQL(", ").join(order),
    )
    return _heard(lookup, row) if lookup.tells_silence else row


def _heard(lookup: Lookup, row: sql.Composed) -> sql.Composed:
    """Return the features of `row`, whose last column says whether its feed spoke lately, or no row where it did not.

    The newest row decides, as it does online. An older one would be older than it seems, too.
    """
    names = [f"f{i}" for i in range(len(lookup.features))]
    selected = [
        sql.SQL("{} AS {}").format(sql.Identifier("h", name), sql.Identifier(feature))
        for name, feature in zip(names, lookup.features, strict=True)
    ]
    return sql.SQL("SELECT {} FROM ({}) AS h({}) WHERE h.heard").format(
        sql.SQL(", ").join(selected), row, sql.SQL(", ").join(map(sql.Identifier, [*names, "heard"]))
    )


def within(lookup: Lookup, time: sql.Composable, begin: int | None, end: int) -> list[sql.Composed]:
    """Return conditions that keep `time` within ``[begin, end]`` and not before ``lookup.since``."""
    where = [not_after(time, end)]
    low = max((bound for bound in (begin, lookup.since) if bound is not None), default=None)
    if low is not None:
        where.append(sql.SQL("{} >= {}").format(time, datetime_of_us(low)))
    return where


def not_after(time: sql.Composable, end: int) -> sql.Composed:
    """Return the condition that `time` is at or before `end`, in microseconds since 1970 UTC."""
    return sql.SQL("{} <= {}").format(time, datetime_of_us(end))

"""The part of a point-in-time join that the lake answers: days whose rows it has as the database does.

Days are read from the last to the first. An entity row that finds no row in its day asks the day before, as long as the ttl reaches
there; a day that may not be read hands it to the database.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.stores.endpoints import lake_place
from feature_repo.stores.history import History
from feature_repo.stores.offline.binary import format as wire
from feature_repo.stores.offline.join.gather import Columns
from feature_repo.stores.offline.join.lake_values import puts
from feature_repo.stores.offline.join.latest import NONE, latest
from feature_repo.stores.offline.join.lookup import Lookup
from feature_repo.stores.offline.join.spine import Asked, order_of
from feature_repo.stores.offline.lake import read
from feature_repo.stores.offline.lake.sources import Group
from feature_repo.stores.offline.lake.tables import CREATED, EVENT, KEY, LakeError
from feature_repo.stores.offline.tables.schema import RECOMPUTED, SILENCE

log = logging.getLogger(__name__)

DAY_US: Final = 86_400_000_000
GROUP_COST: Final = 40  # look-ups by the database's index that take as long as decoding one row group
PACKED: Final = 10  # the same, where the database has to unpack what it looks up: as many times fewer
PIECE_ROWS: Final = 4_000_000  # that are read at a time: the bound of the memory
_TYPES: Final = {wire.FLOAT8, wire.INT8}

_Ints = NDArray[np.int64]
_Put = Callable[[Sequence[Group], _Ints, _Ints], None]


def view_of(connection: psycopg.Connection[Any], lookup: Lookup, types: Sequence[int]) -> read.View | None:
    """Return the days of a look-up that the lake may answer in the connection's snapshot, or None for none."""
    if not lookup.table or lookup.history is None or not set(types) <= _TYPES or any(lookup.casts):
        return None
    own = (lookup.event, lookup.created, tuple(name for _, name in lookup.keys))
    return days_of(connection, lookup.table) if own == (EVENT, CREATED, (KEY,)) else None


def days_of(connection: psycopg.Connection[Any], table: tuple[str, ...]) -> read.View | None:
    """Return the days of a managed table that the lake has as the snapshot of the connection does, or None for none."""
    if not (lake := lake_place()):
        return None
    try:
        return read.view(connection, lake, table)
    except (LakeError, OSError, pa.ArrowException) as error:
        log.warning("%s is read from the database alone: %.300s", table[-1], error)
        return None


def by_day(asked: Asked) -> Asked:
    """Return the entity rows sorted by day, symbol and moment; all views with these keys share them."""
    if not len(asked.row):
        return asked
    ordered = asked.part(_order(asked.code))
    if asked.begin // DAY_US == asked.end // DAY_US:
        return ordered
    return ordered.part(_order(ordered.moment // DAY_US - asked.begin // DAY_US))


def fill(
    view: read.View, lookup: Lookup, asked: Asked, ordered: Asked, into: Columns, pool: Executor
) -> Callable[[], Asked]:
    """Begin to put the features that the lake has into the result; `ordered` is what `by_day` gives.

    Threads of `pool` read the features, and one of them may call this, because it waits for no other. Return a function that waits until
    all is put, and returns the entity rows that the database has to answer.
    """
    if not len(asked.row) or (
        not pa.types.is_string(asked.keys[0].type) and not pa.types.is_large_string(asked.keys[0].type)
    ):
        return lambda: asked
    reads: list[Future[None]] = []

    def put(groups: Sequence[Group], rows: _Ints, at: _Ints) -> None:
        reads.extend(pool.submit(step) for step in puts(view, groups, lookup.features, into, rows, at))

    try:
        rest = _find(view, lookup, ordered, put)
    except (OSError, pa.ArrowException) as error:
        return partial(_failed, view, lookup, asked, error)

    def finish() -> Asked:
        errors = [error for error in (one.exception() for one in reads) if error is not None]
        for error in errors:
            if not isinstance(error, OSError | pa.ArrowException):
                raise error
        return _failed(view, lookup, asked, errors[0]) if errors else rest

    return finish


def _failed(view: read.View, lookup: Lookup, asked: Asked, error: BaseException) -> Asked:
    """Leave all entity rows of a view to the database, because a file of the lake could not be read."""
    log.warning("%s is read from the database: %.300s", lookup.view, error)
    read.forget(view)
    return asked


def _find(view: read.View, lookup: Lookup, ordered: Asked, put: _Put) -> Asked:
    """Find the row of each entity row and `put` the features; return the entity rows that the database has to answer."""
    rest: list[Asked] = []
    todo: defaultdict[int, list[Asked]] = defaultdict(list)
    day = ordered.moment // DAY_US
    edges = np.flatnonzero(np.diff(day, prepend=day[0] - 1, append=day[-1] + 1))
    for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        todo[int(day[first])].append(ordered.part(slice(first, end)))
    names = ordered.keys[0].to_pylist()
    while todo:
        number = max(todo)
        parts = todo.pop(number)
        mine = _together(parts)
        if len(parts) > 1:  # those of a later day that found no row there come last
            mine = mine.part(_order(mine.code))
        found = _of_day(view, lookup, mine, names, number, put) if number in view.files else None
        if found is None:
            rest.append(mine)
            continue
        missed = mine.part(~found)
        begin = number * DAY_US
        oldest = missed.moment - lookup.ttl if lookup.ttl else np.full(len(missed.row), -(2**62))
        oldest = oldest if lookup.since is None else np.maximum(oldest, lookup.since)
        if len((before := missed.part(oldest < begin)).row):
            todo[number - 1].append(before)
    if not rest:
        return ordered.part(slice(0, 0))
    left = _together(rest)
    return left.part(order_of(left.moment))


def _together(parts: Sequence[Asked]) -> Asked:
    if len(parts) == 1:
        return parts[0]
    row, moment, code = (np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "moment", "code"))
    return Asked(parts[0].keys, row, moment, code)


def _of_day(
    view: read.View, lookup: Lookup, mine: Asked, names: Sequence[str], number: int, put: _Put
) -> NDArray[np.bool_] | None:
    """Answer entity rows, sorted by symbol and moment, from one day.

    Return which have a row in it, or None where the database is quicker.
    """
    found = np.zeros(len(mine.row), np.bool_)
    if not view.rows(number):
        return found
    moment, code = mine.moment, mine.code
    edges = np.flatnonzero(np.diff(code, prepend=-1, append=-1))
    of_symbol = {
        names[code[first]]: slice(first, end)
        for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    }
    groups = list(_needed(view.groups(number), lookup, of_symbol, moment))
    cost = GROUP_COST / (PACKED if number in view.packed else 1)
    if groups and len(moment) < cost * view.decoded(groups, [EVENT, *lookup.features]):
        return None
    for piece in _pieces(groups):
        asked_rows, at = _of_piece(view, piece, lookup, of_symbol, moment, found)
        put(piece, mine.row[asked_rows], at)
    return found


def _needed(groups: Sequence[Group], lookup: Lookup, of_symbol: Mapping[str, slice], moment: _Ints) -> Iterator[Group]:
    """Yield the row groups that may hold a row for one of the entity rows, whose moments are sorted for each symbol."""
    symbols = sorted(of_symbol)
    for group in groups:
        for symbol in symbols[bisect_left(symbols, group.symbols[0]) :]:
            if symbol > group.symbols[1]:
                break
            moments = moment[of_symbol[symbol]]
            at = np.searchsorted(moments, group.events[0])
            if at < len(moments) and (not lookup.ttl or moments[at] - lookup.ttl <= group.events[1]):
                yield group
                break


def _pieces(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Cut row groups into pieces of about `PIECE_ROWS` rows; no symbol is in two of them."""
    piece: list[Group] = []
    for group in groups:
        rows = sum(one.rows for one in piece)
        if piece and rows + group.rows > PIECE_ROWS and group.symbols[0] > piece[-1].symbols[1]:
            yield piece
            piece = []
        piece.append(group)
    if piece:
        yield piece


def _of_piece(
    view: read.View,
    groups: Sequence[Group],
    lookup: Lookup,
    of_symbol: Mapping[str, slice],
    moment: _Ints,
    found: NDArray[np.bool_],
) -> tuple[_Ints, _Ints]:
    """Find entity rows in row groups that have all needed ones of their symbols; note in `found` which have a row.

    Return the positions of those whose features count, and of their rows.
    """
    event, *rest = view.numbers(groups, [EVENT, CREATED] if lookup.known else [EVENT])
    created = rest[0] if rest else None
    parts = list(_parts(view, groups))
    kept = None
    if None in (makers := {group.recomputed for group in groups}) or len(makers) > 1:
        index = np.repeat(np.arange(len(parts)), [end - first for _, first, end in parts])
        kept = counting(view.read(groups, [RECOMPUTED]), lookup.history, index, event)
    if kept is not None:
        event, created = event[kept], None if created is None else created[kept]
        parts = [(name, *np.searchsorted(kept, (first, end)).tolist()) for name, first, end in parts]
    positions: list[_Ints] = [np.empty(0, np.int64)]
    at: list[_Ints] = [np.empty(0, np.int64)]
    for name, first, end in parts:
        part = of_symbol.get(name)
        if part is None:
            continue
        known = None if created is None else created[first:end]
        here = latest(moment[part], event[first:end], known, lookup.ttl, known=lookup.known)
        has = np.flatnonzero(here != NONE)
        positions.append(has + part.start)
        at.append(here[has] + first)
    asked, at_row = np.concatenate(positions), np.concatenate(at)
    if lookup.since is not None:
        holds = event[at_row] >= lookup.since
        asked, at_row = asked[holds], at_row[holds]
    found[asked] = True
    at_all = at_row if kept is None else kept[at_row]
    if lookup.tells_silence:
        most = event[at_row] - moment[asked] + lookup.heard
        longest = [group.silence for group in groups if group.silence is not None]
        if len(longest) < len(groups) or (most < max(longest, default=0) * 1_000).any():
            told, _ = read.numbers_of(view.read(groups, [SILENCE]).column(0))
            heard = told[at_all].astype(np.int64) * 1_000 <= most
            asked, at_all = asked[heard], at_all[heard]
    return asked, at_all


def _parts(view: read.View, groups: Sequence[Group]) -> Iterator[tuple[str, int, int]]:
    """Yield each symbol of row groups, and between which positions its rows lie."""
    if all(first == last for first, last in (group.symbols for group in groups)):
        runs = [(group.symbols[0], group.rows) for group in groups]
    else:
        symbol = view.read(groups, [KEY]).column(0).combine_chunks()
        index, names = symbol.indices.to_numpy(), symbol.dictionary.to_pylist()
        edges = [0, *(np.flatnonzero(index[1:] != index[:-1]) + 1).tolist(), len(index)]
        runs = [(names[index[first]], end - first) for first, end in pairwise(edges)]
    begin = 0
    for name, of_name in groupby(runs, itemgetter(0)):
        end = begin + sum(rows for _, rows in of_name)
        yield name, begin, end
        begin = end


def _order(small: _Ints) -> _Ints:
    """Return the order of small numbers, equal ones as they stand; numpy sorts those of 16 bits in one pass."""
    fits = not len(small) or small.max() < 2**16
    return np.argsort(small.astype(np.uint16) if fits else small, kind="stable")


def counting(rows: pa.Table, history: History | None, symbol: NDArray[np.integer[Any]], event: _Ints) -> _Ints | None:
    """Return the positions of the rows that count in the history that is read; None where all do.

    `symbol` are numbers of the symbols, whose rows are sorted by event time. Rows of the other history count at event times at which the
    one that is read has no row.
    """
    other = rows.column(RECOMPUTED).to_numpy()
    if history == "recomputed":
        other = ~other
    if not other.any() or other.all():
        return None
    first = np.flatnonzero((np.diff(event, prepend=event[0] - 1) != 0) | (np.diff(symbol, prepend=-1) != 0))
    has_own = np.logical_or.reduceat(~other, first)
    return np.flatnonzero(~other | ~np.repeat(has_own, np.diff(first, append=len(event))))

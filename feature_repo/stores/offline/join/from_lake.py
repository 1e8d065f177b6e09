"""The part of a point-in-time join that the lake answers: days whose rows it has as the database does.

Days are read from the last to the first. An entity row that finds no row in its day asks the day before, as long as the ttl reaches
there; a day that may not be read hands it to the database. All symbols of a day are matched by one search: symbol and time make one
number.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.stores.endpoints import lake_place
from feature_repo.stores.offline.binary import format as wire
from feature_repo.stores.offline.join.gather import Columns
from feature_repo.stores.offline.join.lookup import Lookup
from feature_repo.stores.offline.join.spine import Asked
from feature_repo.stores.offline.lake import read
from feature_repo.stores.offline.lake.tables import CREATED, EVENT, KEY, LakeError
from feature_repo.stores.offline.tables.schema import RECOMPUTED, SILENCE

log = logging.getLogger(__name__)

DAY_US: Final = 86_400_000_000
GROUP_COST: Final = 100  # look-ups by the database's index that take as long as reading one row group
PIECE_CELLS: Final = 40_000_000  # values that are read at a time: the bound of the memory
_BITS: Final = 45  # of a time within a day or up to 400 days after it; the bits above are for the symbol
_FAR: Final = 2**_BITS - 2
_MOST_SYMBOLS: Final = 2 ** (63 - _BITS) - 1
_TYPES: Final = {wire.FLOAT8, wire.INT8}

_Ints = NDArray[np.int64]


def view_of(connection: psycopg.Connection[Any], lookup: Lookup, types: Sequence[int]) -> read.View | None:
    """Return the days of a look-up that the lake may answer in the connection's snapshot, or None for none."""
    lake = lake_place()
    if not lake or not lookup.table or lookup.history is None or not set(types) <= _TYPES or any(lookup.casts):
        return None
    own = (lookup.event, lookup.created, tuple(name for _, name in lookup.keys))
    if own != (EVENT, CREATED, (KEY,)):
        return None
    try:
        return read.view(connection, lake, lookup.table)
    except (LakeError, OSError, pa.ArrowException) as error:
        log.warning("%s is read from the database alone: %.300s", lookup.view, error)
        return None


def fill(view: read.View, lookup: Lookup, asked: Asked, into: Columns) -> Asked:
    """Put the features that the lake has into the result, and return the entity rows that the database has to answer."""
    if not len(asked.row) or (
        not pa.types.is_string(asked.keys[0].type) and not pa.types.is_large_string(asked.keys[0].type)
    ):
        return asked
    try:
        rest = _fill(view, lookup, asked, into)
    except (OSError, pa.ArrowException) as error:
        log.warning("%s is read from the database: %.300s", lookup.view, error)
        read.forget(view)
        return asked
    return asked.part(np.sort(rest))


def _fill(view: read.View, lookup: Lookup, asked: Asked, into: Columns) -> _Ints:
    rest: list[_Ints] = []
    todo: defaultdict[int, list[_Ints]] = defaultdict(list)
    day = asked.moment // DAY_US
    edges = np.flatnonzero(np.diff(day, prepend=day[0] - 1, append=day[-1] + 1))
    for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        todo[int(day[first])].append(np.arange(first, end))
    while todo:
        number = max(todo)
        mine = np.concatenate(todo.pop(number))
        if number not in view.files:
            rest.append(mine)
            continue
        found = _of_day(view, lookup, asked, number, mine, into)
        if found is None:
            rest.append(mine)
            continue
        missed = mine[~found]
        begin = number * DAY_US
        oldest = asked.moment[missed] - lookup.ttl if lookup.ttl else np.full(len(missed), -(2**62))
        oldest = oldest if lookup.since is None else np.maximum(oldest, lookup.since)
        if len(before := missed[oldest < begin]):
            todo[number - 1].append(before)
    return np.concatenate(rest) if rest else np.empty(0, np.int64)


def _of_day(
    view: read.View, lookup: Lookup, asked: Asked, number: int, mine: _Ints, into: Columns
) -> NDArray[np.bool_] | None:
    """Answer the entity rows `mine` from one day; return which have a row in it, or None where the database is quicker."""
    found = np.zeros(len(mine), np.bool_)
    rows = view.rows(number)
    if not rows:
        return found
    if len(mine) < GROUP_COST or (asked.moment[mine] - number * DAY_US >= _FAR).any():
        return None
    names = asked.keys[0].to_pylist()
    by_symbol = mine[_order(asked.code[mine])]
    groups = list(_needed(view.groups(number), lookup, asked, by_symbol, names))
    if len(mine) < GROUP_COST * len(groups) or len(names) > _MOST_SYMBOLS:
        return None
    code_of = {name: code for code, name in enumerate(names)}
    columns = [KEY, EVENT, CREATED, RECOMPUTED, *([SILENCE] if lookup.tells_silence else []), *lookup.features]
    for piece in _pieces(groups, len(columns)):
        _of_piece(view.read(piece, columns), lookup, asked, number * DAY_US, mine, code_of, found, into)
    return found


def _needed(
    groups: Sequence[read.Group], lookup: Lookup, asked: Asked, by_symbol: _Ints, names: Sequence[str]
) -> Iterator[read.Group]:
    """Yield the row groups that may hold a row for one of the entity rows, which are sorted by symbol and moment."""
    code = asked.code[by_symbol]
    edges = np.flatnonzero(np.diff(code, prepend=-1, append=-1))
    moments = {
        names[code[first]]: asked.moment[by_symbol[first:end]]
        for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    }
    symbols = sorted(moments)
    for group in groups:
        for symbol in symbols[bisect_left(symbols, group.symbols[0]) :]:
            if symbol > group.symbols[1]:
                break
            at = np.searchsorted(moments[symbol], group.events[0])
            if at < len(moments[symbol]) and (not lookup.ttl or moments[symbol][at] - lookup.ttl <= group.events[1]):
                yield group
                break


def _pieces(groups: Sequence[read.Group], width: int) -> Iterator[list[read.Group]]:
    """Cut row groups into pieces of about `PIECE_CELLS` values; no symbol is in two of them."""
    piece: list[read.Group] = []
    for group in groups:
        cells = width * sum(one.rows for one in piece)
        if piece and cells + width * group.rows > PIECE_CELLS and group.symbols[0] > piece[-1].symbols[1]:
            yield piece
            piece = []
        piece.append(group)
    if piece:
        yield piece


def _of_piece(
    rows: pa.Table,
    lookup: Lookup,
    asked: Asked,
    begin: int,
    mine: _Ints,
    code_of: dict[str, int],
    found: NDArray[np.bool_],
    into: Columns,
) -> None:
    """Answer entity rows from rows of whole symbols that are sorted by symbol, event and created time; note in `found` which have one."""
    event, created = (rows.column(name).combine_chunks().view(pa.int64()).to_numpy() for name in (EVENT, CREATED))
    symbol = rows.column(KEY).combine_chunks()
    index = symbol.indices.to_numpy()
    first = np.flatnonzero(np.diff(index, prepend=-1))
    rank = np.repeat(np.arange(len(first)), np.diff(first, append=len(index)))
    rank_of_code = np.full(len(code_of), -1, np.int64)
    for position, name in enumerate(symbol.dictionary.take(pa.array(index[first])).to_pylist()):
        if name in code_of:
            rank_of_code[code_of[name]] = position
    ranks = rank_of_code[asked.code[mine]]
    order = _order(ranks + 1)
    order = order[np.searchsorted(ranks[order], 0) :]
    wanted, moment = ranks[order], asked.moment[mine[order]]
    kept = counting(rows, lookup, rank, event)
    if kept is not None:
        rank, event, created = rank[kept], event[kept], created[kept]
    at = _latest(rank, event - begin, created - begin, wanted, moment - begin, known=lookup.known)
    holds = at >= 0
    at[~holds] = 0
    holds &= rank[at] == wanted
    oldest = moment - lookup.ttl if lookup.ttl else None
    holds &= event[at] >= oldest if oldest is not None else True
    holds &= event[at] >= lookup.since if lookup.since is not None else True
    found[order[holds]] = True
    if lookup.tells_silence:
        told = pc.fill_null(rows.column(SILENCE), 0).to_numpy()[at if kept is None else kept[at]]
        holds &= event[at] - told.astype(np.int64) * 1_000 >= moment - lookup.heard
    at = at[holds] if kept is None else kept[at[holds]]
    target = asked.row[mine[order[holds]]]
    into.put_taken(target, [rows.column(name) for name in lookup.features], at)


def _order(small: _Ints) -> _Ints:
    """Return the order of small numbers, equal ones as they stand; numpy sorts those of 16 bits in one pass."""
    fits = not len(small) or small.max() < 2**16
    return np.argsort(small.astype(np.uint16) if fits else small, kind="stable")


def counting(rows: pa.Table, lookup: Lookup, rank: _Ints, event: _Ints) -> _Ints | None:
    """Return the positions of the rows that count in the history that is read; None where all do.

    Rows of the other history count at event times at which the one that is read has no row.
    """
    other = rows.column(RECOMPUTED).to_numpy()
    if lookup.history == "recomputed":
        other = ~other
    if not other.any() or other.all():
        return None
    first = np.flatnonzero((np.diff(event, prepend=event[0] - 1) != 0) | (np.diff(rank, prepend=-1) != 0))
    has_own = np.logical_or.reduceat(~other, first)
    return np.flatnonzero(~other | ~np.repeat(has_own, np.diff(first, append=len(event))))


def _latest(rank: _Ints, event: _Ints, created: _Ints, wanted: _Ints, moment: _Ints, *, known: bool) -> _Ints:
    """Return for each entity row the position of the last row that is not after its moment, of its symbol or one before it; -1 for none.

    Rows are sorted by rank, event and created time; all times count from the start of the day. With `known` a row is there from its created
    time on, and of the rows that are there the last in order counts, as in ``retrieve.latest``.
    """
    asked = (wanted << _BITS) + np.minimum(moment, _FAR)
    if not known:
        return np.searchsorted((rank << _BITS) + event, asked, side="right") - 1
    there = (rank << _BITS) + np.minimum(np.maximum(event, created), _FAR + 1)
    if (there[1:] >= there[:-1]).all():
        return np.searchsorted(there, asked, side="right") - 1
    order = np.argsort(there, kind="stable")
    count = np.searchsorted(there[order], asked, side="right")
    return np.append(np.maximum.accumulate(order), -1)[count - 1]

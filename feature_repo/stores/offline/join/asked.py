"""The entity rows that a view is asked for, and the temporary tables that hold them on the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from feast.errors import FeastEntityDFMissingColumnsError
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.binary import encode
from feature_repo.stores.offline.binary.from_arrow import column_of, column_type
from feature_repo.stores.offline.join.spine import Spine
from feature_repo.stores.offline.tables.schema import TYPES, column_definitions

ASKED: Final = sql.Identifier("pg_temp", "asked")
"""Temporary table ``(n, t, k0, k1 ...)``: number, moment and key of the entity rows to look up."""

KEYS: Final = sql.Identifier("pg_temp", "asked_keys")
"""Temporary table ``(id, void, k0, k1 ...)``: the distinct keys, and the value that stands for null in a scan."""

VOID: Final = np.array([0x7FF8_0054_4653_0001], np.uint64).view(np.float64)
"""The value of ``void``: a quiet NaN with a payload that no computation gives."""

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Asked:
    """Entity rows that can have a row of a view, sorted by moment; ``keys`` holds the distinct values of each key part.

    (n,) arrays: position of the ``row`` in the spine, ``moment`` in microseconds since 1970 UTC, and ``code``, the
    position of its key in ``keys``.
    """

    keys: tuple[pa.Array, ...]
    row: _Ints
    moment: _Ints
    code: _Ints

    @property
    def begin(self) -> int:
        return int(self.moment[0])

    @property
    def end(self) -> int:
        return int(self.moment[-1])

    def part(self, chosen: Any) -> Asked:
        """Return the rows that a slice or a mask chooses."""
        return replace(self, row=self.row[chosen], moment=self.moment[chosen], code=self.code[chosen])


def asked_of_spine(spine: Spine, names: Sequence[str]) -> Asked:
    """Return the rows of a spine that have a moment and whose key columns `names` are not null."""
    missing = set(names) - set(spine.table.column_names)
    if missing:
        raise FeastEntityDFMissingColumnsError(set(names), missing)
    codes = np.zeros(spine.table.num_rows, np.int64)
    present = spine.present
    parts = []
    for name in names:
        encoded = spine.table.column(name).combine_chunks().dictionary_encode()
        parts.append(encoded.dictionary)
        present = present & encoded.is_valid().to_numpy(zero_copy_only=False)
        indices = np.asarray(pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False), np.int64)
        codes = codes * max(1, len(encoded.dictionary)) + indices
    rows = np.flatnonzero(present)
    rows = rows[np.argsort(spine.moments[rows], kind="stable")]
    distinct, codes = np.unique(codes[rows], return_inverse=True)
    columns = []
    for part in reversed(parts):
        distinct, index = np.divmod(distinct, max(1, len(part)))
        columns.append(part.take(pa.array(index)))
    return Asked(tuple(reversed(columns)), rows, spine.moments[rows], codes)


def upload_asked(connection: psycopg.Connection[Any], asked: Asked) -> None:
    """Make `ASKED` of the rows."""
    codes = pa.array(asked.code)
    n = (TYPES["Int64"], encode.integers(asked.row))
    t = (TYPES["UnixTimestamp"], encode.times(asked.moment))
    _upload(connection, ASKED, {"n": n, "t": t, **_encoded([part.take(codes) for part in asked.keys])})


def upload_keys(connection: psycopg.Connection[Any], asked: Asked) -> None:
    """Make `KEYS` of the distinct keys."""
    count = len(asked.keys[0]) if asked.keys else 1
    number = (TYPES["Int64"], encode.integers(np.arange(count)))
    void = (TYPES["Float64"], encode.Fixed(np.repeat(VOID, count).astype(">f8")))
    _upload(connection, KEYS, {"id": number, "void": void, **_encoded(asked.keys)})


def key_columns(count: int) -> list[str]:
    """Return the names of `count` key columns of `ASKED` and `KEYS`."""
    return [f"k{i}" for i in range(count)]


def _encoded(keys: Sequence[pa.Array]) -> dict[str, tuple[str, encode.Column]]:
    kinds = [column_type(part.type) for part in keys]
    columns = ((kind, column_of(part, kind)) for part, kind in zip(keys, kinds, strict=True))
    return dict(zip(key_columns(len(keys)), columns, strict=True))


def _upload(
    connection: psycopg.Connection[Any], table: sql.Identifier, columns: Mapping[str, tuple[str, encode.Column]]
) -> None:
    """Make a temporary table of columns, each a type and values. The planner chooses by its statistics."""
    definitions = column_definitions({name: kind for name, (kind, _) in columns.items()})
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
        cursor.execute(sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(table, definitions))
        encode.copy_in(cursor, table, [column for _, column in columns.values()])
        cursor.execute(sql.SQL("ANALYZE {}").format(table))

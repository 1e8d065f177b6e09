"""Entries of streams as rows of the tape, and back.

An entry of a log has the fields ``kind``, ``data`` and perhaps ``recorded``: each is a column, and ``data`` has the same bytes as there.
An entry of any other form (a flat message, a dead letter, a post as written) is kept whole in the column ``fields``, as MessagePack: a
list of names and values in turn, in their order. So every entry comes back with the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import json, msgpack

from ingest.messages.check import is_symbol
from ingest.messages.decode import MAPS
from ingest.messages.header import Header
from ingest.messages.kinds import KIND
from ingest.streams import keys

EVENTS = "events"  # the column `source` of entries of the logs; other streams have their own name there
IMPORT = "import"  # and of rows that came from a file, which have ``recorded``
FOR_ALL = "-"  # stands for the rows that name no symbol, where rows are chosen by symbols
NO_PARTITION = -1  # the partition of entries of streams that are not logs
DAY_MS = 86_400_000
CHECK_BITS = 2**63
"""The sum of the checks of a day is kept modulo this, so that it fits the number of a transaction."""

SCHEMA = pa.schema(
    [
        pa.field("id_ms", pa.int64(), nullable=False),
        pa.field("id_n", pa.int64(), nullable=False),
        pa.field("arrival", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("kind", pa.string()),
        pa.field("symbol", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("recorded", pa.bool_(), nullable=False),
        pa.field("data", pa.binary()),
        pa.field("fields", pa.binary()),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
    ]
)
"""``id_ms`` and ``id_n`` are the entry id, ``arrival`` is the first of them in microseconds, and ``day`` its day in UTC."""
PARTITIONED_BY = ["day", "partition"]

_KINDS = {name.encode(): name for name in KIND}
_FORMS = (frozenset({b"kind", b"data"}), frozenset({b"kind", b"data", b"recorded"}))
_symbol_of_json = json.Decoder(Header, strict=False).decode
_symbol_of_msgpack = msgpack.Decoder(Header, strict=False).decode

Entry = tuple[bytes, Mapping[bytes, bytes]]


def table_of(entries: Sequence[Entry], source: str, partition: int) -> pa.Table:
    """Return the rows of the entries of one stream, in their order."""
    ms, n, recorded = list[int](), list[int](), list[bool]()
    kinds, symbols = list[str | None](), list[str | None]()
    data, rest = list[bytes | None](), list[bytes | None]()
    kind_of_source = "refused" if source.startswith(keys.DEAD_LETTER) else "social" if source == keys.WRITTEN else None
    for entry_id, fields in entries:
        first, _, second = entry_id.partition(b"-")
        ms.append(int(first))
        n.append(int(second))
        kind = _KINDS.get(fields.get(b"kind", b"")) if source == EVENTS else None
        recorded.append(fields.get(b"recorded") == b"1")
        if kind is not None and fields.keys() in _FORMS and recorded[-1] == (b"recorded" in fields):
            body = fields[b"data"]
            kinds.append(kind)
            symbols.append(_symbol(body))
            data.append(body)
            rest.append(None)
        else:
            kinds.append(kind or kind_of_source)
            symbols.append(_symbol_of_fields(fields))
            data.append(None)
            rest.append(msgpack.encode([word for pair in fields.items() for word in pair]))
    return as_table(ms, n, kinds, symbols, source, recorded, data, rest, partition)


def as_table(
    ms: Sequence[int],
    n: Sequence[int],
    kinds: Sequence[str | None],
    symbols: Sequence[str | None],
    source: str,
    recorded: Sequence[bool],
    data: Sequence[bytes | None],
    fields: Sequence[bytes | None],
    partition: int | Sequence[int],
) -> pa.Table:
    """Return rows of one source, given as their columns."""
    id_ms = np.array(ms, dtype=np.int64)
    size = len(ms)
    columns = [
        pa.array(id_ms),
        pa.array(n, pa.int64()),
        pa.array(id_ms * 1000).cast(SCHEMA.field("arrival").type),
        pa.array(kinds, pa.string()),
        pa.array(symbols, pa.string()),
        pa.array([source] * size, pa.string()),
        pa.array(recorded, pa.bool_()),
        pa.array(data, pa.binary()),
        pa.array(fields, pa.binary()),
        pa.array((id_ms // DAY_MS).astype(np.int32)).cast(pa.date32()),
        pa.array(np.full(size, partition, dtype=np.int32)),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def entries_of(rows: pa.Table) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """Yield the entries that ``table_of`` made rows of, in the order of the rows."""
    names = ("id_ms", "id_n", "kind", "recorded", "data", "fields")
    for ms, n, kind, recorded, data, rest in zip(*(rows.column(name).to_pylist() for name in names), strict=True):
        entry_id = b"%d-%d" % (ms, n)
        if rest is not None:
            words: list[bytes] = msgpack.decode(rest, type=list[bytes])
            yield entry_id, dict(zip(words[::2], words[1::2], strict=True))
        elif recorded:
            yield entry_id, {b"kind": kind.encode(), b"data": data, b"recorded": b"1"}
        else:
            yield entry_id, {b"kind": kind.encode(), b"data": data}


def check_of(rows: pa.Table) -> int:
    """Return the sum of the checks of rows: a CRC-32 each, over everything that makes the entry. The order of rows does not matter.

    The sum of a day is different where an entry was lost, doubled or changed, and the same after the rows were sorted into other files.
    """
    return sum(sum(checks_of(batch)) for batch in rows.to_batches()) % CHECK_BITS


def checks_of(batch: pa.RecordBatch) -> Iterator[int]:
    """Yield the check of each row."""
    names = ("id_ms", "id_n", "kind", "source", "recorded", "data", "fields")
    for ms, n, kind, source, recorded, data, rest in zip(
        *(batch.column(name).to_pylist() for name in names), strict=True
    ):
        head = b"%d-%d\0%d\0%b\0%b\0" % (ms, n, recorded, source.encode(), (kind or "").encode())
        yield crc32(rest if data is None else data, crc32(head))


def _symbol(body: bytes) -> str | None:
    """Return the symbol that a message names, or None where it cannot be read or is none."""
    try:
        header: Any = _symbol_of_msgpack(body) if body[:1] in MAPS else _symbol_of_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    symbol: str = header.symbol
    return symbol if is_symbol(symbol) else None


def _symbol_of_fields(fields: Mapping[bytes, bytes]) -> str | None:
    if b"data" in fields:
        return _symbol(fields[b"data"])
    symbol = fields.get(b"symbol", b"").decode(errors="replace")
    return symbol if is_symbol(symbol) else None

"""Rows on their way out: packed for the outbox, and spelt out for the stream ``features``."""

import json
import math
import struct

from ingest import rows
from transforms.catalog import NORMALIZED, SOCIAL
from transforms.kernel import vector

K = len(NORMALIZED.features)


def test_a_vector_is_one_entry_with_its_times_in_milliseconds_and_its_values_by_name():
    batch = rows.Batch(NORMALIZED)
    values = [0.1 + 0.2, -0.0, 5e-324, -2.5, math.nan, *[1 / 3] * (K - 5)]
    batch.add("BINANCE:SOL-USDT", 1_700_000_001_000_000, 1_700_000_001_002_999, vector(values))
    symbol, event, created, text = rows.vectors(batch.columns())
    assert (symbol, event, created) == ("BINANCE:SOL-USDT", 1_700_000_001_000, 1_700_000_001_002)
    read = json.loads(text)
    assert tuple(read) == NORMALIZED.names
    assert read[NORMALIZED.names[4]] is None
    for name, value in zip(NORMALIZED.names, values, strict=True):
        assert math.isnan(value) or struct.pack("<d", read[name]) == struct.pack("<d", value)


def test_no_row_is_no_entry():
    assert rows.vectors(rows.Batch(NORMALIZED).columns()) == []


def test_the_outbox_gives_back_the_same_columns():
    batch = rows.Batch(SOCIAL)
    for i, symbol in enumerate("ABA"):
        batch.add(symbol, 1_000_000 * i, 1_000_000 * i + 7, vector([i / 3] * 7 + [math.nan]))
    sent, got = batch.columns(), rows.decode(rows.encode(batch.columns()))
    assert got.view is SOCIAL and got.symbols == ["A", "B", "A"]
    assert [a.tobytes() for a in sent[2:]] == [a.tobytes() for a in got[2:]]
    newest = batch.newest()
    assert newest.symbols == ["A", "B"] and newest.event_us.tolist() == [2_000_000, 1_000_000]

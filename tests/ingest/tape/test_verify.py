"""The checks of the tape find what was lost, doubled or changed, and pass what is right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import deltalake
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from ingest.settings import Settings
from ingest.streams import keys
from ingest.tape import compact, verify
from ingest.tape.columns import SCHEMA, table_of
from ingest.tape.read import entries, rows
from ingest.tape.table import Batch, ConflictError, Tape, TapeError, open_tape, open_to_append

DAY_MS = 86_400_000
BEGIN = 1_700_006_400_000  # 2023-11-15 00:00 UTC
NOW = datetime(2023, 11, 17, 12, tzinfo=UTC)
Entry = tuple[bytes, dict[bytes, bytes]]


def tick(ms: int, n: int = 0, symbol: str = "BTC") -> Entry:
    return b"%d-%d" % (ms, n), {b"kind": b"tick", b"data": b'{"timestamp":%d,"symbol":"%b"}' % (ms, symbol.encode())}


@pytest.fixture
def entries_of_days() -> list[Entry]:
    """Two whole days and a part of a third, of two symbols in turn, with entries of one millisecond."""
    return [tick(BEGIN + i * 7_200_000, n, "BE"[n] + "TH") for i in range(27) for n in range(2)]


def append(conf: Settings, some: list[Entry], p: int = 0) -> None:
    stream = keys.events(p)
    open_to_append(conf, "").append([Batch(stream, table_of(some, "events", p), some[-1][0])])


@pytest.fixture
def tape(in_folder: Settings, entries_of_days: list[Entry]) -> Tape:
    """The entries, in five appends."""
    for at in range(0, 54, 12):
        append(in_folder, entries_of_days[at : at + 12])
    return open_tape(in_folder)


def wrong(tape: Tape) -> list[str]:
    return [str(day.day) for day in verify.days(tape) if not day.is_right]


def test_what_was_appended_is_right(tape: Tape) -> None:
    found = list(verify.days(tape))
    assert [(str(day.day), day.rows) for day in found] == [("2023-11-15", 24), ("2023-11-16", 24), ("2023-11-17", 6)]
    assert all(day.is_right for day in found)
    assert verify.lost_days(tape, 2) == 0


def rewrite(tape: Tape, change: Any) -> Tape:
    """Replace the rows of the second day by changed ones, as somebody with the right to write may do."""
    table = tape.table.to_pyarrow_table().sort_by([("id_ms", "ascending"), ("id_n", "ascending")])
    second = table.slice(24, 24)
    deltalake.write_deltalake(tape.table, change(second).cast(SCHEMA), mode="overwrite", predicate="day = '2023-11-16'")
    return tape


def other_byte(table: pa.Table) -> pa.Table:
    data = table["data"].to_pylist()
    data[5] = data[5].replace(b"1", b"2", 1)
    return table.set_column(table.schema.get_field_index("data"), "data", pa.array(data, pa.binary()))


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.slice(1),
        lambda rows: pa.concat_tables([rows, rows.slice(7, 1)]),
        lambda rows: pa.concat_tables([rows.slice(1), rows.slice(7, 1)]),
        other_byte,
    ],
    ids=["lost", "doubled", "one lost and one doubled", "changed"],
)
def test_a_planted_change_is_found_and_its_day_is_not_compacted(tape: Tape, change: Any) -> None:
    rewrite(tape, change)
    assert wrong(tape) == ["2023-11-16"]
    before = tape.table.version()
    with pytest.raises(TapeError, match="is not what was appended"):
        compact.compact(tape, 0, datetime(2023, 11, 16, tzinfo=UTC).date())
    assert tape.table.version() == before


def test_the_same_rows_in_another_order_are_right(tape: Tape) -> None:
    assert wrong(rewrite(tape, lambda rows: rows.take(list(reversed(range(24)))))) == []


def test_a_day_that_is_gone_is_found(tape: Tape) -> None:
    tape.table.delete("day = '2023-11-16'")
    assert wrong(tape) == []
    assert verify.lost_days(tape, 2) == 1


def test_a_closed_day_is_rewritten_once_sorted_and_reads_as_before(tape: Tape, entries_of_days: list[Entry]) -> None:
    days = compact.open_days(tape, NOW)
    assert [str(day) for _, day in days] == ["2023-11-15", "2023-11-16"]
    for p, day in days:
        compact.compact(tape, p, day)
    assert compact.open_days(tape, NOW) == []
    assert [len(files) for files in tape.days().values()] == [1, 1, 1]
    (first, *_) = tape.table.to_pyarrow_dataset().get_fragments()
    symbols = first.to_table()["symbol"].to_pylist()
    assert symbols == sorted(symbols)
    assert list(entries(tape, 0)) == entries_of_days
    assert wrong(tape) == []


def test_a_day_that_gets_rows_after_it_was_rewritten_is_rewritten_again(in_folder: Settings, tape: Tape) -> None:
    (first, *_) = compact.open_days(tape, NOW)
    compact.compact(tape, *first)
    append(in_folder, [tick(BEGIN + DAY_MS - 1)])
    tape = open_tape(in_folder)
    assert first in compact.open_days(tape, NOW)
    compact.compact(tape, *first)
    assert wrong(tape) == []


@pytest.mark.parametrize("at", [BEGIN + 3 * DAY_MS, BEGIN + 1], ids=["of another day", "of the same day"])
def test_an_append_during_the_rewriting_of_a_day_is_kept(
    in_folder: Settings, tape: Tape, monkeypatch: Any, at: int
) -> None:
    def late(*given: Any) -> Iterator[pa.RecordBatch]:
        append(in_folder, [tick(at, 9)])
        yield from sorted_rows(*given)

    sorted_rows = compact._sorted
    monkeypatch.setattr(compact, "_sorted", late)
    first = compact.open_days(tape, NOW)[0]
    of_same_day = at < BEGIN + DAY_MS
    with pytest.raises(ConflictError) if of_same_day else nullcontext():
        compact.compact(tape, *first)
    tape = open_tape(in_folder)
    assert wrong(tape) == []
    assert (first in compact.open_days(tape, NOW)) is of_same_day
    assert tick(at, 9) in list(entries(tape, 0))


def test_the_files_that_were_replaced_stay_for_a_week(tape: Tape, entries_of_days: list[Entry]) -> None:
    before = tape.table.version()
    compact.compact(tape, *compact.open_days(tape, NOW)[0])
    assert compact.delete_replaced(tape) == 0
    old = Tape(DeltaTable(tape.place, version=before), tape.place)
    assert list(entries(old, 0)) == entries_of_days
    found = tape.table.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False)
    assert len(found) == 2


def test_windows_of_few_rows_give_the_same_entries(tape: Tape, entries_of_days: list[Entry], monkeypatch: Any) -> None:
    monkeypatch.setattr("ingest.tape.read.WINDOW_ROWS", 3)
    assert list(entries(tape, 0)) == entries_of_days
    part = entries(tape, 0, since_ms=BEGIN + 7_200_000, before_ms=BEGIN + DAY_MS + 1, symbols=["ETH"])
    assert list(part) == [one for one in entries_of_days[2:26] if b"ETH" in one[1][b"data"]]
    assert sum(window.num_rows for window in rows(tape, 1)) == 0


def test_polars_reads_the_tape_as_it_is(tape: Tape, entries_of_days: list[Entry]) -> None:
    found = pl.scan_delta(tape.place).filter(pl.col("symbol") == "ETH").sort("id_ms").collect()
    assert found["data"].to_list() == [fields[b"data"] for _, fields in entries_of_days[1::2]]
    assert found["arrival"][0] == datetime(2023, 11, 15, tzinfo=UTC)


def test_what_the_log_still_holds_is_compared_with_the_tape(redis_client, in_folder: Settings) -> None:
    some = [tick(BEGIN + i) for i in range(10)]
    for entry_id, fields in some:
        redis_client.xadd(keys.events(0), fields, id=entry_id)
    append(in_folder, some[:8])
    redis_client.xtrim(keys.events(0), maxlen=7, approximate=False)
    assert verify.log(redis_client, open_tape(in_folder), 0, 2, 2) == verify.Log(0, 5)
    redis_client.xdel(keys.events(0), some[5][0])
    assert verify.log(redis_client, open_tape(in_folder), 0, 2, 2) == verify.Log(0, 2, some[5][0].decode())
    assert verify.log(redis_client, open_tape(in_folder), 1, 2, 2) == verify.Log(1, 0)

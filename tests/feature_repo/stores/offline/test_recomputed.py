"""A backfill's rows take the place of recomputed rows and of no other, whole spans at once, in compressed chunks too."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.recomputed import Recomputed
from feature_repo.stores.offline.tables import hypertable
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from transforms import catalog

VIEW = catalog.SOCIAL
T0 = 1_704_067_200_000_000  # 2024-01-01
SECOND = 1_000_000
DELAY = SECOND
OLD, NEW = {"posts": 3}, {"posts": 4}

Row = tuple[str, int, int, float, int | None, bool]
"""Symbol, event second, seconds until it was created, first value, version of the kernel, and whether it was recomputed."""


@pytest.fixture
def table(database: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    migrate(database, [table_of_view(VIEW)])
    return database


def columns(symbols: str, seconds: list[int], value: float, delay_us: int) -> tuple[Any, ...]:
    event = T0 + SECOND * np.array(seconds, np.int64)
    values = np.full((len(seconds), len(VIEW.features)), np.nan)
    values[:, 0] = value
    return VIEW, list(symbols), event, event + delay_us, values, np.zeros(len(seconds), np.int64)


def serve(connection: psycopg.Connection[Any], symbols: str, seconds: list[int], value: float) -> int:
    return append_rows(connection, *columns(symbols, seconds, value, DELAY), versions=OLD)


def recompute(
    connection: psycopg.Connection[Any],
    symbol: str,
    seconds: list[int],
    value: float,
    versions: dict[str, int] = NEW,
    span: tuple[int, int] | None = None,
) -> int:
    """Write recomputed rows of a symbol, and nothing else from the first to the last of them."""
    begin, end = span or (seconds[0], seconds[-1] + 1)
    writer = Recomputed(connection)
    for second in seconds:
        writer.stage(*columns(symbol, [second], value, DELAY), versions)
    with writer.transaction(symbol):
        new = writer.replace(VIEW, symbol, T0 + begin * SECOND, T0 + end * SECOND)
    connection.execute("DISCARD TEMP")
    return new


def stored(connection: psycopg.Connection[Any]) -> list[Row]:
    query = (
        "SELECT symbol, (extract(epoch FROM event_timestamp) * 1000000 - %s)::bigint / 1000000, "
        "extract(epoch FROM created_timestamp - event_timestamp)::int, social_volume_5m, (versions ->> 'posts')::int, recomputed "
        "FROM social LEFT JOIN kernel_versions ON id = kernels ORDER BY 1, 2, 6, 3"
    )
    return connection.execute(query, (T0,)).fetchall()


def places(connection: psycopg.Connection[Any]) -> list[tuple[str]]:
    """Where each row lies, and so whether it was written again; TimescaleDB does not tell it."""
    if hypertable.installed(connection):
        return []
    return connection.execute("SELECT ctid::text FROM social ORDER BY 1").fetchall()


def test_newer_kernels_replace_recomputed_rows_and_the_same_ones_change_nothing(
    table: psycopg.Connection[Any],
) -> None:
    serve(table, "AAAB", [1, 2, 3, 2], 1.0)
    served = stored(table)
    assert recompute(table, "A", [2, 3, 4], 2.0, OLD) == 3  # their keys are those of served rows
    first, lying = stored(table), places(table)
    assert [row for row in first if row[5]] == [("A", t, 1, 2.0, 3, True) for t in (2, 3, 4)]
    assert recompute(table, "A", [2, 3, 4], 2.0, OLD) == 0
    assert (stored(table), places(table)) == (first, lying)
    assert recompute(table, "A", [2, 3, 4], 2.0, NEW) == 3, "the row says which kernels made it"
    assert recompute(table, "A", [2, 4], 5.0, NEW) == 2, "in between nothing is recomputed any more"
    assert [row for row in stored(table) if row[5]] == [("A", t, 1, 5.0, 4, True) for t in (2, 4)]
    assert [row for row in stored(table) if not row[5]] == served
    assert recompute(table, "A", [9], 1.0, span=(3, 4)) == 0
    assert recompute(table, "A", [9], 1.0, span=(4, 5)) == 0
    assert [row[1] for row in stored(table) if row[5]] == [2]


def test_served_rows_are_added_though_a_backfill_was_there_first_and_are_compared_with_served_ones_only(
    table: psycopg.Connection[Any],
) -> None:
    recompute(table, "A", [1, 2], 1.0)
    assert serve(table, "AA", [1, 2], 1.0) == 2
    assert serve(table, "AA", [1, 2], 1.0) == 0
    assert [row[5] for row in stored(table)] == [False, True, False, True]


def test_rows_of_finished_days_are_dropped_from_what_is_collected(table: psycopg.Connection[Any]) -> None:
    writer = Recomputed(table)
    writer.stage(*columns("ABA", [1, 1, 2], 1.0, DELAY), NEW)
    for done, left in (([("A", T0 + 2 * SECOND)], {("A", 2), ("B", 1)}), ([], {("A", 2), ("B", 1)}), (None, set())):
        writer.clear(done)
        found = table.execute(
            "SELECT symbol, (extract(epoch FROM event_timestamp) * 1000000 - %s)::bigint / 1000000 FROM pg_temp.recomputed_social",
            (T0,),
        )
        assert set(found.fetchall()) == left


def test_a_transaction_that_fails_changes_nothing(table: psycopg.Connection[Any]) -> None:
    recompute(table, "A", [1, 2], 1.0)
    before = stored(table)
    writer = Recomputed(table)
    writer.stage(*columns("AA", [1, 2], 2.0, DELAY), NEW)
    with pytest.raises(ZeroDivisionError), writer.transaction("A"):
        assert writer.replace(VIEW, "A", T0, T0 + 9 * SECOND) == 2
        raise ZeroDivisionError
    assert stored(table) == before


def test_rows_in_compressed_chunks_are_replaced_and_those_that_say_the_same_stay_packed(
    table: psycopg.Connection[Any],
) -> None:
    if not hypertable.installed(table):
        pytest.skip("of a server with TimescaleDB")
    seconds = list(range(0, 3 * 86_400, 600))
    serve(table, "A" * len(seconds) + "B" * len(seconds), seconds * 2, 1.0)
    day = [t for t in seconds if 86_400 <= t < 2 * 86_400]
    for symbol in "AB":
        recompute(table, symbol, seconds, 2.0, OLD)
    chunks = "SELECT c FROM show_chunks('social') AS c ORDER BY 1"
    packed = [chunk for (chunk,) in table.execute(chunks).fetchall()]
    for chunk in packed:
        table.execute("SELECT compress_chunk(%s::regclass)", (chunk,))

    unpacked = "SELECT count(*) FROM _timescaledb_catalog.chunk WHERE status & 8 <> 0"  # partly in rows again
    assert table.execute(unpacked).fetchone() == (0,)
    assert recompute(table, "A", day, 2.0, OLD) == 0
    assert table.execute(unpacked).fetchone() == (0,)
    before = stored(table)
    assert recompute(table, "A", day, 3.0, NEW) == len(day)
    changed = [
        ("A", t, 1, 3.0, 4, True) if (s, r) == ("A", True) and t in day else one
        for one in before
        for s, t, *_, r in [one]
    ]
    assert stored(table) == changed

"""Files that share a symbol stay together, and each symbol has one owner."""

import gzip

import pytest

from ingest.backfill.plan import BLOCK, Scan, Task, plan, plan_days, scan


def of(path, *symbols):
    return Scan(path, frozenset(symbols), False, b"")


def test_a_scan_finds_the_symbols_of_both_forms_and_of_any_spelling(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"symbol" : "A-1"}\n1700 {"data":{"s":"BTCUSDT"}}\n{"symbol": "\\u0042"}\n{"symbol": "\\x"}\n')
    assert scan(path).symbols == {"A-1", "BTCUSDT", "B"}


@pytest.mark.parametrize("shift", [0, 5, 9, 15])
def test_a_symbol_at_the_edge_of_a_block_is_found(tmp_path, shift):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * (BLOCK - shift) + b'"symbol": "EDGE"'))
    assert scan(path).symbols == {"EDGE"}


def test_a_scan_tells_where_posts_may_be(tmp_path):
    quiet, loud, table = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.csv"
    quiet.write_text('{"symbol": "A"}')
    loud.write_text('{"text": "x"}')
    table.write_text("text,time\n")
    assert [scan(p).posts for p in (quiet, loud, table)] == [False, True, True]


def test_a_damaged_gzip_file_is_scanned_as_far_as_it_goes(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'"symbol": "A"' + bytes(range(256)) * 9000)[:5000])
    assert scan(path).symbols <= {"A"}


def test_files_that_share_a_symbol_are_one_group(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    assert plan([of(a, "X"), of(b, "Y"), of(c, "X", "Z")], 1) == [
        Task((b,), frozenset("Y")),
        Task((a, c), frozenset("XZ")),
    ]


def test_a_file_that_names_no_symbol_joins_all(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    assert plan([of(a, "X"), of(b), of(c, "Y")], 4)[0].paths == (a, b, c)


def test_every_symbol_of_a_group_has_exactly_one_owner(tmp_path):
    symbols = [f"S{i}" for i in range(50)]
    tasks = plan([of(tmp_path / "a", *symbols)], 4)
    assert len(tasks) == 4
    assert [sum(task.takes(symbol) for task in tasks) for symbol in symbols] == [1] * 50


def test_there_are_no_more_shares_than_symbols(tmp_path):
    assert len(plan([of(tmp_path / "a", "X")], 8)) == 1
    assert plan([], 8) == [Task((), frozenset())]


def test_the_fullest_symbols_are_shared_out_evenly():
    tasks = plan_days({"A": {1: 70, 2: 30}, "B": {1: 60}, "C": {1: 50}, "D": {1: 1}}, 2)
    assert [dict(task.days) for task in tasks] == [{"A": [1, 2], "D": [1]}, {"B": [1], "C": [1]}]
    assert tasks[0].takes("A") and not tasks[0].takes("B")
    assert [task.days for task in plan_days({}, 4)] == [{}]

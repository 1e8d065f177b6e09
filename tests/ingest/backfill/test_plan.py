"""Files that share a symbol stay together, and each symbol has one owner."""

from ingest.backfill.plan import Task, plan, plan_days
from ingest.recordings.survey import Survey


def of(path, *symbols):
    return Survey(path, frozenset(symbols))


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

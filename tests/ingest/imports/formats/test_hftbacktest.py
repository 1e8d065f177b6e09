"""Arrays as hftbacktest writes them; their type and flags are those of its source."""

import numpy as np
import pytest

from ingest.recordings.files import FileFormError
from tests.ingest.imports.formats.reading import read, told

EVENT = np.dtype(
    [
        ("ev", "u8"),
        ("exch_ts", "i8"),
        ("local_ts", "i8"),
        ("px", "f8"),
        ("qty", "f8"),
        ("order_id", "u8"),
        ("ival", "i8"),
        ("fval", "f8"),
    ],
    align=True,
)
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
BOTH = EXCH | LOCAL
DEPTH, TRADE, CLEAR, SNAPSHOT = 1, 2, 3, 4
T = 1_700_000_000_000_000_000


def array(rows, unit=1):
    return np.array([(ev, at // unit, (at + 1_500_000) // unit, px, qty, 0, 0, 0.0) for ev, at, px, qty in rows], EVENT)


def file(tmp_path, rows, unit=1, name="a.npz"):
    path = tmp_path / name
    if name.endswith(".npz"):
        np.savez_compressed(path, data=array(rows, unit))
    else:
        np.save(path, array(rows, unit))
    return path


ROWS = [
    (BOTH | DEPTH | BUY, T, 9.0, 1.0),  # before the snapshot
    (BOTH | CLEAR | BUY, T + 10_000, 98.0, 0.0),
    (BOTH | SNAPSHOT | BUY, T + 10_000, 100.0, 1.0),
    (BOTH | SNAPSHOT | BUY, T + 10_000, 98.0, 2.0),
    (BOTH | CLEAR | SELL, T + 10_000, 101.0, 0.0),
    (BOTH | SNAPSHOT | SELL, T + 10_000, 101.0, 3.0),
    (LOCAL | TRADE | SELL, T + 2_000_000, 100.0, 0.5),
    (EXCH | TRADE | SELL, T + 2_000_000, 100.0, 0.5),  # the same trade, as the exchange's side sees it
    (BOTH | TRADE, T + 2_500_000, 100.0, 0.25),
    # one message: its first row alone would cross the book
    (BOTH | DEPTH | BUY, T + 3_000_000, 101.0, 4.0),
    (BOTH | DEPTH | SELL, T + 3_000_000, 101.0, 0.0),
    (BOTH | DEPTH | SELL, T + 3_000_000, 102.0, 7.0),
    (BOTH | 103, T + 3_500_000, 1.0, 1.0),
]
AT = T // 1000
WANTED = [
    ("book", AT + 10, "BTCUSDT", [(100.0, 1.0), (98.0, 2.0)], [(101.0, 3.0)]),
    ("trade", AT + 2_000, "BTCUSDT", 100.0, 0.5, "sell"),
    ("trade", AT + 2_500, "BTCUSDT", 100.0, 0.25, None),
    ("book", AT + 3_000, "BTCUSDT", [(101.0, 4.0), (100.0, 1.0), (98.0, 2.0)], [(102.0, 7.0)]),
]


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_events_of_the_local_side_become_trades_and_books(tmp_path, name):
    path = file(tmp_path, ROWS, name=name)
    _, good, bad, context = read(path, symbol="BTCUSDT")
    assert told(good) == WANTED
    assert good[1].received == 1_700_000_000_004  # 3.5 ms after T, rounded up
    assert bad == []
    assert context.passed_over == {
        "change of a book before its snapshot": 1,
        "event of the exchange's side, or of none": 1,
        "another event, such as a best quote or a mark price": 1,
    }


def test_times_in_microseconds_are_told_by_their_size(tmp_path):
    assert told(read(file(tmp_path, ROWS, 1000), symbol="BTCUSDT")[1]) == WANTED


def test_a_file_without_a_given_symbol_is_refused_because_it_names_none(tmp_path):
    with pytest.raises(FileFormError, match="name it, such as --symbol BTCUSDT"):
        read(file(tmp_path, ROWS))


def test_a_cleared_book_is_unknown_until_the_next_snapshot(tmp_path):
    rows = [*ROWS[:6], (BOTH | CLEAR, T + 20_000, 0.0, 0.0), (BOTH | DEPTH | BUY, T + 30_000, 99.0, 1.0)]
    _, good, bad, context = read(file(tmp_path, rows), symbol="A")
    assert [row[0] for row in told(good)] == ["book", "gap"]
    assert bad == []
    assert context.passed_over["change of a book before its snapshot"] == 2


def test_impossible_events_are_refused_alone(tmp_path):
    rows = [
        (BOTH | TRADE | BUY | SELL, T, 1.0, 1.0),
        (BOTH | TRADE | BUY, T, np.nan, 1.0),
        (BOTH | TRADE | BUY, 5, 1.0, 1.0),
        (BOTH | 10 | BUY, T, 1.0, 1.0),  # an order
        (BOTH | TRADE | BUY, T, 2.0, 1.0),
    ]
    _, good, bad, _ = read(file(tmp_path, rows), symbol="A")
    assert told(good) == [("trade", AT, "A", 2.0, 1.0, "buy")]
    assert bad == ["wrong_type", "not_finite", "out_of_range", "wrong_type"]


def test_a_cut_array_gives_the_rows_before_the_cut(tmp_path):
    path = file(tmp_path, [ROWS[8]] * 5, name="a.npy")
    path.write_bytes(path.read_bytes()[:-100])  # one row and a half
    _, good, bad, _ = read(path, symbol="A")
    assert len(good) == 3
    assert bad == ["undecodable"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (np.zeros((3, 6)), "hftbacktest's migration2"),
        (np.zeros(3), "has not the fields ev, exch_ts, local_ts, px, qty"),
        (np.array([{}], dtype=object), "has not the fields"),
        (np.zeros(2, [("ev", "f8"), *((n, EVENT[n]) for n in EVENT.names[1:])]), "has not the fields"),
    ],
)
def test_another_array_is_refused_with_what_to_do(tmp_path, data, why):
    np.save(tmp_path / "a.npy", data, allow_pickle=True)
    with pytest.raises(FileFormError, match=why):
        read(tmp_path / "a.npy", symbol="A")

"""Pairs in the form of LOBSTER's samples; the values beside them were computed by hand, and by pandas in its own time zones."""

import gzip

import pandas as pd
import pytest

from ingest.recordings.files import FileFormError
from tests.ingest.imports.formats.reading import read, told

DAY = "AAPL_2012-06-21_34200000_57600000"
# 09:30 in New York on 21 June 2012 is 13:30 UTC
OPEN_US = 1_340_285_400_000_000
MESSAGES = """\
34200.004241176,1,16113575,18,5853300,1
34200.025551909,4,16120456,18,5859100,-1
34200.190226476,5,0,5,5857000,1
34200.2,7,0,0,-1,-1
34201,6,-1,1000,5858000,-1
"""
BOOKS = """\
5859400,200,5853300,18,5859800,200,5853000,150
5859800,200,5853300,18,9999999999,0,5853000,150
5859800,200,5853300,18,9999999999,0,5853000,150
5859800,200,5853300,18,9999999999,0,5853000,150
5859800,200,-9999999999,0,9999999999,0,-9999999999,0
"""


def pair(tmp_path, messages=MESSAGES, books=BOOKS, day=DAY):
    names = f"{day}_message_2.csv", f"{day}_orderbook_2.csv"
    for name, text in zip(names, (messages, books), strict=True):
        (tmp_path / name).write_text(text)
    return [tmp_path / name for name in names]


def test_the_aggressor_of_a_trade_is_opposite_to_the_resting_order_and_an_auction_has_none(tmp_path):
    name, good, bad, context = read(pair(tmp_path)[0])
    assert name == "LOBSTER trades (message)"
    assert told(good) == [
        ("trade", OPEN_US + 25_551, "AAPL", 585.91, 18.0, "buy"),
        ("trade", OPEN_US + 190_226, "AAPL", 585.7, 5.0, "sell"),
        ("trade", OPEN_US + 1_000_000, "AAPL", 585.8, 1000.0, None),
    ]
    assert bad == []
    assert context.passed_over == {
        "event of an order, which is in the books": 1,
        "notice of a trading halt": 1,
    }
    assert any("halted" in note for note in context.notes)


def test_a_book_has_the_time_of_the_event_of_its_row_and_no_level_that_does_not_exist(tmp_path):
    name, good, bad, context = read(pair(tmp_path)[1])
    assert name == "LOBSTER books (orderbook)"
    assert told(good) == [
        ("book", OPEN_US + 4_241, "AAPL", [(585.33, 18.0), (585.3, 150.0)], [(585.94, 200.0), (585.98, 200.0)]),
        ("book", OPEN_US + 25_551, "AAPL", [(585.33, 18.0), (585.3, 150.0)], [(585.98, 200.0)]),
        ("gap", OPEN_US + 1_000_000, "AAPL", "book"),  # no bid is left
    ]
    assert bad == []
    assert context.passed_over["row whose book is that of the row before"] == 2


@pytest.mark.parametrize(
    "day", ["2012-01-17", "2012-06-21", "2012-11-05"]
)  # winter, summer, and a day after the change
def test_midnight_is_that_of_new_york_in_summer_and_winter(tmp_path, day):
    at = pd.Timestamp(f"{day} 10:00:00.5", tz="America/New_York").value // 1000
    path, _ = pair(tmp_path, "36000.5,4,1,1,10000,1\n", "", f"X_{day}_34200000_57600000")
    assert told(read(path)[1]) == [("trade", at, "X", 1.0, 1.0, "sell")]


def test_a_trade_with_a_hidden_order_has_no_side_since_nasdaq_does_not_tell_it(tmp_path):
    text = "36000.5,5,0,1,10000,1\n36000.6,4,9,1,10000,1\n"
    for day, sides in (("2014-07-13", ["sell", "sell"]), ("2014-07-14", [None, "sell"])):
        path, _ = pair(tmp_path, text, "", f"X_{day}_34200000_57600000")
        assert [one.side for one in read(path)[1]] == sides


def test_a_pair_of_unequal_length_is_refused_because_its_rows_stand_for_each_other(tmp_path):
    _, path = pair(tmp_path, books=BOOKS.rsplit("\n", 2)[0] + "\n")
    with pytest.raises(FileFormError, match=r"it has 4 rows and .* 5, so one of them is cut"):
        read(path)


def test_a_book_without_its_messages_is_refused(tmp_path):
    messages, path = pair(tmp_path)
    messages.unlink()
    with pytest.raises(FileFormError, match=r"its times are in AAPL.*_message_2\.csv, which must lie beside it"):
        read(path)


def test_events_in_a_file_of_another_name_are_refused_because_nothing_tells_the_day(tmp_path):
    path = tmp_path / "messages.csv"
    path.write_text(MESSAGES)
    with pytest.raises(FileFormError, match="name both files as LOBSTER does"):
        read(path)


def test_a_day_that_does_not_exist_is_refused(tmp_path):
    path, _ = pair(tmp_path, day="AAPL_2012-02-31_34200000_57600000")
    with pytest.raises(FileFormError, match="does not tell the symbol and the day"):
        read(path)


def test_a_damaged_row_is_refused_alone_and_its_book_is_unknown(tmp_path):
    messages = MESSAGES + "34202.5,4,x,1,1,1\n99999.5,4,1,1,10000,1\n34203,4,1,1,10000,-1\n"
    books = BOOKS.replace("-9999999999,0,9999999999,0,-9999999999,0", "5853300,18,9999999999,0,5853000,150")
    books += "1,1,1,1\n1,1,1,1\n5859800,200,oops,18,9999999999,0,5853000,150\n"
    paths = pair(tmp_path, messages, books)
    _, good, bad, _ = read(paths[0])
    assert [one.size for one in good] == [18.0, 5.0, 1000.0, 1.0]
    assert bad == ["wrong_type", "out_of_range"]
    _, good, bad, _ = read(paths[1])
    assert bad == ["wrong_type", "out_of_range", "wrong_type"]
    assert told(good)[-1] == ("gap", OPEN_US + 3_000_000, "AAPL", "book")


def test_a_cut_pack_is_refused_with_what_to_do(tmp_path):
    for kind, text in (("message", MESSAGES), ("orderbook", BOOKS)):
        (tmp_path / f"{DAY}_{kind}_2.csv.gz").write_bytes(gzip.compress(text.encode() * 3000)[:-20])
    with pytest.raises(FileFormError, match=r"it is damaged .*; get it anew"):
        read(tmp_path / f"{DAY}_orderbook_2.csv.gz")

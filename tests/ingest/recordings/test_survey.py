"""What a quick pass over a file finds."""

import gzip

import pytest

from ingest.recordings.columns import GivenColumns
from ingest.recordings.survey import BLOCK, survey


def test_a_survey_finds_the_symbols_of_both_forms_and_of_any_spelling(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"symbol" : "A-1"}\n1700 {"data":{"s":"BTCUSDT"}}\n{"symbol": "\\u0042"}\n{"symbol": "\\x"}\n')
    assert survey(path).symbols == {"A-1", "BTCUSDT", "B"}


@pytest.mark.parametrize("shift", [0, 5, 9, 15])
def test_a_symbol_at_the_edge_of_a_block_is_found(tmp_path, shift):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * (BLOCK - shift) + b'"symbol": "EDGE"'))
    assert survey(path).symbols == {"EDGE"}


def test_a_survey_tells_where_posts_may_be(tmp_path):
    quiet, loud, table = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.csv"
    quiet.write_text('{"symbol": "A"}')
    loud.write_text('{"text": "x"}')
    table.write_text("text,time\n")
    assert [survey(p).posts for p in (quiet, loud, table)] == [False, True, True]


def test_a_damaged_gzip_file_is_surveyed_as_far_as_it_goes(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'"symbol": "A"' + bytes(range(256)) * 9000)[:5000])
    assert survey(path).symbols <= {"A"}


HEADER = b'17 {"e":"recording","venue":"binance-futures","prefix":"BINANCE-FUTURES:"}\n'
DIFF = b'18 {"stream":"x","data":{"e":"depthUpdate","s":"BTCUSDT","U":1,"u":2,"b":[],"a":[]}}\n'


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        (DIFF, {"BTCUSDT"}),
        (HEADER + DIFF, {"BINANCE-FUTURES:BTCUSDT"}),
        (DIFF + HEADER + DIFF, {"BTCUSDT", "BINANCE-FUTURES:BTCUSDT"}),
    ],
)
def test_symbols_have_the_prefix_of_the_header_lines_unless_the_user_gives_one(tmp_path, text, symbols):
    path = tmp_path / "a.jsonl"
    path.write_bytes(text)
    assert survey(path).symbols == symbols
    assert survey(path, GivenColumns(prefixes=(("a.*", "X:"),))).symbols == {"X:BTCUSDT"}
    assert survey(path, GivenColumns(prefixes=(("b.*", "X:"),))).symbols == symbols

"""Lines of files: their receive times, and several files merged by them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ingest.recordings import lines
from ingest.recordings.lines import merged, read_lines

NS = 1_723_161_253_937_085_768


def test_a_line_is_kept_whole_and_knows_where_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'%d {"x":1}\r\n\n{"timestamp": 5}\nrubbish' % NS)
    stamped, own, rubbish = read_lines(path)

    assert stamped[:5] == ("a.jsonl", 1, NS, b'%d {"x":1}' % NS, True)
    assert stamped.received_ms == 1_723_161_253_938, "rounded up: not known before it was received"
    assert own[:5] == ("a.jsonl", 3, 5_000_000, b'{"timestamp": 5}', False)
    assert rubbish[:5] == ("a.jsonl", 4, 5_000_000, b"rubbish", False), "it keeps its place behind the line before it"


@pytest.mark.parametrize(
    "text",
    [b"12345678901234567890 {}", b"9999999999999999999 {}", b"-5 {}", b"1_0 {}", b"0 {}", b'{"timestamp": 1e99}'],
)
def test_a_time_that_cannot_be_is_no_time(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(text)
    (line,) = read_lines(path)
    assert (line.received_ns, line.stamped) == (0, False)


@pytest.mark.parametrize(
    "stamp", [b"1723161253937085", b"1723161253937", b"1723161253.937085:", b"1723161253.937085768:"]
)
def test_the_size_of_a_receive_time_tells_its_unit(tmp_path: Path, stamp: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(stamp + b" {}\n")
    (line,) = read_lines(path)
    digits = int(stamp.replace(b".", b"").rstrip(b":"))
    assert (line.received_ns, line.stamped) == (digits * 10 ** (19 - len(str(digits))), True)
    assert line.data.partition(b" ")[2] == b"{}"


def test_lines_of_cryptofeed_about_connections_and_answers_are_raw_lines(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(
        b"wss://fstream.binance.com/stream?streams=btcusdt@trade <-> 1626992740.179554\n"
        b'https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=1000 -> 1626992741.5: {"lastUpdateId":1}\n'
        b'https://dapi.binance.com/dapi/v1/depth?symbol=X&limit=9 -> 1626992742.5: {"symbol":"Y","lastUpdateId":1}\n'
        b"https://nobody.knows/this"
    )
    assert [line.data for line in read_lines(path)] == [
        b'1626992740179554000 {"e":"connection"}',
        b'1626992741500000000 {"symbol":"BTCUSDT","lastUpdateId":1}',
        b'1626992742500000000 {"symbol":"Y","lastUpdateId":1}',
        b"https://nobody.knows/this",
    ]


def test_files_are_merged_by_receive_time_and_each_keeps_its_order(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b.gz"
    a.write_bytes(b"%d one\n%d three\n%d back\n" % (NS, NS + 2, NS - 9))
    b.write_bytes(gzip.compress(b'%d two\n{"timestamp":1,"received":1723161253938}\n' % (NS + 1)))
    texts = [line.data.rpartition(b" ")[2] for line in merged(map(read_lines, (a, b)))]
    assert texts == [b"one", b"two", b"three", b"back", b'{"timestamp":1,"received":1723161253938}']


def test_the_limit_counts_lines_of_each_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1\n2\n3\n")
    assert [line.data for line in merged(read_lines(path, 2) for _ in range(2))] == [b"1", b"2", b"1", b"2"]


def test_a_gzip_file_that_is_cut_off_gives_what_came_before_and_a_line_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    whole = gzip.compress(b"".join(b"%d line %d\n" % (NS + n, n * n) for n in range(5000)))
    path.write_bytes(whole[: len(whole) // 2])
    *good, last = read_lines(path)
    assert len(good) > 100
    assert all(line.stamped for line in good[:-1])
    assert last.data == b""


def test_a_line_without_end_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 10)
    path = tmp_path / "a"
    path.write_bytes(b"x" * 25 + b"\ny\n")
    assert [line.data for line in read_lines(path)] == [b"x" * 10, b"x" * 10, b"x" * 5, b"y"]

"""Packed files, and files that are no recordings."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from ingest.recordings.files import FileFormError
from ingest.recordings.recording import Recording, messages

NOON = 1_723_118_400_000
LINES = b"".join(b'{"timestamp":%d,"symbol":"A","price":1,"size":2}\n' % (NOON + n) for n in range(500))
TABLE = b"time,symbol,price,size\n" + b"".join(b"%d,A,1,2\n" % (NOON + n) for n in range(500))


def zipped(text: bytes, *names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, text)
    return out.getvalue()


def zstd(text: bytes) -> bytes:
    return pa.compress(text, codec="zstd", asbytes=True)  # type: ignore[no-any-return]


PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    (".gz", gzip.compress),
    (".bz2", bz2.compress),
    (".xz", lzma.compress),
    (".zst", zstd),
]


@pytest.mark.parametrize(("suffix", "pack"), PACKERS, ids=[suffix for suffix, _ in PACKERS])
@pytest.mark.parametrize(("name", "text"), [("a.jsonl", LINES), ("a.csv", TABLE)], ids=["lines", "table"])
def test_packed_files_are_read_as_they_are(
    tmp_path: Path, name: str, text: bytes, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(pack(text))
    assert [message.timestamp for _, message in messages([path])] == list(range(NOON, NOON + 500))


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", LINES), ("a.csv", TABLE)], ids=["lines", "table"])
def test_the_only_file_of_a_zip_archive_is_read_and_its_name_tells_a_table(
    tmp_path: Path, name: str, text: bytes
) -> None:
    path = tmp_path / "BTCUSDT-2026-01-01.zip"
    path.write_bytes(zipped(text, name))
    assert len(list(messages([path]))) == 500


def test_a_packed_table_that_is_cut_off_gives_the_rows_before_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    whole = gzip.compress(
        b"time,symbol,price,size\n" + b"".join(b"%d,A,1,%d\n" % (NOON, n * n + 1) for n in range(5000))
    )
    path.write_bytes(whole[: len(whole) // 2])
    assert len(list(messages([path]))) > 100


OTHERS = [
    ("a.pdf", b"%PDF-1.7 ...", "a PDF document"),
    ("a.h5", b"\x89HDF\r\n\x1a\n", "HDF5"),
    ("a.npz", zipped(b"x", "a.npy", "b.npy"), "2 files"),
    ("a.xlsx", zipped(b"x", "[Content_Types].xml", "xl/workbook.xml"), "Excel"),
    ("a.feather", b"ARROW1\0\0", "Arrow"),
    ("a.lz4", b"\x04\x22\x4d\x18", "lz4"),
]


@pytest.mark.parametrize(("name", "content", "what"), OTHERS, ids=[name for name, _, _ in OTHERS])
def test_a_file_that_holds_no_text_is_named_for_what_it_is(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormError, match=what):
        Recording([tmp_path / name])


TEXTS = [
    (b'[{"timestamp": 1, "symbol": "A"}]', "one JSON array"),
    (b'{\n  "a": 1\n}\n', "one JSON document over several lines"),
    (b'1617210134.12: {"stream":"x"}\n', "a capture of cryptofeed of a venue other than Binance"),
    (b"37,60000.1,0.5,True\n38,60000.2,0.5,False\n", "text in columns without a line of names"),
    (b"time,price,size\n1,2,3\n", "text in columns: give it the ending .csv"),
    (b"<html></html>", "a web page or XML"),
]


@pytest.mark.parametrize(("text", "what"), TEXTS, ids=[what[:20] for _, what in TEXTS])
def test_text_of_which_nothing_could_be_read_is_told_with_what_it_seems_to_be(
    tmp_path: Path, text: bytes, what: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text)
    recording = Recording([path])
    assert len(list(recording.market())) > 0
    (sentence,) = recording.unread()
    assert sentence.startswith(f"nothing of a.txt could be read: it seems to be {what}")
    assert sentence.count("; ") <= 2, "the first three reasons"


def test_a_note_that_is_no_recording_is_told_once_in_words(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("buy milk\n" * 10)
    recording = Recording([path])
    assert len(list(recording.market())) == 10
    (sentence,) = recording.unread()
    assert sentence.startswith("nothing of note.txt could be read (undecodable: not JSON: ")
    assert sentence.count("undecodable") == 1


def test_a_file_with_one_good_row_and_an_empty_one_are_no_unread_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"rubbish\n" + LINES)
    (tmp_path / "b.jsonl").write_bytes(b"")
    recording = Recording([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    list(recording.market())
    assert recording.unread() == []

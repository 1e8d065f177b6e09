"""Files by their first bytes: packed ones are unpacked as they are read, and what cannot be read is named.

Text may be packed by gzip, bzip2, xz, zstd, or as the only file of a zip archive. A file is a table if its name, without the ending of
the packing, ends in ``.csv``, or if it is a Parquet file.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, BinaryIO, cast

import pyarrow as pa

from feature_repo.stores.errors import UserError

_ZIP = b"PK\x03\x04"
_PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")
_PARQUET = b"PAR1"
_HEAD_BYTES = 4096
# the first bytes of files that hold no text, and what such a file is
_OTHER_FORMS = (
    (b"ARROW1", "an Arrow (Feather) file: write it as Parquet"),
    (b"\x89HDF", "an HDF5 file: write its table as Parquet"),
    (
        b"\x93NUMPY",
        "a NumPy array: bring events of hftbacktest onto the tape with `python -m ingest import`, and write others as Parquet",
    ),
    (b"SQLite format 3", "an SQLite database: write its table as CSV"),
    (b"Obj\x01", "an Avro file: write it as Parquet"),
    (b"ORC", "an ORC file: write it as Parquet"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook: save its sheet as CSV"),
    (b"\x80\x04", "a Python pickle: write it as Parquet"),
    (b"\x80\x05", "a Python pickle: write it as Parquet"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"\x04\x22\x4d\x18", "packed by lz4: unpack it"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"DBN", "a file of Databento: bring it onto the tape with `python -m ingest import`"),
    (b"P*M\x18", "a DBZ file, the old form of Databento: write it as DBN with Databento's program `dbn`"),
)
TABLE_WITH_NAMES = "text in columns: give it the ending .csv"
_A_ROW = "a row of each trade, or of each book, as CSV or Parquet, or our own JSON, one message a line"
# the first line of text that is none of our forms, and what such a file seems to be
_OTHER_TEXTS = (
    (
        re.compile(rb"\s*\"?<\w+>\"?[,;\t]"),
        "a table with names in angle brackets, as of MetaTrader or Finam: write names without them, and date and time as one column",
    ),
    (re.compile(rb"\s*<"), "a web page or XML"),
    (re.compile(rb"\s*\["), f"one JSON array: write {_A_ROW}"),
    (re.compile(rb"\s*\{\s*$"), f"one JSON document over several lines: write {_A_ROW}"),
    (re.compile(rb"\s*\{"), f"JSON of another form: write {_A_ROW}"),
    (re.compile(rb"\d+\.\d+: |wss?://\S+ <"), "a capture of cryptofeed of a venue other than Binance"),
    (
        re.compile(rb"[-+.\d]+[,;\t][-+.\d]+[,;\t]"),
        "text in columns without a line of names: add one, such as timestamp,symbol,price,size,side, and the ending .csv",
    ),
    (re.compile(rb"\w+[,;\t]\w+[,;\t]"), TABLE_WITH_NAMES),
)


_OF_ZEROS = (
    (re.compile(rb"\xff\xfe|\xfe\xff"), "text in UTF-16: save it as UTF-8"),
    (re.compile(rb"(?s).{257}ustar"), "a tar archive: unpack it"),
)


class FileFormError(UserError, ValueError):
    """A file has a form that is not read. The message says what it seems to be."""


def open_text(path: Path) -> BinaryIO:
    """Open a file, unpacked, or raise ``FileFormError`` if its first bytes show that it holds no text."""
    with path.open("rb") as raw:
        head = raw.read(16)
    for first, form in _OTHER_FORMS:
        if head.startswith(first):
            raise FileFormError(f"{path.name} is not read: it seems to be {form}")
    return open_bytes(path)


def open_bytes(path: Path) -> BinaryIO:
    """Open a file, unpacked, whatever it holds."""
    with path.open("rb") as raw:
        head = raw.read(16)
    for first, open_packed in _PACKINGS:
        if head.startswith(first):
            return open_packed(path)
    return path.open("rb")


def _open_gzip(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path))


def _open_bzip2(path: Path) -> BinaryIO:
    return cast("BinaryIO", bz2.open(path))


def _open_xz(path: Path) -> BinaryIO:
    return cast("BinaryIO", lzma.open(path))


def _open_zstd(path: Path) -> BinaryIO:
    return io.BufferedReader(cast("io.RawIOBase", pa.input_stream(str(path), compression="zstd")))


def _open_zip(path: Path) -> BinaryIO:
    with _archive(path) as archive:  # the member stays readable
        return cast("BinaryIO", archive.open(_member(path, archive)))


_PACKINGS = (
    (b"\x1f\x8b", _open_gzip),
    (b"BZh", _open_bzip2),
    (b"\xfd7zXZ", _open_xz),
    (b"\x28\xb5\x2f\xfd", _open_zstd),
    (_ZIP, _open_zip),
)


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise FileFormError(f"{path.name} is not read: it is a damaged or cut zip archive") from None


def _member(path: Path, archive: zipfile.ZipFile) -> str:
    names = [one.filename for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX")]
    if "[Content_Types].xml" in names:
        raise FileFormError(f"{path.name} is not read: it seems to be an Excel workbook: save its sheet as CSV")
    if len(names) != 1:
        raise FileFormError(f"{path.name} is a zip archive of {len(names)} files, and one is read: unpack it")
    return names[0]


def is_damage(error: Exception) -> bool:
    """Return whether an error tells that packed content is damaged or cut off, not that the file cannot be read at all."""
    if isinstance(error, OSError):  # as pyarrow and gzip report damage
        return error.errno is None
    return isinstance(error, (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile))


DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What reading damaged content may raise; `is_damage` tells damage from a disk that fails."""


def is_parquet(path: Path) -> bool:
    """Return whether a file is named as a Parquet file or begins as one."""
    if path.suffix == ".parquet":
        return True
    with path.open("rb") as raw:
        return raw.read(len(_PARQUET)) == _PARQUET


def is_table(path: Path) -> bool:
    """Return whether a file holds rows of named columns: Parquet, or CSV, packed or not."""
    return is_parquet(path) or _is_csv(path)


def _is_csv(path: Path) -> bool:
    name = path.name
    if name.endswith(".zip"):
        with path.open("rb") as raw:
            if raw.read(len(_ZIP)) == _ZIP:
                with _archive(path) as archive:
                    name = _member(path, archive)
    for suffix in _PACKED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name.endswith(".csv")


def seems_to_be(stream: IO[bytes]) -> str:
    """Return what the text at the start of ``stream`` seems to be if it is no recording; empty where it gives no hint."""
    try:
        line = stream.read(_HEAD_BYTES).lstrip(b"\xef\xbb\xbf").split(b"\n")[0].rstrip(b"\r")
    except DAMAGE:
        return ""
    if b"\0" in line:
        return next((form for pattern, form in _OF_ZEROS if pattern.match(line)), "no text")
    return next((form for pattern, form in _OTHER_TEXTS if pattern.match(line)), "")

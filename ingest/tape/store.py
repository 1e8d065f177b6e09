"""Objects beside the table of the tape, in a folder or on S3; each is written whole or not at all.

They are in folders of the table: what a backfill keeps (``_backfill``), and idle symbols (``_idle``). Readers of Delta Lake, and the
deletion of replaced files, pass over names that begin with ``_``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import pyarrow as pa
from pyarrow import fs

from ingest.settings import s3_address
from ingest.tape.table import storage

BACKFILL = "_backfill"
FORMAT = 1  # of a packed object; another one counts as not there
_CODEC = pa.Codec("zstd", compression_level=3)
_S3_TIMEOUTS = {"connect_timeout": 5, "request_timeout": 30}


class Store:
    """What is kept in a folder at a tape. Raise `StorageError` where the storage refuses or does not answer.

    Parameters
    ----------
    place : str
        Of the tape: a folder or ``s3://bucket/prefix``.
    folder : str
        Beside the table.
    """

    def __init__(self, place: str, folder: str = BACKFILL) -> None:
        self._place = place
        self._s3: Any = None
        self._root = f"{place}/{folder}"
        if place.startswith("s3://"):
            with storage(place):
                self._s3 = fs.S3FileSystem(**s3_address(), **_S3_TIMEOUTS)
            self._root = self._root.removeprefix("s3://")

    def exists(self) -> bool:
        """Return whether the tape is there, as far as it is a folder."""
        return self._s3 is not None or Path(self._place, "_delta_log").is_dir()

    def has(self, name: str) -> bool:
        """Return whether an object is there."""
        path = f"{self._root}/{name}"
        with storage(self._place):
            if self._s3 is None:
                return Path(path).is_file()
            return bool(self._s3.get_file_info(path).type == fs.FileType.File)

    def read(self, name: str) -> Any:
        """Return an object; None where it is not there, is damaged or has another format."""
        path = f"{self._root}/{name}"
        with storage(self._place):
            try:
                if self._s3 is None:
                    packed = Path(path).read_bytes()
                else:
                    with self._s3.open_input_stream(path) as stream:
                        packed = stream.read()
            except FileNotFoundError:
                return None
        return _unpack(packed)

    def write(self, name: str, value: Any) -> None:
        """Write an object of what MessagePack knows; one of the same name is replaced."""
        path, packed = f"{self._root}/{name}", _pack(value)
        with storage(self._place):
            if self._s3 is None:
                _write_file(Path(path), packed)
            else:
                with self._s3.open_output_stream(path) as stream:
                    stream.write(packed)

    def replace(self, folder: str, name: str, value: Any) -> None:
        """Write an object into a folder, then delete the others there: a call that is killed between the two leaves both."""
        self.write(f"{folder}/{name}", value)
        path = f"{self._root}/{folder}"
        with storage(self._place):
            if self._s3 is None:
                for other in Path(path).iterdir():
                    if other.name != name and not other.name.startswith("."):  # that another run may be writing
                        other.unlink(missing_ok=True)
                return
            for found in self._s3.get_file_info(fs.FileSelector(path)):
                if found.base_name != name and found.is_file:
                    with contextlib.suppress(FileNotFoundError):
                        self._s3.delete_file(found.path)

    def names(self) -> list[str]:
        """Return the names of all objects."""
        root = Path(self._root)
        with storage(self._place):
            if self._s3 is None:
                return [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and not p.name.startswith(".")]
            found = self._s3.get_file_info(fs.FileSelector(self._root, recursive=True, allow_not_found=True))
            return [info.path.removeprefix(f"{self._root}/") for info in found if info.is_file]

    def delete_object(self, name: str) -> None:
        """Delete an object, if it is there."""
        path = f"{self._root}/{name}"
        with storage(self._place), contextlib.suppress(FileNotFoundError):
            if self._s3 is None:
                Path(path).unlink()
            else:
                self._s3.delete_file(path)

    def delete(self, folder: str) -> None:
        """Delete a folder with its objects, if it is there."""
        path = f"{self._root}/{folder}"
        with storage(self._place), contextlib.suppress(FileNotFoundError):
            if self._s3 is None:
                shutil.rmtree(path)
            else:
                self._s3.delete_dir(path)


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _pack(value: Any) -> bytes:
    data = msgspec.msgpack.encode(value)
    packed = _CODEC.compress(data, asbytes=True)
    return msgspec.msgpack.encode([FORMAT, len(data), crc32(packed), packed])


def _unpack(data: bytes) -> Any:
    try:
        number, size, check, packed = msgspec.msgpack.decode(data)
        if number != FORMAT or crc32(packed) != check:
            return None
        return msgspec.msgpack.decode(_CODEC.decompress(packed, size, asbytes=True))
    except (msgspec.MsgspecError, TypeError, ValueError, OSError):
        return None

"""The refused rows and messages of a backfill or an import, kept in a file of JSON lines, as a replay keeps them as dead letters."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgspec

from ingest.messages.refusal import Refused
from ingest.recordings.lines import Rejected

_encode = msgspec.json.Encoder(enc_hook=str).encode


class RefusedFile:
    """A file with one JSON line a refusal; it is made at the first one.

    Parameters
    ----------
    path : Path or None
        An older file of this name is replaced. None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def keep_line(self, rejected: Rejected) -> None:
        """Keep a line or row of a file."""
        line, reason, detail = rejected
        text = line.data.decode(errors="backslashreplace")
        self._write({"reason": reason, "detail": detail, "file": line.source, "line": line.number, "data": text})

    def keep_message(self, message: Any, refused: Refused) -> None:
        """Keep a message that a symbol or the scoring refused."""
        self._write({"reason": refused.reason, "detail": refused.detail, "message": message})

    def keep_entry(self, line: bytes, refused: Refused) -> None:
        """Keep an entry of the tape, given as a line of an export of it."""
        self._write({"reason": refused.reason, "detail": refused.detail, "entry": msgspec.Raw(line)})

    def _write(self, record: dict[str, Any]) -> None:
        if self._path is None:
            return
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
        self._file.write(_encode(record) + b"\n")

    def __enter__(self) -> RefusedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

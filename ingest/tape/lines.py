"""Entries of logs as lines of JSON, and back, with the same bytes.

The first line says what the file is: ``{"tape": 1, "partitions": 4, ...}``. Each other line is one entry of a log::

    {"id":"1732000000000-0","partition":3,"kind":"book","data":{"timestamp":1732000000000,"symbol":"BTCUSDT",...}}

``data`` is the message where it was MessagePack as this project writes it, so that it can be read and gives the same bytes again. Other
messages are ``json``, the text as it was, or ``base64``. An entry of another form is in ``fields``, its names and values in turn.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import json, msgpack

from feature_repo.stores.errors import UserError
from ingest.messages.decode import MAPS
from ingest.recordings.files import FileFormError, open_text

FORM = 1
_BEGIN = b'{"tape":'


class Header(msgspec.Struct):
    """The first line of an export."""

    tape: int
    partitions: int
    since: str = ""
    before: str = ""


class Entry(msgspec.Struct, omit_defaults=True):
    """A line: an entry of the log of ``partition``."""

    id: str
    partition: int
    kind: str | None = None
    recorded: bool = False
    data: msgspec.Raw = msgspec.Raw(b"")
    json: str | None = None
    base64: bytes | None = None
    fields: list[bytes] | None = None


class LineError(UserError, ValueError):
    """A line of an export is damaged."""


def line_of(entry_id: bytes, partition: int, fields: Mapping[bytes, bytes]) -> bytes:
    """Return the line of an entry, without its end."""
    line = Entry(entry_id.decode(), partition)
    names = fields.keys() - {b"recorded"}
    if names == {b"kind", b"data"} and fields.get(b"recorded", b"1") == b"1":
        try:
            line.kind = fields[b"kind"].decode()
            line.recorded = b"recorded" in fields
            _set_data(line, fields[b"data"])
            return json.encode(line)
        except UnicodeDecodeError:
            line = Entry(line.id, partition)
    line.fields = [b64encode(word) for pair in fields.items() for word in pair]
    return json.encode(line)


def _set_data(line: Entry, data: bytes) -> None:
    if data[:1] in MAPS:
        try:
            text = json.encode(msgpack.decode(data))
            if msgpack.encode(json.decode(text)) == data:
                line.data = msgspec.Raw(text)
                return
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
            pass
        line.base64 = b64encode(data)
    else:
        try:
            line.json = data.decode()
        except UnicodeDecodeError:
            line.base64 = b64encode(data)


_decode = json.Decoder(Entry).decode


def entry_of(line: bytes) -> tuple[bytes, int, dict[bytes, bytes]]:
    """Return the id, the partition and the fields of a line's entry. Raise `LineError` if it is damaged."""
    try:
        told = _decode(line)
        if told.fields is not None:
            words = [b64decode(word) for word in told.fields]
            return told.id.encode(), told.partition, dict(zip(words[::2], words[1::2], strict=True))
        if told.json is not None:
            data = told.json.encode()
        elif told.base64 is not None:
            data = b64decode(told.base64)
        else:
            data = msgpack.encode(json.decode(told.data))
        fields = {b"kind": (told.kind or "").encode(), b"data": data}
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise LineError(f"a line of the export is damaged: {str(error)[:100]}: {line[:60]!r}") from None
    return told.id.encode(), told.partition, {**fields, b"recorded": b"1"} if told.recorded else fields


def header_of(path: Path) -> Header | None:
    """Return the header of a file that is an export of a tape; None for any other file."""
    try:
        with open_text(path) as stream:
            line: Any = stream.readline(1000)
    except (FileFormError, OSError, EOFError, ValueError):
        return None
    if not line.startswith(_BEGIN):
        return None
    try:
        header = json.decode(line, type=Header)
    except msgspec.MsgspecError as error:
        raise LineError(f"{path.name}: {error}") from None
    if header.tape != FORM:
        raise LineError(f"{path.name} was exported by another version of this program: form {header.tape}, not {FORM}")
    return header

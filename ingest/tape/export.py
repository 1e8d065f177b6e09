"""A period of the tape as a file of lines, which `replay` plays again."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from heapq import merge
from pathlib import Path

from msgspec import json

from ingest.streams.read import id_numbers
from ingest.tape.lines import FORM, Header, line_of
from ingest.tape.read import entries
from ingest.tape.table import Tape


def export(
    tape: Tape,
    partitions: int,
    path: Path,
    since: datetime,
    before: datetime,
    symbols: Sequence[str] = (),
) -> int:
    """Write the entries of all logs that arrived from ``since`` until ``before``, in the order of their ids; return how many there are.

    The file is complete or not there. It is packed where its name ends in ``.gz``. Of ``symbols`` only what names them is written, and what
    is for all symbols, such as a withdrawn post.
    """
    part = path.with_name(f".{path.name}.part")
    n = 0
    try:
        with gzip.open(part, "wb", 6) if path.suffix == ".gz" else part.open("wb") as out:
            header = Header(FORM, partitions, since.isoformat(), before.isoformat())
            out.write(json.encode(header) + b"\n")
            for _, p, entry_id, fields in _in_order(tape, partitions, since, before, symbols):
                out.write(line_of(entry_id, p, fields) + b"\n")
                n += 1
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return n


def _in_order(
    tape: Tape, partitions: int, since: datetime, before: datetime, symbols: Sequence[str]
) -> Iterator[tuple[tuple[int, int], int, bytes, dict[bytes, bytes]]]:
    wanted = [*symbols, "-"] if symbols else None

    def of(p: int) -> Iterator[tuple[tuple[int, int], int, bytes, dict[bytes, bytes]]]:
        since_ms, before_ms = (round(at.timestamp() * 1000) for at in (since, before))
        for entry_id, fields in entries(tape, p, since_ms=since_ms, before_ms=before_ms, symbols=wanted):
            yield id_numbers(entry_id), p, entry_id, fields

    return merge(*map(of, range(partitions)), key=lambda one: one[:2])

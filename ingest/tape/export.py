"""A period of the tape as a file of lines, which `replay` plays again."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from msgspec import json

from ingest.settings import Settings
from ingest.tape.lines import FORM, Header, line_of
from ingest.tape.period import in_order
from ingest.tape.table import Tape, of_tape


def export(
    tape: Tape,
    settings: Settings,
    path: Path,
    since: datetime,
    before: datetime,
    symbols: Sequence[str] = (),
    *,
    imported: bool = False,
) -> int:
    """Write the entries of all logs that arrived from ``since`` until ``before``, in the order of their ids; return how many there are.

    The file is complete or not there. It is packed where its name ends in ``.gz``. Of ``symbols`` only what names them is written, and what
    is for all symbols, such as a withdrawn post. With ``imported`` the messages of files are among them (``period.in_order``).
    """
    entries = in_order(tape, settings, since, before, symbols, imported=imported)
    part = path.with_name(f".{path.name}.part")
    n = 0
    try:
        with gzip.open(part, "wb", 6) if path.suffix == ".gz" else part.open("wb") as out:
            header = Header(FORM, of_tape(tape, settings).partitions, since.isoformat(), before.isoformat())
            out.write(json.encode(header) + b"\n")
            for entry_id, p, fields in entries:
                out.write(line_of(entry_id, p, fields) + b"\n")
                n += 1
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return n

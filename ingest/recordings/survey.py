"""What a file contains, found in one quick pass over its bytes before its lines are parsed: symbols, venue, posts, forms of trades."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ingest.recordings import market_tables
from ingest.recordings import posts as posts_of_table
from ingest.recordings.columns import COMMON, GivenColumns, given_prefix
from ingest.recordings.files import DAMAGE, is_damage, is_table, open_text, seems_to_be
from ingest.recordings.markets import Signs, note_lines, note_rows

BLOCK = 1 << 20
"""Bytes that a survey reads at a time."""
_OVERLAP = 512
"""Longer than a key and a symbol, so that none is cut at the edge of a block."""
_SYMBOL = re.compile(rb'"(?:s|symbol)"\s*:\s*"((?:[^"\\]|\\.){1,384})"')
_HEADER = re.compile(rb'\{"e":"recording"[^}]*"prefix":"([^"\\]{0,64})"\}')
_SAMPLE_ROWS = 1000  # of a table
_COUNTED = 4  # symbols that are counted in each block
_SNAPSHOT = b'"lastUpdateId"'
_SAMPLE_BYTES = 1 << 17
"""Bytes at the start and at the end of a capture whose lines are looked at for the signs of its markets."""
_FORMS = {"trade": (b'"trade"', b"@trade"), "aggTrade": (b"aggTrade",)}


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file contains.

    Attributes
    ----------
    symbols : frozenset of str
        The symbols of its books and trades, each with the file's prefix.
    posts, market : bool
        Whether it may hold posts, and books or trades.
    lines : int
        0 for a Parquet or CSV file, whose rows are not counted.
    is_table : bool
        Whether it is a Parquet or CSV file.
    prefix : str or None
        The prefix that the user gave for its symbols.
    snapshots : bool
        Whether it may hold snapshots that name no symbol.
    forms : frozenset of str
        Binance's forms of trades that it may hold: ``trade``, ``aggTrade``.
    signs : mapping
        What its first and last lines say of the market of each symbol.
    """

    path: Path
    symbols: frozenset[str]
    posts: bool = False
    lines: int = 0
    market: bool = True
    is_table: bool = False
    prefix: str | None = None
    snapshots: bool = False
    forms: frozenset[str] = frozenset()
    signs: Mapping[str, Signs] = field(default_factory=dict, compare=False)


def survey(path: Path, columns: GivenColumns = COMMON) -> Survey:
    """Read a file once without parsing it.

    Raise ``FileFormError`` if it is no text, Parquet or CSV, ``TableFileError`` if a Parquet or CSV file lacks a column.
    """
    prefix = given_prefix(columns, path)
    if is_table(path):
        if not market_tables.is_market(path):
            posts_of_table.check_columns(path, columns)
            return Survey(path, frozenset(), posts=True, market=False, is_table=True)
        named = frozenset((prefix or "") + name for name in market_tables.symbols(path, columns))
        signs_of_rows: dict[str, Signs] = {}
        sample = market_tables.read_lines(path, columns, _SAMPLE_ROWS)
        note_rows(signs_of_rows, (line.data for line in sample), prefix or "")
        return Survey(path, named, is_table=True, prefix=prefix, signs=signs_of_rows)
    found: set[bytes] = set()
    prefixes: set[str] = set()
    forms: set[str] = set()
    signs: dict[str, Signs] = {}
    posts = snapshots = False
    lines = 0
    tail = end = b""
    now = prefix or ""
    for block in _blocks(path):
        text = tail + block
        if _may_name_others(text, found):
            found.update(_SYMBOL.findall(text))
        posts = posts or b'"text"' in text or b"\\u" in text
        snapshots = snapshots or _SNAPSHOT in text
        forms.update(form for form, keys in _FORMS.items() if form not in forms and any(key in text for key in keys))
        headers = _HEADER.findall(text)
        prefixes.update(header.decode(errors="replace") for header in headers)
        if not lines and not (headers and _HEADER.search(text.partition(b"\n")[0])):
            prefixes.add("")  # what stands before the first header has no prefix
            now = note_lines(signs, text[:_SAMPLE_BYTES].split(b"\n"), now, is_given=prefix is not None)
        if headers and prefix is None:
            now = headers[-1].decode(errors="replace")
        lines += block.count(b"\n")
        tail, end = text[-_OVERLAP:], (end + block if len(block) < _SAMPLE_BYTES else block)[-_SAMPLE_BYTES:]
    if len(end) == _SAMPLE_BYTES:  # else the file is short, and all of it was looked at
        note_lines(signs, end.split(b"\n")[1:], now, is_given=True)
    used = prefixes if prefix is None else {prefix}
    names = frozenset(before + name for before in used for name in map(_decoded, found) if name)
    return Survey(path, names, posts, lines, prefix=prefix, snapshots=snapshots, forms=frozenset(forms), signs=signs)


def _may_name_others(text: bytes, found: set[bytes]) -> bool:
    """Return whether a block may name symbols beside those found before; counting is five times as fast as matching."""
    if not found or len(found) > _COUNTED or b'"symbol"' in text:
        return True
    return text.count(b'"s"') != sum(text.count(b'"s":"%s"' % name) for name in found)


def hint(path: Path) -> str:
    """Return what a file of which nothing could be read seems to be; empty where it gives no hint."""
    with open_text(path) as stream:
        return seems_to_be(stream)


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield the text of a file; of a damaged one what comes before the damage."""
    with open_text(path) as stream:
        try:
            while block := stream.read(BLOCK):
                yield block
        except DAMAGE as error:
            if not is_damage(error):
                raise  # the parser reports damage when it reads the file


def _decoded(name: bytes) -> str:
    """Return a symbol without its JSON escapes, or an empty text if they are wrong."""
    try:
        return str(json.loads(b'"' + name + b'"'))
    except ValueError:
        return ""

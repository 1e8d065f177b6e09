"""Which files belong together, and how their symbols are shared out among processes.

A symbol's messages must meet in one process, in order. So files that share a symbol are one group, and the symbols of a group are
shared out by a hash of their names: every process of a group reads all of its files and keeps its own symbols.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.recordings import market_tables
from ingest.recordings.columns import COMMON, GivenColumns
from ingest.recordings.posts import SUFFIXES

_BLOCK = 1 << 20
_OVERLAP = 256
"""Longer than a key and a symbol, so that none is cut at the edge of a block."""
_SYMBOL = re.compile(rb'"(?:s|symbol)"\s*:\s*"((?:[^"\\]|\\.){1,384})"')
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Scan:
    """What a file is made of: its symbols, and whether there may be posts in it. ``digest`` stands for its content.

    ``lines`` is how many it has; of a table it is not known without parsing, and 0. ``market`` says whether books or trades may be in it.
    """

    path: Path
    symbols: frozenset[str]
    posts: bool
    digest: bytes
    lines: int = 0
    market: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """The work of one process: the market of ``paths``, and of its symbols those whose hash modulo ``shares`` is ``share``.

    Of raw tables it is the symbols of ``days``, and each symbol's days.
    """

    paths: tuple[Path, ...]
    symbols: frozenset[str]
    share: int = 0
    shares: int = 1
    days: Mapping[str, Sequence[int]] | None = None
    columns: GivenColumns = COMMON

    def takes(self, symbol: str) -> bool:
        """Whether this task's share holds the symbol."""
        if self.days is not None:
            return symbol in self.days
        return self.shares == 1 or zlib.crc32(symbol.encode()) % self.shares == self.share


def scan(path: Path, columns: GivenColumns = COMMON) -> Scan:
    """Read a file once without parsing it.

    Raises
    ------
    OSError
        It cannot be read.
    ingest.recordings.posts.PostsFileError
        It is no table, or lacks a column.
    """
    with path.open("rb") as raw:
        digest = hashlib.file_digest(raw, "blake2b").digest()
        if path.suffix in SUFFIXES:
            if market_tables.is_market(path):
                return Scan(path, market_tables.symbols(path, columns), False, digest)
            return Scan(path, frozenset(), True, digest, market=False)
        raw.seek(0)
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        found: set[bytes] = set()
        posts = False
        lines = 0
        tail = b""
        while True:
            try:
                block = stream.read(_BLOCK)
            except (EOFError, gzip.BadGzipFile, zlib.error):
                break  # whoever parses it will say so
            if not block:
                break
            text = tail + block
            found.update(_SYMBOL.findall(text))
            posts = posts or b'"text"' in text or b"\\u" in text
            lines += block.count(b"\n")
            tail = text[-_OVERLAP:]
    return Scan(path, frozenset(filter(None, map(_decoded, found))), posts, digest, lines)


def _decoded(name: bytes) -> str:
    """A symbol as JSON means it; a damaged one is nobody's."""
    try:
        return str(json.loads(b'"' + name + b'"'))
    except ValueError:
        return ""


def plan(scans: Sequence[Scan], jobs: int, columns: GivenColumns = COMMON) -> list[Task]:
    """Tasks for ``jobs`` processes. A file of texts in which no symbol is named (snapshots, say) belongs to every group: it joins them."""
    groups: list[tuple[list[Path], set[str]]] = []
    texts = [one for one in scans if one.market]
    alone = all(one.symbols for one in texts)
    for one in texts:
        joined = [g for g in groups if not alone or g[1] & one.symbols]
        merged = ([p for g in joined for p in g[0]] + [one.path], set(one.symbols).union(*(g[1] for g in joined)))
        groups = [g for g in groups if g not in joined] + [merged]
    order = {one.path: i for i, one in enumerate(texts)}
    tasks = []
    for paths, symbols in groups:
        shares = max(1, min(jobs // len(groups), len(symbols)))
        kept = tuple(sorted(paths, key=order.__getitem__))
        tasks += [Task(kept, frozenset(symbols), share, shares, columns=columns) for share in range(shares)]
    return tasks or [Task((), frozenset())]


def plan_days(days: Mapping[str, Mapping[int, int]], jobs: int) -> list[Task]:
    """Tasks for ``jobs`` processes of the symbols, days and rows of raw tables: the fullest symbol goes where the least is."""
    loads: list[tuple[int, dict[str, Sequence[int]]]] = [(0, {}) for _ in range(max(1, min(jobs, len(days))))]
    for symbol, of_symbol in sorted(days.items(), key=lambda item: (-sum(item[1].values()), item[0])):
        least = min(range(len(loads)), key=lambda i: loads[i][0])
        rows, taken = loads[least]
        taken[symbol] = sorted(of_symbol)
        loads[least] = (rows + sum(of_symbol.values()), taken)
    return [Task((), frozenset(taken), days=taken) for _, taken in loads]

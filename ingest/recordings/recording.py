"""Recordings as messages. No server is needed.

Posts and the market are read in two passes, because a replay publishes the posts first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path

from ingest.messages.kinds import Message, SocialPost
from ingest.recordings import market_tables, own, posts
from ingest.recordings.binance import Binance
from ingest.recordings.columns import COMMON, GivenColumns
from ingest.recordings.lines import POST, Output, Parsed, Rejected, merge_files, read_lines
from ingest.recordings.rows import SUFFIXES

# how far a recorded message may be stamped ahead of its receive time, because the clocks of recorders are seconds slow
MAX_FUTURE_MS = 5000


@dataclass(slots=True)
class Recording:
    """Files that are replayed together.

    Attributes
    ----------
    paths : sequence of Path
        Raw captures and JSON lines (each line tells which it is), or posts, trades or books in columns (``.parquet``, ``.csv``).
    limit : int or None
        Lines (or rows) to read of each file; None reads all.
    columns : GivenColumns
    max_future_ms : int
    lines : int
        Lines read so far.
    ignored : int
        Valid lines that gave no message.

    Raises
    ------
    OSError
        A path cannot be opened.
    """

    paths: Sequence[Path]
    limit: int | None = None  # lines (or rows) to read of each file; None reads all
    columns: GivenColumns = COMMON
    max_future_ms: int = MAX_FUTURE_MS
    lines: int = 0  # read so far
    ignored: int = 0  # valid lines that gave no message
    _texts: list[Path] = field(init=False)
    _market: list[Path] = field(init=False)
    _tables: list[Path] = field(init=False)

    def __post_init__(self) -> None:
        for path in self.paths:
            path.open("rb").close()  # fail now for a missing file, not between two messages
        self._texts = [path for path in self.paths if path.suffix not in SUFFIXES]
        self._market = [path for path in self.paths if market_tables.is_market(path)]
        self._tables = [path for path in self.paths if path not in self._texts and path not in self._market]

    def posts(self) -> Iterator[Output]:
        """Yield the posts of all files, and the refused rows of tables. Refused lines come with ``market``."""
        for path in self._tables:
            for row in posts.read_posts(path, self.max_future_ms, self.columns, self.limit):
                self.lines += 1
                yield row
        for path in self._texts:
            for line in read_lines(path, self.limit):
                if line.data[:1] != b"{":
                    continue
                parsed = own.parse(line, self.max_future_ms)
                if isinstance(parsed, Parsed) and parsed.kind == POST:
                    self.lines += 1
                    yield parsed

    def market(self) -> Iterator[Output]:
        """Yield books, trades and gaps of all files by receive time, and refused lines."""
        binance = Binance(self.max_future_ms)
        columns = [market_tables.read_lines(path, self.columns, self.limit) for path in self._market]
        lines = merge_files(self._texts, self.limit)
        for line in merge(lines, *columns, key=lambda line: line.received_ns) if columns else lines:
            if line.stamped:
                self.lines += 1
                before = binance.ignored
                yield from binance.parse(line)
                self.ignored += binance.ignored - before
                continue
            parsed = own.parse(line, self.max_future_ms)
            if isinstance(parsed, Rejected) or parsed.kind != POST:
                self.lines += 1
                yield parsed
        yield from binance.finish()


def messages(
    paths: Sequence[Path], *, max_future_ms: int = MAX_FUTURE_MS
) -> Iterator[tuple[str, Message | SocialPost]]:
    """Yield all messages of recordings: posts first (kind ``social``), then books, trades and gaps by receive time.

    Refused lines are left out; ``Recording`` gives them.
    """
    recording = Recording(paths, max_future_ms=max_future_ms)
    for stage in (recording.posts(), recording.market()):
        for output in stage:
            if isinstance(output, Parsed):
                yield output.kind, output.message

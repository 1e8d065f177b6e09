"""Recordings as messages: which parser takes which line, without any server.

Posts and the market are read in two passes, because a replay publishes posts first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path

from ingest.messages.kinds import Message, SocialPost
from ingest.messages.refusal import Refused
from ingest.recordings import market_tables, own, posts
from ingest.recordings.binance import Binance
from ingest.recordings.columns import COMMON, GivenColumns
from ingest.recordings.lines import Output, Parsed, Rejected, merge_files, read_lines

MAX_FUTURE_MS = 5000
"""How far a recorded message may be stamped ahead of its receive time; recorders' clocks run behind by seconds."""


@dataclass(slots=True)
class Recording:
    """Files that are replayed together.

    Attributes
    ----------
    paths:
        Raw captures and JSON lines (told line by line), or posts, trades or books in columns (``.parquet``, ``.csv``).
    limit:
        Lines (or rows) read of each file; None reads all.
    lines, ignored:
        Lines read so far, and those of them that were sound and gave no message.

    Raises
    ------
    OSError
        A path cannot be opened.
    """

    paths: Sequence[Path]
    limit: int | None = None
    columns: GivenColumns = COMMON
    max_future_ms: int = MAX_FUTURE_MS
    lines: int = 0
    ignored: int = 0
    _texts: list[Path] = field(init=False)
    _market: list[Path] = field(init=False)
    _tables: list[Path] = field(init=False)

    def __post_init__(self) -> None:
        for path in self.paths:
            path.open("rb").close()  # a path that is none is better found now than between two messages
        self._texts = [path for path in self.paths if path.suffix not in posts.SUFFIXES]
        self._market = [path for path in self.paths if market_tables.is_market(path)]
        self._tables = [path for path in self.paths if path not in self._texts and path not in self._market]

    def posts(self) -> Iterator[Output]:
        """The posts of all files. Refused rows of tables come here, refused lines with ``market``."""
        for path in self._tables:
            for row in posts.read_posts(path, self.max_future_ms, self.columns, self.limit):
                self.lines += 1
                yield row
        for path in self._texts:
            for line in read_lines(path, self.limit):
                if line.data[:1] != b"{":
                    continue
                try:
                    parsed = own.parse(line, self.max_future_ms)
                except Refused:
                    continue
                if parsed.kind == "social":
                    self.lines += 1
                    yield parsed

    def market(self) -> Iterator[Output]:
        """Books, trades and gaps of all files by receive time, and whatever is refused."""
        feed = Binance(self.max_future_ms)
        columns = [market_tables.read_lines(path, self.columns, self.limit) for path in self._market]
        lines = merge_files(self._texts, self.limit)
        for line in merge(lines, *columns, key=lambda line: line.received_ns) if columns else lines:
            if line.stamped:
                self.lines += 1
                before = feed.ignored
                yield from feed.parse(line)
                self.ignored += feed.ignored - before
                continue
            try:
                parsed = own.parse(line, self.max_future_ms)
            except Refused as refused:
                self.lines += 1
                yield Rejected(line, refused.reason, refused.detail)
                continue
            if parsed.kind != "social":
                self.lines += 1
                yield parsed
        yield from feed.finish()


def messages(
    paths: Sequence[Path], *, max_future_ms: int = MAX_FUTURE_MS
) -> Iterator[tuple[str, Message | SocialPost]]:
    """All messages of recordings, posts first (kind ``social``), then books, trades and gaps by receive time.

    What is refused is left out; ``Recording`` tells it.
    """
    recording = Recording(paths, max_future_ms=max_future_ms)
    for stage in (recording.posts(), recording.market()):
        for output in stage:
            if isinstance(output, Parsed):
                yield output.kind, output.message

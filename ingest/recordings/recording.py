"""Recordings as messages. No server is needed.

Posts and the market are read in two passes, because a replay publishes the posts first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ingest.messages.kinds import Message, SocialPost
from ingest.messages.refusal import Reason, Refused
from ingest.recordings import market_tables, own, posts
from ingest.recordings.binance import Binance
from ingest.recordings.columns import COMMON, GivenColumns, check_prefixes
from ingest.recordings.files import FileFormError
from ingest.recordings.lines import POST, Line, Output, Parsed, Rejected, SourceFile, merged, read_lines
from ingest.recordings.lookahead import Lookahead, look_ahead, symbols_of_snapshots
from ingest.recordings.markets import check_markets
from ingest.recordings.survey import Survey, hint, survey
from ingest.recordings.venue_clock import Pace
from transforms.instrument import Instrument
from transforms.instrument import known as known_by_name

# how far a recorded message may be stamped ahead of its receive time, because the clocks of recorders are seconds slow
MAX_FUTURE_MS = 5000


LIVE_ONLY = frozenset({"clock", "hold"})
"""Kinds that say when rows are due, which a recording shows by its next messages."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is found out about files before their lines are parsed."""

    surveys: Mapping[Path, Survey]
    ahead: Lookahead


def find_out(paths: Sequence[Path], columns: GivenColumns = COMMON) -> Known:
    """Look at files before they are read.

    Raise ``OSError`` if a file cannot be opened, ``FileFormError`` or ``TableFileError`` if its form is not read, ``PrefixError`` if a
    prefix is for none of them, ``TwoMarketsError`` if two of them have one symbol and are of two markets.
    """
    check_prefixes(columns, paths)
    for path in paths:
        if path.is_dir():
            raise FileFormError(f"{path} is a folder: name the files in it, such as {path}/*")
        path.open("rb").close()  # fail now for a missing file, not after minutes of reading the others
    surveys = [survey(path, columns) for path in paths]
    check_markets(surveys)
    return Known({one.path: one for one in surveys}, look_ahead(surveys))


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
    known : Known or None
        What was found out about the files before; None finds it out.
    instrument : callable
        Returns what is known of a symbol: its contract tells the depths of a capture's books.
    pace : Pace or None
        When rows are due: what a live feed refuses as late behind the clock of its connection is then refused here too.
    lines : int
        Lines read so far.
    passed_over : Counter of str
        Valid lines that gave no message, by what they are.

    Raises
    ------
    OSError, UserError
        As ``find_out``.
    """

    paths: Sequence[Path]
    limit: int | None = None
    columns: GivenColumns = COMMON
    max_future_ms: int = MAX_FUTURE_MS
    known: Known | None = None
    instrument: Callable[[str], Instrument] = known_by_name
    pace: Pace | None = None
    lines: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)
    _files: dict[Path, SourceFile] = field(init=False)

    def __post_init__(self) -> None:
        if self.known is None:
            self.known = find_out(self.paths, self.columns)
        self._files = {one.path: self._file(one) for one in self.surveys}

    @property
    def ignored(self) -> int:
        """Valid lines that gave no message."""
        return self.passed_over.total()

    @property
    def surveys(self) -> list[Survey]:
        assert self.known is not None  # noqa: S101 - __post_init__ sets it
        return [self.known.surveys[path] for path in self.paths]

    def _file(self, one: Survey) -> SourceFile:
        assert self.known is not None  # noqa: S101 - __post_init__ sets it
        possible = symbols_of_snapshots(one, list(self.known.surveys.values()))
        owners = self.known.ahead.owners.get(one.path, {})
        return SourceFile(one.path.name, one.prefix or "", one.prefix is not None, possible, owners)

    def posts(self) -> Iterator[Output]:
        """Yield the posts of all files, and the refused rows of tables. Refused lines come with ``market``."""
        for one in self.surveys:
            file = self._files[one.path]
            if one.is_table and not one.market:
                for row in posts.read_posts(one.path, self.max_future_ms, self.columns, self.limit):
                    self.lines += 1
                    yield self._noted(row, file)
        for one in self.surveys:
            if one.is_table or not one.posts:
                continue
            file = self._files[one.path]
            for line in read_lines(one.path, self.limit):
                if line.data[:1] != b"{":
                    continue
                parsed = own.parse(line, self.max_future_ms)
                if isinstance(parsed, Parsed) and parsed.kind == POST:
                    self.lines += 1
                    yield self._noted(parsed, file)

    def market(self) -> Iterator[Output]:
        """Yield books, trades and gaps of all files by receive time, and refused lines."""
        assert self.known is not None  # noqa: S101 - __post_init__ sets it
        binance = Binance(
            self.max_future_ms,
            self.known.ahead.trades,
            self.instrument,
            self.passed_over,
            self.pace,
            self._shared_symbols(),
        )
        for line in merged([self._lines(one) for one in self.surveys if one.market]):
            file = line.file
            assert file is not None  # noqa: S101 - lines of files have one
            if line.stamped:
                self.lines += 1
                file.rows += not file.is_read
                for output in binance.parse(line):
                    if isinstance(output, Rejected) or output.kind not in LIVE_ONLY:
                        yield output if file.is_read else self._noted(output, file)
                continue
            parsed = own.parse(line, self.max_future_ms)
            if isinstance(parsed, Rejected) or parsed.kind != POST:
                self.lines += 1
                if isinstance(parsed, Parsed) and file.prefix:
                    parsed.message.symbol = file.prefix + parsed.message.symbol  # type: ignore[union-attr]  # no post
                yield parsed if file.is_read else self._checked(parsed, line, file)
        for output in binance.finish():
            yield self._noted(output, output.line.file) if isinstance(output, Rejected) else output

    def _shared_symbols(self) -> frozenset[str]:
        """Return the symbols that several captures have."""
        found = Counter(name for one in self.surveys if one.market and not one.is_table for name in one.symbols)
        return frozenset(name for name, n in found.items() if n > 1)

    def unread(self) -> list[str]:
        """Return, for each file that has rows of which none could be read, a sentence that says why. Call it at the end."""
        told = []
        for one in self.surveys:
            file = self._files[one.path]
            if file.rows and not file.is_read:
                seems = "" if one.is_table else hint(one.path)
                why = "; ".join(file.reasons) or "all lines are of kinds that give no message"
                told.append(
                    f"nothing of {file.name} could be read"
                    + (f": it seems to be {seems}" if seems else "")
                    + f" ({why})"
                )
        return told

    def _lines(self, one: Survey) -> Iterator[Line]:
        file = self._files[one.path]
        if one.is_table:
            return market_tables.read_lines(one.path, self.columns, self.limit, file)
        return read_lines(one.path, self.limit, file)

    def _checked(self, parsed: Output, line: Line, file: SourceFile) -> Output:
        """Check prices and sizes too, as long as nothing of the file was read: a file that holds none is told at the end."""
        file.rows += 1
        if isinstance(parsed, Parsed):
            try:
                own.check_numbers(parsed.message)
            except Refused as refused:
                parsed = Rejected(line, refused.reason, refused.detail)
        return self._noted(parsed, file)

    def _noted(self, output: Output, file: SourceFile | None) -> Output:
        """Remember in the file whether a row was read, or why it was refused."""
        if file is not None and not file.is_read:
            file.rows = file.rows or 1
            if isinstance(output, Parsed) or output.reason == Reason.DUPLICATE:
                file.is_read = True
            else:
                file.note_refused(output.reason, output.detail)
        return output


def messages(
    paths: Sequence[Path], *, columns: GivenColumns = COMMON, max_future_ms: int = MAX_FUTURE_MS
) -> Iterator[tuple[str, Message | SocialPost]]:
    """Yield all messages of recordings: posts first (kind ``social``), then books, trades and gaps by receive time.

    Refused lines are left out; ``Recording`` gives them.
    """
    recording = Recording(paths, columns=columns, max_future_ms=max_future_ms)
    for stage in (recording.posts(), recording.market()):
        for output in stage:
            if isinstance(output, Parsed):
                yield output.kind, output.message

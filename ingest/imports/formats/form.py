"""What a format is, and what it gets to know of a file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ingest.messages.check import check_header
from ingest.messages.kinds import Message, time_us
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.columns import COMMON, GivenColumns
from ingest.recordings.files import FileFormError
from ingest.recordings.lines import Line, Output, Parsed, Rejected
from ingest.recordings.rows import time_us as time_of_cell
from transforms.instrument import Instrument, known

MAX_FUTURE_MS = 5000  # a file's event time may lie so far ahead of its receive time, as clocks of recorders are slow
_BITMEX_TIME = re.compile(r"(\d{4}-\d\d-\d\d)D(\d\d:)")
UNNAMED = "unnamed"  # the market of a file that names none
SHOWN = 200  # bytes of a refused row that are kept


@dataclass(frozen=True, slots=True)
class Head:
    """The begin of a file: ``rows`` are its first rows, the names of the columns first where the file has names.

    ``lines`` is the begin of its text; of a Parquet file it is empty. ``first`` is the begin of a file of records. ``symbol`` is the one
    that the user gives.
    """

    path: Path
    rows: Sequence[Sequence[Any]]
    lines: Sequence[str] = ()
    first: bytes = b""
    symbol: str = ""

    @property
    def columns(self) -> list[str]:
        """The first row as names: lower case, without blanks and without the translation that OKX writes behind a slash."""
        return column_names(self.rows[0]) if self.rows else []


@dataclass(slots=True)
class Context:
    """What the user says of a file, and what its reader tells.

    Attributes
    ----------
    symbol : str
        The symbol of a file that names none; empty where the user gives none.
    prefix : str
        Put before each symbol.
    venue : str
        The venue that the user names; lower case.
    passed_over : Counter of str
        Rows that are valid and give no message, by what they are.
    notes : dict of str
        Sentences about the file that the user must know, each once.
    instrument : callable
        Returns what is known of a symbol: its contract tells the depths of its books.
    columns : GivenColumns
        What the user says of the columns of a file.
    others : sequence of Path
        Files that are read together with the first one, by a format that ``reads_together``.
    """

    symbol: str = ""
    prefix: str = ""
    venue: str = ""
    columns: GivenColumns = COMMON
    others: Sequence[Path] = ()
    passed_over: Counter[str] = field(default_factory=Counter)
    notes: dict[str, None] = field(default_factory=dict)
    instrument: Callable[[str], Instrument] = known

    def note(self, sentence: str) -> None:
        """Tell the user something about the file."""
        self.notes.setdefault(sentence)


class Arrived(NamedTuple):
    """A message of a file that says when it arrived in a log, in milliseconds."""

    kind: str
    message: Message
    arrived_ms: int


class Market(NamedTuple):
    """A market: its name, and the prefix that its symbols have where the user gives none, which is that of the live feed."""

    name: str = UNNAMED
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """A form of file: data, two functions, and what the writer of its rows must know.

    Rows are put on the tape in the order of the times at which they were received, or of their event times where the file does not say
    that. So a reader yields them as they stand in the file, whatever their order is.

    Attributes
    ----------
    name, lacks : str
        Its name, and a sentence of what it cannot give.
    recognise : callable
        Returns whether a file is of this format, by its begin.
    read : callable
        Yields messages and refusals of a file.
    why_not : str
        Why it is recognised and not read, and what to do; empty for a format that is read.
    market : callable
        Returns the market of a file; `UNNAMED` where nothing tells it.
    form : str
        What one trade is, where a venue publishes the same trades in two forms: of one symbol and day only one form counts.
    keeps_order : bool
        Whether messages are written in the order in which they are yielded, whatever their times say.
    needs_order : bool
        Whether the rows must be in the order of time, because each changes what those before it made.
    reads_together : bool
        Whether all files of this format that are named at once are read as one recording.
    name_has_day : bool
        Whether the day of a file stands in its name alone, so that the same rows under another name are another day.
    beside : callable
        Returns the files that are read with a file though the user does not name them.
    """

    name: str
    lacks: str
    recognise: Callable[[Head], bool]
    read: Callable[[Path, Context], Iterator[Output | Arrived]]
    why_not: str = ""
    market: Callable[[Head], Market] = lambda head: Market()
    form: str = ""
    keeps_order: bool = False
    needs_order: bool = False
    reads_together: bool = False
    name_has_day: bool = False
    beside: Callable[[Path], Sequence[Path]] = lambda path: ()


def refusing(name: str, why: str, recognise: Callable[[Head], bool]) -> Format:
    """Return a format that is recognised and not read; ``why`` says what to do."""

    def read(path: Path, context: Context) -> Iterator[Output]:
        raise FileFormError(f"{path.name} is not read: it holds {why}")
        yield  # makes this a generator, as every reader is

    return Format(name, why, recognise, read, why)


def column_names(row: Sequence[Any]) -> list[str]:
    """Return the names of columns as formats know them.

    >>> column_names([" Trade_ID/x ", "side"])
    ['trade_id', 'side']
    """
    return [str(name).partition("/")[0].strip().lower() for name in row]


def checked(kind: str, message: Message, received_ms: int | None = None) -> Parsed:
    """Return a message whose symbol and time are possible; raise ``Refused`` for another."""
    at_us = time_us(message)
    check_header(message.symbol, at_us, -(-at_us // 1000) if received_ms is None else received_ms, MAX_FUTURE_MS)
    return Parsed(kind, message)


def rejected(path: Path, number: int, row: Any, refused: Refused) -> Rejected:
    """Return a row that is refused, with the begin of its text."""
    text = row if isinstance(row, str) else ",".join(map(str, row)) if isinstance(row, list) else str(row)
    data = text[:SHOWN].encode(errors="backslashreplace")
    return Rejected(Line(path.name, number, 0, data, False), refused.reason, refused.detail)


def number(name: str, value: Any) -> float:
    """Return a number that is written as such or as decimal text. Raise ``Refused`` for anything else.

    >>> number("price", "1.5e-3"), number("price", 2)
    (0.0015, 2.0)
    """
    if value is None or value == "":
        raise Refused(Reason.MISSING_FIELD, name)
    try:
        if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        raise Refused(Reason.WRONG_TYPE, f"{name} {value!s:.40} is no number") from None
    except OverflowError:
        raise Refused(Reason.OUT_OF_RANGE, f"{name} {value!s:.40}") from None


def event_us(name: str, value: Any) -> int:
    """Return an event time in microseconds; BitMEX writes a D between date and time."""
    if isinstance(value, str):
        value = _BITMEX_TIME.sub(r"\1T\2", value.strip())
    us = time_of_cell(name, value)
    if us is None:
        raise Refused(Reason.MISSING_FIELD, name)
    return us

"""What `feed`, `replay` and `simulate` show: a line that changes on a terminal, and the counts at the end."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import Console

from ingest.cli import ExitCode
from ingest.publish.counts import Counts
from transforms.times import datetime_of_ms


@contextlib.contextmanager
def live(what: str, *, quiet: bool) -> Iterator[Callable[[Counts], None] | None]:
    """Yield a function that shows counts on the terminal of standard error as they grow; None where there is no terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    with console.status(what) as status:

        def show(counts: Counts) -> None:
            now = f", at {utc(counts.last_ms)}" if counts.last_ms else ""
            status.update(f"{what}: {counts.published.total():,} messages{now}")

        yield show


def finish(counts: Counts, *, as_json: bool) -> None:
    """Print the counts."""
    sys.stdout.write((json.dumps(counts.as_json()) if as_json else _text(counts)) + "\n")


def _text(counts: Counts) -> str:
    rows = {
        "symbols": ", ".join(counts.symbols) or "none",
        "event time": f"{utc(counts.first_ms)} to {utc(counts.last_ms)}" if counts.last_ms else "none",
        "published": listed(counts.published),
        "refused": listed(counts.refused),
    }
    if counts.lines:
        rows["lines"] = lines_text(counts.lines, counts.passed_over, counts.ignored)
    return text_rows(rows)


def lines_text(lines: int, passed_over: Mapping[str, int], ignored: int = 0) -> str:
    """Return how many lines were read and which of them gave no message, as text.

    >>> lines_text(9, {"quote": 2, "aggTrade": 1})
    '9 read, 3 of them without a message (1 aggTrade, 2 quote)'
    """
    of_each = f" ({listed(passed_over)})" if passed_over else ""
    return f"{lines:,} read, {sum(passed_over.values()) or ignored:,} of them without a message{of_each}"


def report_unread(unread: Sequence[str]) -> int:
    """Print why nothing of some files could be read; return the exit code: `ExitCode.NO` if there are such files."""
    for sentence in unread:
        sys.stderr.write(f"error: {sentence}\n")
    return ExitCode.NO if unread else ExitCode.DONE


def text_rows(rows: Mapping[str, str]) -> str:
    """Return named texts as the lines of a report."""
    return "\n".join(f"{name:<11}{text}" for name, text in rows.items())


def listed(counted: Mapping[str, int]) -> str:
    """Return counts as text, such as ``3 book, 5 trade``."""
    return ", ".join(f"{n:,} {name}" for name, n in sorted(counted.items())) or "none"


def utc(t_ms: int) -> str:
    """Return a time as text.

    >>> utc(1_723_161_255_408)
    '2024-08-08 23:54:15 UTC'
    """
    return datetime_of_ms(t_ms).strftime("%Y-%m-%d %H:%M:%S UTC")

"""What a backfill did, as JSON and as lines of text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.publish.report import lines_text, listed, text_rows

if TYPE_CHECKING:
    from ingest.backfill.days.run import Backfilled
    from ingest.backfill.done import Done

_NAMED = 10  # the most symbols to name


def as_json(done: Done) -> dict[str, Any]:
    """Return the counts for a script."""
    return {
        "lines": done.lines,
        "ignored": done.passed_over.total(),
        "passed_over": dict(sorted(done.passed_over.items())),
        "taken": dict(sorted(done.taken.items())),
        "refused": dict(sorted(done.refused.items())),
        "rows": done.made,
        "rows_new": done.new,
        "rows_skipped": done.skipped,
        "symbols": sorted(done.symbols),
        "unread": done.unread,
    }


def text(done: Done, refused_folder: Path) -> str:
    """Return the counts as lines."""
    return text_rows(_rows(done, refused_folder))


def _rows(done: Done, refused_folder: Path) -> dict[str, str]:
    names = sorted(done.symbols)
    there = done.made - done.new - done.skipped
    return {
        "symbols": ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "none",
        "messages": listed(done.taken),
        "refused": listed(done.refused) + (f", kept in {refused_folder}" if done.refused else ""),
        "lines": lines_text(done.lines, done.passed_over),
        "rows": f"{done.made:,} made, {done.new:,} new, {there:,} were there, {done.skipped:,} of finished days",
    }


def days_as_json(found: Backfilled) -> dict[str, Any]:
    """Return the counts of a backfill from the tape for a script."""
    again = {symbol: [str(day) for day in days] for symbol, days in sorted(found.again.items())}
    days = {"computed": found.computed, "passed_over": found.passed, "again": again}
    return {**as_json(found.done), "days": days, "other_settings": sorted(found.other_settings)}


def days_text(found: Backfilled, refused_folder: Path) -> str:
    """Return the counts of a backfill from the tape as lines."""
    rows = _rows(found.done, refused_folder)
    rows["lines"] = f"{found.done.lines:,} of the tape"
    n = sum(map(len, found.again.values()))
    rows["days"] = f"{found.computed:,} of a symbol each computed, {found.passed:,} done before and unchanged"
    if n:
        rows["days"] += f"; {n:,} of those computed had been done before"
    told = [
        f"{symbol} from {min(days)} on, "
        + (
            "made with other settings or kernels, or replaced since"
            if symbol in found.other_settings
            else "as messages came to that day"
        )
        for symbol, days in sorted(found.again.items())
    ]
    if told:
        more = f"; and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
        rows["again"] = "; ".join(told[:_NAMED]) + more
    return text_rows(rows)

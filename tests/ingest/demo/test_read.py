"""What the demo prints of its run."""

from __future__ import annotations

import io

from rich.console import Console

from ingest.demo.read import summary


def told(done: dict[str, int]) -> str:
    out = io.StringIO()
    summary(Console(file=out, width=400), done)
    return out.getvalue()


def test_a_recording_that_was_shown_before_is_told_to_be_late_and_how_to_begin_anew() -> None:
    text = told({"accepted.tick": 4, "refused.late": 1608, "rows.technical": 3})
    assert "refused 1,608 late" in text and "late 1,608 messages came after rows of later times" in text
    assert "make clean" in text
    assert "make clean" not in told({"accepted.trade": 1608, "refused.duplicate": 2})

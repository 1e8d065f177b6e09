"""Files of texts."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from ingest.sentiment import files


def test_bytes_are_text() -> None:
    table = pa.table({"a": pa.array(["£ up".encode(), "£ up".encode("latin-1"), None], pa.binary())})
    assert files.texts(table, "a", Path("a")) == ["£ up", "£ up", ""]

"""One self-contained page out of what was read: template, style and script in one file, the data as JSON that cannot end its element."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_ESCAPED = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def render(content: Mapping[str, Any]) -> str:
    """The page.

    Raises
    ------
    ValueError
        The content holds a number that JSON has not.
    """
    data = json.dumps(content, allow_nan=False, separators=(",", ":")).translate(_ESCAPED)
    page = (_HERE / "page.html").read_text()
    for mark, text in (
        ("/*CSS*/", (_HERE / "page.css").read_text()),
        ("/*JS*/", (_HERE / "page.js").read_text()),
        ("/*DATA*/", data),  # last: nothing in the data is taken for a mark
    ):
        page = page.replace(mark, text, 1)
    return page


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write the page, whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(render(content))
    unfinished.replace(path)

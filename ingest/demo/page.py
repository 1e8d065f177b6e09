"""One self-contained page: template, style, script and data in one file. The data are JSON that cannot end its HTML element.

The page's script is ours (19 kB), as measured in November 2026: plotly 7.1 would put 4.8 MB of script into every page and 64 MB into
every installation, bokeh 3.9 3.9 MB and 32 MB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_ESCAPED = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def render(content: Mapping[str, Any]) -> str:
    """Return the page.

    Raises
    ------
    ValueError
        The content holds NaN or an infinity.
    """
    data = json.dumps(content, allow_nan=False, separators=(",", ":")).translate(_ESCAPED)
    page = (_HERE / "page.html").read_text()
    for mark, text in (
        ("/*CSS*/", (_HERE / "page.css").read_text()),
        ("/*JS*/", (_HERE / "page.js").read_text()),
        ("/*DATA*/", data),  # last, so that a mark inside the data is not replaced
    ):
        page = page.replace(mark, text, 1)
    return page


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write the page, whole or not at all, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(render(content))
    unfinished.replace(path)

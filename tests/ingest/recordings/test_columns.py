"""The page for newcomers lists the columns that files may have."""

from __future__ import annotations

import re
from pathlib import Path

from ingest.recordings.columns import MARKET_FILE, POST_FILE

PAGE = Path(__file__).parents[3] / "docs" / "quickstart.md"


def test_the_quickstart_lists_every_column_name_that_is_known() -> None:
    table = PAGE.read_text().partition("<!-- columns: begin -->")[2].partition("<!-- columns: end -->")[0]
    documented = {
        (kind, field): re.findall(r"`([^`]+)`", names)
        for kind, field, names in re.findall(r"^\| (market|post) \| `(\w+)` \|[^|]*\| (.*) \|$", table, re.M)
    }
    known = {
        (kind, field): list(names)
        for kind, fields in (("market", MARKET_FILE), ("post", POST_FILE))
        for field, names in fields.items()
    }
    assert documented == known

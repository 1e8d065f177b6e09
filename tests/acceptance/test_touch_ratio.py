"""A new feature's past in compressed chunks, at a small size. Needs ``TFS_TIMESCALE_URL``; ``touch_ratio`` runs it at full size."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance import touch_ratio
from tests.conftest import new_database
from tests.examples.test_adding_a_feature import edited_copy
from tests.ingest.backfill.days import tapes


def test_the_past_is_filled_in_compressed_chunks_and_no_other_value_changes(timescale_url: str, tmp_path: Path) -> None:
    conf = tapes.settings(str(tmp_path / "tape"), emit_interval_ms=touch_ratio.GRID_MS)
    symbols = ("SIM-00", "SIM-01")
    for day in range(3):
        tapes.put(conf, tapes.market(day, symbols))
    with new_database(timescale_url) as url:
        found = touch_ratio.fill(url, conf, edited_copy(tmp_path / "copy"), 3, symbols, tmp_path)
    assert found["compressed_chunks"] > 6
    assert found["touch_ratio_known"] > 60

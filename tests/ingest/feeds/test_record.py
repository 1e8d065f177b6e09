"""What ``feed --record`` keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.feeds.binance_addresses import VENUES
from ingest.feeds.command import _recorder
from ingest.recordings.recording import messages

TRADE = b'1723161255000000000 {"e":"trade","s":"BTCUSDT","t":%d,"p":"100","q":"1","T":1723161254990,"m":true,"X":"MARKET"}\n'


@pytest.mark.parametrize("name", ["perp.jsonl", "perp.jsonl.gz"])
def test_a_recording_of_a_perpetual_comes_back_under_its_live_name_also_after_a_restart(
    tmp_path: Path, name: str
) -> None:
    for number in (1, 2):
        with _recorder(tmp_path / name, "binance-futures", VENUES["binance-futures"].prefix) as record:
            assert record is not None
            record.write(TRADE % number)
    found = [(m.symbol, m.trade_id) for _, m in messages([tmp_path / name])]  # type: ignore[union-attr]
    assert found == [("BINANCE-FUTURES:BTCUSDT", 1), ("BINANCE-FUTURES:BTCUSDT", 2)]
    with _recorder(None, "binance", "") as record:
        assert record is None

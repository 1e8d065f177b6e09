"""The demo's instruments file."""

from dataclasses import replace
from datetime import UTC, datetime

from ingest import settings
from ingest.demo.sessions import write_instruments


def test_simulated_symbols_have_a_session_that_opens_with_their_history_and_keep_what_else_is_known(tmp_path):
    conf = settings.load({})
    path = tmp_path / "demo" / "instruments.toml"
    write_instruments(path, conf, ["SIM-BTC", "NEW"], datetime(2024, 8, 8, 21, 7, 59, tzinfo=UTC))
    read = settings.load({"TFS_INSTRUMENTS": str(path)})
    assert read.instrument("SIM-BTC") == replace(conf.instrument("SIM-BTC"), session_open="21:07")
    assert read.instrument("NEW").session_open == "21:07"
    assert read.instrument("BTCUSDT") == conf.instrument("BTCUSDT")

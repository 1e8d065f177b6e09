"""The demo's instruments file."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ingest import settings
from ingest.demo.command import HISTORY_S
from ingest.demo.sessions import write_instruments
from transforms.sessions import TOLERANCE_US, utc_day
from transforms.times import us_of_datetime


def test_simulated_symbols_have_a_session_that_opens_with_their_history_and_keep_what_else_is_known(tmp_path):
    conf = settings.load({})
    path = tmp_path / "demo" / "instruments.toml"
    write_instruments(path, conf, ["SIM-BTC", "NEW"], datetime(2024, 8, 8, 21, 7, 59, tzinfo=UTC))
    read = settings.load({"TFS_INSTRUMENTS": str(path)})
    assert read.instrument("SIM-BTC") == replace(conf.instrument("SIM-BTC"), session_open="21:07")
    assert read.instrument("NEW").session_open == "21:07"
    assert read.instrument("BTCUSDT") == conf.instrument("BTCUSDT")


@pytest.mark.parametrize("clock", ["00:00:00", "00:02:00", "04:30:00", "04:30:59", "23:59:59"])
def test_the_demo_hears_one_session_from_its_beginning_at_any_time_of_the_day(tmp_path, clock):
    now = datetime.fromisoformat(f"2024-08-08T{clock}").replace(tzinfo=UTC)
    begin = now - timedelta(seconds=HISTORY_S)
    path = tmp_path / "instruments.toml"
    write_instruments(path, settings.load({}), ["SIM-BTC"], begin)
    sessions = settings.load({"TFS_INSTRUMENTS": str(path)}).instrument("SIM-BTC").session_clock()
    session_of = sessions.session if sessions else utc_day
    start_us, end_us, _ = session_of(us_of_datetime(begin))
    assert us_of_datetime(begin) - start_us < TOLERANCE_US, "the first trade is early enough"
    assert end_us > us_of_datetime(now + timedelta(hours=1)), "and no session begins while the demo runs"

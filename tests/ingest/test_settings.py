from pathlib import Path

import pytest

from ingest.settings import Settings, SettingsError, load
from transforms.instrument import Instrument


def test_nothing_set_gives_the_documented_defaults():
    settings = load({})
    plain = Settings()
    for name in (
        "partitions",
        "emit_interval_ms",
        "allowed_lateness_ms",
        "idle_after_ms",
        "flush_interval_ms",
        "max_future_ms",
    ):
        assert getattr(settings, name) == getattr(plain, name)
    assert settings.symbols == frozenset()
    assert settings.sentiment_model == "ProsusAI/finbert"


def test_an_instrument_that_nobody_described_has_the_defaults():
    assert load({}).instrument("NEW") == Instrument()
    assert load({}).instrument("BTCUSDT").vpin_bucket == 1.0


@pytest.mark.parametrize("emit", ["100", "200", "250", "500", "1000", "60000"])
def test_the_grid_divides_a_second_or_is_whole_seconds(emit):
    assert load({"TFS_EMIT_INTERVAL_MS": emit}).emit_us == int(emit) * 1000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TFS_EMIT_INTERVAL_MS", "300"),
        ("TFS_EMIT_INTERVAL_MS", "1500"),
        ("TFS_EMIT_INTERVAL_MS", "50"),
        ("TFS_PARTITIONS", "0"),
        ("TFS_PARTITIONS", "four"),
        ("TFS_ALLOWED_LATENESS_MS", "-1"),
        ("TFS_INSTRUMENTS", "/nowhere.toml"),
    ],
)
def test_a_setting_that_cannot_be_says_which_and_why(name, value):
    with pytest.raises(SettingsError, match=name):
        load({name: value})


def test_an_instruments_file_that_says_what_no_instrument_has_is_refused(tmp_path: Path):
    path = tmp_path / "instruments.toml"
    path.write_text("[BTCUSDT]\nvpin_buckets = 1.0\n")
    with pytest.raises(SettingsError, match="vpin_buckets"):
        load({"TFS_INSTRUMENTS": str(path)})


def test_symbols_are_a_list():
    assert load({"TFS_SYMBOLS": "BTCUSDT,ETHUSDT,"}).symbols == {"BTCUSDT", "ETHUSDT"}

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ingest.settings import Settings, SettingsError, environment, instruments, load, passed_on
from transforms.context.layout import Neighbours
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


def test_an_instruments_file_adds_to_what_a_name_tells(tmp_path: Path):
    path = tmp_path / "instruments.toml"
    path.write_text('[BTCUSD_PERP]\nvpin_bucket = 2\n["OKX:BTC-USDT-PERP"]\ncontract_size = 0.01\n')
    settings = load({"TFS_INSTRUMENTS": str(path)})
    assert settings.instrument("BTCUSD_PERP") == Instrument(
        vpin_bucket=2, contract_size=100, inverse=True, funding_hours=8
    )
    assert settings.instrument("ETHUSD_PERP").contract_size == 10
    assert settings.instrument("OKX:BTC-USDT-PERP") == Instrument(contract_size=0.01)


def test_the_instruments_file_says_whose_rows_a_symbol_is_given_and_who_follows_it(tmp_path: Path):
    path = tmp_path / "instruments.toml"
    venues = '["X:ETH"]\nasset = "ETH"\n["A:ETH"]\nasset = "ETH"\n'
    path.write_text(f'[ETH]\nleader = "BTC"\npair = "ETH-PERP"\nasset = "ETH"\n{venues}[SOL]\nleader = "BTC"\n')
    settings = load({"TFS_INSTRUMENTS": str(path)})
    assert settings.neighbours("ETH") == Neighbours(("BTC", "ETH-PERP", "A:ETH", "X:ETH"), 0, 1, (2, 3))
    assert settings.neighbours("X:ETH") == Neighbours(("A:ETH", "ETH"), venues=(0, 1))
    assert settings.neighbours("BTC") is None
    followers = {"BTC": ["ETH", "SOL"], "ETH-PERP": ["ETH"], "ETH": ["A:ETH", "X:ETH"]}
    followers |= {"X:ETH": ["A:ETH", "ETH"], "A:ETH": ["ETH", "X:ETH"]}
    assert settings.followers() == followers
    assert load({"TFS_INSTRUMENTS": str(path), "TFS_SYMBOLS": "BTC SOL"}).followers() == {"BTC": ["SOL"]}


@pytest.mark.parametrize(
    "line",
    [
        "leader = 'A'",
        "pair = 'A'",
        "leader = 1",
        "asset = ['A']",
        "contract_size = 0",
        "contract_size = inf",
        "funding_hours = 5",
        "inverse = 1",
        "contract_size = 'x'",
    ],
)
def test_an_impossible_instrument_is_refused(tmp_path: Path, line: str):
    path = tmp_path / "instruments.toml"
    path.write_text(f"[A]\n{line}\n")
    with pytest.raises(SettingsError, match="TFS_INSTRUMENTS"):
        load({"TFS_INSTRUMENTS": str(path)})


def test_an_instruments_file_that_says_what_no_instrument_has_is_refused(tmp_path: Path):
    path = tmp_path / "instruments.toml"
    path.write_text("[BTCUSDT]\nvpin_buckets = 1.0\n")
    with pytest.raises(SettingsError, match="vpin_buckets"):
        load({"TFS_INSTRUMENTS": str(path)})


@pytest.mark.parametrize("text", ["BTCUSDT,ETHUSDT,", "BTCUSDT, ETHUSDT", " BTCUSDT  ETHUSDT\n"])
def test_symbols_are_a_list_and_a_space_after_a_comma_is_no_part_of_a_name(text):
    assert load({"TFS_SYMBOLS": text}).symbols == {"BTCUSDT", "ETHUSDT"}


@pytest.mark.parametrize("package", ["ingest", "bench"])
@pytest.mark.parametrize(("given", "waits"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")])
def test_threads_of_a_scorer_do_not_wait_busily_unless_the_user_says_so(package, given, waits):
    spec = find_spec("torch")
    [openmp] = (Path(spec.submodule_search_locations[0]) / "lib").glob("libgomp*")
    environ = environment(OMP_DISPLAY_ENV="TRUE")
    environ.pop("OMP_WAIT_POLICY", None)
    code = f"import {package}, sys, ctypes; assert 'torch' not in sys.modules; ctypes.CDLL({str(openmp)!r})"
    done = subprocess.run([sys.executable, "-c", code], env=environ | given, capture_output=True, text=True, check=True)
    assert f"OMP_WAIT_POLICY = '{waits}'" in done.stderr  # what OpenMP itself reports when it is loaded


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('session_timezone = "New York"', "session_timezone"),
        ('session_timezone = "../etc/passwd"', "session_timezone"),
        ('session_open = "9h30"', "session_open"),
        ('session_open = "09:30+02:00"', "local time"),
    ],
)
def test_a_session_that_cannot_be_is_refused_in_one_sentence(tmp_path, line, words):
    path = tmp_path / "instruments.toml"
    path.write_text(f"[AAPL]\n{line}\n")
    with pytest.raises(SettingsError, match=words):
        instruments(path)


@pytest.mark.parametrize(
    ("place", "tape"),
    [("", ""), ("/data/tape", "/data/tape"), ("s3://bucket/a/b/", "s3://bucket/a/b"), ("s3://bucket", "s3://bucket")],
)
def test_the_tape_is_a_folder_or_a_bucket(place: str, tape: str) -> None:
    assert load({"TFS_TAPE": place}).tape == tape


@pytest.mark.parametrize(
    "place", ["s3://", "s3://Bucket", "s3://key:secret@bucket/a", "gs://bucket/secret", "s3://b/a?secret=1"]
)
def test_another_place_for_the_tape_is_refused_and_not_repeated(place: str) -> None:
    with pytest.raises(SettingsError, match="must be a folder or s3://bucket/prefix") as found:
        load({"TFS_TAPE": place})
    assert "secret" not in str(found.value)


def test_the_keys_of_s3_leave_this_machine_only_for_a_tape_there() -> None:
    given = {"AWS_SECRET_ACCESS_KEY": "hidden", "TFS_TAPE": "s3://bucket/a", "HOME": "/root"}
    assert passed_on(given) == {"AWS_SECRET_ACCESS_KEY": "hidden", "TFS_TAPE": "s3://bucket/a"}
    assert passed_on({**given, "TFS_TAPE": "/tape"}) == {"TFS_TAPE": "/tape"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[A]\nleeder = "B"\n', "A has no key leeder; the keys are size_digits, .*leader, pair, asset$"),
        ('[A.B]\nleader = "C"\n', "A has no key B; .*a name with a dot stands in quotes"),
        ('[BINANCE-FUTURES:BTCUSDT]\nleader = "B"\n', r'stands in quotes, as in \["BINANCE-FUTURES:BTCUSDT"\]'),
        ("A = 5\n", r"A is no table: write \[A\]"),
        ('[A]\nsize_digits = "x"\n', "A: size_digits: Expected `int`, got `str`"),
        ("[B]\n[A]\nvpin_bucket = -1\n", "A: vpin_bucket -1.0 must be a finite positive number"),
        ("[A]\nfunding_hours = 5\n", "A: funding_hours 5 must divide a day"),
    ],
)
def test_an_instruments_file_that_is_wrong_is_told_with_the_symbol_and_the_key(tmp_path, text, words):
    path = tmp_path / "instruments.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words):
        instruments(path)


def test_a_symbol_that_others_follow_and_that_nobody_hears_is_named():
    settings = Settings(
        instruments={"A": Instrument(leader="B", pair="C"), "D": Instrument(leader="B"), "E": Instrument(leader="F")}
    )
    assert settings.unheard({"A", "C", "D"}) == ["B: not heard, and A, D of the instruments file follow it"]
    assert settings.unheard({"E", "F"}) == []

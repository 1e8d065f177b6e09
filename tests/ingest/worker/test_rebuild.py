"""States that are made again from the tape give the rows of a worker that never stopped, bit for bit, and read no more than they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ingest.streams.read import id_numbers
from ingest.tape.columns import IMPORT
from ingest.tape.table import Tape
from ingest.worker.partition import Partition
from ingest.worker.rebuild import Rebuilt, rebuild
from transforms import kernels, normalization
from transforms.catalog import FEATURE_VECTOR_V1, VIEW
from transforms.instrument import Instrument
from transforms.kernels import with_users
from transforms.normalization import SCORED
from transforms.warmup import stated

from .long_life import CONF, DAY, END, HOUR, NAME, Entry, Rows, live, rows_of, tape_of

LIFE = live()
CUT = next(i for i, (entry_id, _) in enumerate(LIFE) if id_numbers(entry_id)[0] > END - HOUR)


def undisturbed(life: list[Entry], conf=CONF) -> tuple[dict[str, bytes], Rows]:
    partition = Partition(0, conf)
    rows_of(partition, life[:CUT])
    parts = partition.symbols[NAME].save()
    return parts, rows_of(partition, life[CUT:])


@pytest.fixture(scope="module")
def whole() -> tuple[dict[str, bytes], Rows]:
    """The state of a worker that never stopped, and its rows behind it."""
    return undisturbed(LIFE)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    return tape_of(tmp_path_factory.mktemp("life") / "tape", LIFE)


def going_on(rebuilt: Rebuilt, life: list[Entry] = LIFE, conf=CONF) -> Rows:
    """Return the rows of a partition that begins with what was rebuilt."""
    partition = Partition(0, conf)
    partition.symbols.open(NAME, rebuilt.parts()[NAME])
    return rows_of(partition, life[CUT:])


def test_all_kernels_of_an_emptied_redis_are_as_if_the_worker_never_stopped(tape: Tape, whole) -> None:
    rebuilt = rebuild(tape, CONF, 0, [NAME], upto=LIFE[CUT - 1][0])
    assert not rebuilt.missing and rebuilt.partition.position == LIFE[CUT - 1][0]
    assert going_on(rebuilt) == whole[1]
    known = {
        view: np.any([~np.isnan(np.frombuffer(row)) for (name, _), row in whole[1].items() if name == view], axis=0)
        for view in {name for name, _ in whole[1]}
    }
    names = {
        name
        for view, found in known.items()
        for name, is_known in zip(VIEW[view].names, found, strict=True)
        if is_known
    }
    assert {
        "vpin",
        "cvd",
        "rsi_14",
        "volume_profile",
        "microprice",
        "sentiment_ew_15m",
        "ofi_60s",
        "volatility_5m_z",
        "basis_bps",
        "oi_change_1h",
        "liquidation_imbalance_5m",
    } <= names


def test_it_follows_the_log_from_there_on(tape: Tape, whole) -> None:
    rebuilt = rebuild(tape, CONF, 0, [NAME], upto=LIFE[CUT - 100][0])
    rebuilt.partition.replay(LIFE[CUT - 99 : CUT])
    assert going_on(rebuilt) == whole[1]


@pytest.mark.parametrize(
    ("kernel", "hours"),
    [
        ("book_flow", {"book": 2}), ("kyle", {"book": 2, "trade": 2}), ("volatility", {"trade": 28}), ("session", {"trade": 37 * 24}),
        ("ema", {"trade": 960}), ("posts", {"post": 32 * 24}), ("microprice_table", {"book": 2, "microprice": 960}),
        ("spread_pct_z", {"book": 28}), ("open_interest", {"derivatives": 3}), ("liquidations", {"derivatives": 2, "liquidation": 4}),
    ],
)  # fmt: skip
def test_a_kernel_alone_reads_what_it_needs_and_goes_on_to_the_bit(
    kernel: str, hours: dict[str, int], tape: Tape, whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuilt = rebuild(tape, CONF, 0, [NAME], [kernel], upto=LIFE[CUT - 1][0])
    symbol = rebuilt.partition.symbols[NAME]
    given = {kind: (END - since) / HOUR for kind, since in symbol.reach.since_ms.items()}  # type: ignore[attr-defined]
    assert given.keys() == hours.keys() and all(given[kind] < hours[kind] for kind in given), given
    versions = tuple((name, version + (name == kernel)) for name, version in kernels.VERSIONS)
    monkeypatch.setattr(kernels, "VERSIONS", versions)
    partition = Partition(0, CONF)
    restored = partition.symbols.open(NAME, whole[0])
    assert restored.engine.anew == with_users({kernel})
    restored.take_over(symbol, is_whole=True)
    assert rows_of(partition, LIFE[CUT:]) == whole[1]


def test_books_are_read_for_as_long_as_sides_are_inferred_from_them(tmp_path: Path) -> None:
    life = live(2, sides=False, busy_h=3)
    cut = next(i for i, (entry_id, _) in enumerate(life) if id_numbers(entry_id)[0] > END - HOUR)
    partition = Partition(0, CONF)
    rows_of(partition, life[:cut])
    expected = rows_of(partition, life[cut:])
    rebuilt = rebuild(tape_of(tmp_path / "tape", life), CONF, 0, [NAME], upto=life[cut - 1][0])
    other = Partition(0, CONF)
    other.symbols.open(NAME, rebuilt.parts()[NAME])
    assert rows_of(other, life[cut:]) == expected
    since = rebuilt.partition.symbols[NAME].reach.since_ms  # type: ignore[attr-defined]
    assert since["book"] == since["trade"]


def test_what_a_short_tape_lacks_is_said_by_kernel(tmp_path: Path) -> None:
    late = [entry for entry in LIFE if id_numbers(entry[0])[0] > END - 2 * DAY]
    rebuilt = rebuild(tape_of(tmp_path / "tape", late), CONF, 0, [NAME])
    lacks = rebuilt.missing[NAME]
    assert (
        lacks["vpin"] == "trades since 2023-10-14 06:59" and "rsi" in lacks and lacks["posts"].startswith("posts since")
    )
    assert not {"book_flow", "trade_volume", "spread_pct_z", "volatility", "cvd"} & lacks.keys()


def test_a_symbol_that_is_newer_than_the_tape_lacks_nothing(tmp_path: Path) -> None:
    other = live(30, name="B", busy_h=2)
    new = [entry for entry in LIFE if id_numbers(entry[0])[0] > END - 2 * HOUR]
    both = sorted([*other, *new], key=lambda entry: id_numbers(entry[0]))
    rebuilt = rebuild(tape_of(tmp_path / "tape", both), CONF, 0, [NAME])
    assert not rebuilt.missing and rebuilt.partition.symbols.keys() == {NAME}


def test_buckets_of_a_configured_volume_count_from_the_first_trade(tape: Tape) -> None:
    conf = replace(CONF, instruments={NAME: Instrument(vpin_bucket=7.0)})
    rebuilt = rebuild(tape, conf, 0, [NAME], upto=LIFE[CUT - 1][0])
    assert rebuilt.missing == {
        NAME: dict.fromkeys(("vpin", "vpin_n"), "all trades: the buckets of vpin_bucket count from the first one")
    }
    assert going_on(rebuilt, conf=conf) == undisturbed(LIFE, conf)[1]


def test_imported_history_counts_before_what_was_heard(tmp_path: Path, whole) -> None:
    at = next(i for i, (entry_id, _) in enumerate(LIFE) if id_numbers(entry_id)[0] > END - 3 * DAY)
    tape = tape_of(tmp_path / "tape", LIFE[:at], source=IMPORT)
    tape_of(tmp_path / "tape", LIFE[at:])
    del tape
    rebuilt = rebuild(tape_of(tmp_path / "tape", []), CONF, 0, [NAME], upto=LIFE[CUT - 1][0])
    assert not rebuilt.missing and going_on(rebuilt) == whole[1]


def test_a_symbol_that_the_tape_does_not_know_is_left_out(tape: Tape) -> None:
    calls: list[int] = []
    between: Callable[[], None] = lambda: calls.append(1)  # noqa: E731
    assert not rebuild(tape, CONF, 0, ["B"], between=between).parts() and calls


@pytest.mark.parametrize("hours", [12, 16])
def test_the_normaliser_of_a_short_tape_is_off_by_the_share_of_the_weight_that_it_lacks_at_most(
    hours: int, tape: Tape, tmp_path: Path
) -> None:
    """Of the full sums a share s of the weight is missing. With R the range of the values, and m and v mean and variance:

    m - m' = s (m_missing - m')                                      |m - m'| <= s R
    v - v' = s (v_missing - v') + s (1 - s) (m_missing - m')^2       |v - v'| <= s R^2 (1/4 + 1)

    For a steady feed s is 2**-hours.
    """
    short = [entry for entry in LIFE if id_numbers(entry[0])[0] > END - (1 + hours) * HOUR]
    upto = LIFE[CUT - 1][0]
    whole = rebuild(tape, CONF, 0, [NAME], upto=upto).partition.symbols[NAME].engine._normal
    less = rebuild(tape_of(tmp_path / "tape", short), CONF, 0, [NAME], upto=upto).partition.symbols[NAME].engine._normal
    values = raw_values(LIFE[:CUT], END - 27 * HOUR)
    n = 0
    for i, feature in enumerate(name for name, is_scored in zip(FEATURE_VECTOR_V1, SCORED, strict=True) if is_scored):
        warm_up = stated(feature)
        at = normalization._SCORES + i * normalization.SCORE
        if warm_up.session or warm_up.bars or warm_up.recursive or warm_up.seconds > HOUR // 1000:
            continue  # its values themselves differ
        full, part = moments(whole, at), moments(less, at)
        if full is None or part is None:
            continue
        n += 1
        share = 1.0 - part[0] / full[0]
        span = np.ptp(values[feature])
        assert 0.0 <= share < 2.0 * 2.0**-hours, feature
        assert abs(full[1] - part[1]) <= share * span + 1e-12 * span, feature
        assert abs(full[2] - part[2]) <= 1.25 * share * span**2 + 1e-12 * span**2, feature
    assert n >= 3


def raw_values(entries: list[Entry], since_ms: int) -> dict[str, np.ndarray]:
    """The values of each raw feature in the rows of entries, from a time on."""
    partition = Partition(0, CONF)
    for entry in entries:
        partition.process(*entry, 0)
    found = {}
    for batch in partition.take_pending().batches.values():
        if len(batch):
            columns = batch.columns()
            late = columns.values[columns.event_us >= since_ms * 1000]
            found |= {name: late[~np.isnan(late[:, k]), k] for k, name in enumerate(columns.view.names)}
    return found


def moments(state: np.ndarray, at: int) -> tuple[float, float, float] | None:
    """The weight, the mean and the variance of a score at the end of the life, None where it is not ready."""
    before, now = at + normalization._BEFORE, at + normalization._OPEN
    z = [normalization._z(state, before, now, END * 1000, x) for x in (0.0, 1.0)]
    if np.isnan(z).any():
        return None
    sigma = 1.0 / (z[1] - z[0])
    decays = [
        state[sums + normalization._WEIGHT]
        * 2.0 ** (-(END * 1000 - state[sums + normalization._AT_US]) / (HOUR * 1000))
        for sums in (before, now)
    ]
    return sum(decays), -z[0] * sigma, sigma**2

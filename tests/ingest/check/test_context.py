"""A perpetual with its spot market beside it, in the checks and as a user reads the rows: the spot's leg comes up to 10 s late.

Captures ``usdm_NAME.jsonl.gz`` among the recordings are taken, where ``spot_NAME.jsonl.gz`` is beside them, and made ones always.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingest.check.lookahead import lookahead
from ingest.check.recording import Messages
from ingest.check.warmup import warmup
from ingest.messages.envelope import Envelope
from ingest.recordings.columns import COMMON
from ingest.settings import Settings
from ingest.simulate import history
from ingest.worker.symbols import Symbols
from tests.conftest import recordings_folder
from transforms.catalog import CONTEXT, MICROSTRUCTURE
from transforms.instrument import Instrument

from .conftest import CONF, MIDNIGHT

Arrivals = list[tuple[str, Any]]
STREAM = {"book": "order_book", "trade": "market_data"}


def captures() -> list[tuple[Path, Path]]:
    """Captures of a perpetual, each with that of the same symbol's spot market."""
    found = []
    for perpetual in sorted(recordings_folder().glob("*/usdm_*.jsonl.gz")):
        spot = perpetual.with_name(perpetual.name.replace("usdm_", "spot_"))
        if spot.exists():
            found.append((perpetual, spot))
    return found


def made(folder: Path, seconds: int, symbols: Sequence[str] = ("PERP", "SPOT")) -> list[Path]:
    """Both markets as recordings."""
    files = []
    for symbol in symbols:
        files.append(folder / f"{symbol}.jsonl")
        with files[-1].open("wb") as file:
            begin = MIDNIGHT - seconds * 500
            for kind, message in history(begin, begin + seconds * 1000, symbols=[symbol], seed=3, kinds=tuple(STREAM)):
                fields = {name: getattr(message, name) for name in message.__struct_fields__}
                file.write(msgspec.json.encode({"stream": STREAM[kind], **fields}) + b"\n")
    return files


def heard(files: Sequence[Path], late_ms: int = 0) -> tuple[Settings, Arrivals]:
    """What is heard of a perpetual and its spot market, whose leg is late by so much, and settings by which one follows the other."""
    alone = [next(iter(Messages([path], CONF, [], COMMON)))[1].symbol for path in files]
    conf = replace(
        CONF,
        instruments={alone[0]: Instrument(leader=alone[1], pair=alone[1], asset="X"), alone[1]: Instrument(asset="X")},
    )
    told = list(Messages(list(files), conf, [], COMMON))

    def arrives(one: tuple[str, Any]) -> int:
        message = one[1]
        is_late = alone[1] in (message.symbol if one[0] != "neighbour" else message.neighbour, "")
        return int(message.received or message.timestamp) + late_ms * is_late

    return conf, sorted(told, key=arrives)


def rows_of(conf: Settings, arrivals: Arrivals) -> dict[str, dict[tuple[str, int], dict[str, float]]]:
    """The rows by view, and by symbol and second."""
    found: dict[str, dict[tuple[str, int], dict[str, float]]] = {MICROSTRUCTURE.name: {}, CONTEXT.name: {}}

    def keep(symbol: Any, view: Any, t_us: int, values: Any) -> None:
        if view.name in found:
            found[view.name][symbol.name, t_us // 1_000_000] = dict(zip(view.names, map(float, values), strict=True))

    symbols = Symbols(conf, keep)
    for kind, message in arrivals:
        envelope = Envelope(kind, message, received_ms=message.received or 0)
        if kind == "neighbour":
            symbols.hear_neighbour(envelope)
        else:
            symbols.accept(envelope)
    return found


@pytest.fixture(scope="module", params=[*captures(), "made"], ids=lambda one: one if one == "made" else one[0].name)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return made(tmp_path_factory.mktemp("made"), 400) if request.param == "made" else list(request.param)


@pytest.mark.parametrize("late_ms", [0, 700, 1000, 2000, 3000, 5000, 10_000])
def test_a_row_never_sees_its_future_and_is_null_when_the_leg_is_too_late(files: list[Path], late_ms: int) -> None:
    conf, arrivals = heard(files, late_ms)
    perpetual, spot = conf.instruments
    found = {result.feature: result for result in lookahead(arrivals, conf, samples=60) if result.view == CONTEXT.name}
    assert [name for name, result in found.items() if result.differing] == []
    of_view = rows_of(conf, arrivals)
    mids = {key: row["mid_price"] for key, row in of_view[MICROSTRUCTURE.name].items()}
    known: list[int] = []
    rows = {at: row for (symbol, at), row in of_view[CONTEXT.name].items() if symbol == perpetual}
    for at, row in rows.items():
        basis = row["pair_basis_bps"]
        ages = [
            age
            for age in range(3)
            if basis
            == (mids[perpetual, at] - mids.get((spot, at - age), math.nan)) / mids.get((spot, at - age), 1.0) * 1e4
        ]
        assert ages or math.isnan(basis), at
        known += ages[-1:]  # the spot's mid may be the same for seconds
        assert math.isnan(row["return_leader_1s"]) or ages
    if late_ms >= 3000:
        assert not known
    else:
        assert len(known) > (0.9 if late_ms < 2000 else 0.5) * len(rows) > 100
        assert min(known) >= (late_ms - 500) // 1000 and max(known) >= late_ms // 1000


def test_no_value_depends_on_the_start_once_it_is_warm(files: list[Path], tmp_path: Path) -> None:
    if files[0].name == "PERP.jsonl":
        files = made(tmp_path, 4300)
    conf, arrivals = heard(files)
    found = {result.feature: result for result in warmup(arrivals, conf) if result.view == CONTEXT.name}
    assert [name for name, result in found.items() if result.differing] == []
    for name in CONTEXT.names if files[0].name == "PERP.jsonl" else ("pair_basis_bps", "return_leader_10s"):
        assert found[name].values > 100, name

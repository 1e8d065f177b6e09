"""Kernels of ``context`` that are made again from the tape, where the rows of neighbours stand as entries of the symbol's log."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ingest import settings
from ingest.messages.decode import encode
from ingest.messages.kinds import Neighbour, OrderBook, Trade
from ingest.streams.read import id_numbers
from ingest.tape.table import Tape
from ingest.worker.partition import Partition
from ingest.worker.rebuild import rebuild
from ingest.worker.rebuilding import begin_anew
from transforms import kernels
from transforms.catalog import CONTEXT
from transforms.instrument import Instrument
from transforms.kernels import with_users

from .long_life import Entry, Rows, rows_of, tape_of

CONF = replace(
    settings.load({"TFS_PARTITIONS": "1"}), instruments={"A": Instrument(leader="LEAD", pair="SPOT"), "B": Instrument()}
)
BEGIN = 1_700_006_400_000
SECONDS = 3 * 3600


def life() -> list[Entry]:
    """Three hours of a symbol and of what its neighbours were: seconds of both are missing, late, or of an invalid book."""
    chance = random.Random(7)
    told: list[tuple[float, str, object]] = []
    mids = {"A": 100.0, "LEAD": 5000.0, "SPOT": 99.9}
    for at in range(BEGIN, BEGIN + SECONDS * 1000, 1000):
        common = chance.gauss(0, 1e-4)
        mids = {name: mid * (1 + common + chance.gauss(0, 1e-4)) for name, mid in mids.items()}
        silent = at % 1_800_000 > 1_770_000 or BEGIN + (SECONDS - 75) * 1000 < at < BEGIN + (SECONDS - 45) * 1000
        if chance.random() < 0.9 and not silent:
            mid = round(mids["A"], 4)
            told.append((at + 300, "book", OrderBook(at + 300, "A", [(mid - 0.1, 2.0)], [(mid + 0.1, 3.0)])))
        if chance.random() < 0.4:
            told.append((at + 800, "trade", Trade(at + 800, "A", 100.0, 1.0, "buy")))
        for name in ("LEAD", "SPOT"):
            late = chance.choice((260, 260, 300, 700, 2300, 3300))
            mid = None if chance.random() < 0.02 else mids[name]
            if chance.random() < 0.97:
                told.append((at + late, "neighbour", Neighbour(at, ["A"], name, mid, mid and 2.0, mid and 1.0)))
    told.sort(key=lambda one: one[0])
    return [
        (b"%d-%d" % (arrived, n), {b"kind": kind.encode(), b"data": encode(message)})
        for n, (arrived, kind, message) in enumerate(told)
    ]


LIFE = life()
CUTS = [
    next(i for i, (entry_id, _) in enumerate(LIFE) if id_numbers(entry_id)[0] > BEGIN + (SECONDS - back) * 1000)
    for back in (60.05, 20.7)
]
"""In a silence of the books while rows of trades wait, and while a row of a book waits."""


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    return tape_of(tmp_path_factory.mktemp("life") / "tape", LIFE, CONF)


def of_context(rows: Rows) -> Rows:
    return {key: row for key, row in rows.items() if key[0] == CONTEXT.name}


@pytest.fixture(scope="module", params=CUTS)
def stopped(request: pytest.FixtureRequest) -> tuple[int, dict[str, bytes], Rows]:
    """An entry, the state of an undisturbed worker behind it, and its rows from there on."""
    partition = Partition(0, CONF)
    rows_of(partition, LIFE[: request.param])
    parts = partition.symbols["A"].save()
    return request.param, parts, of_context(rows_of(partition, LIFE[request.param :]))


@pytest.mark.parametrize("kernel", ["lead", "neighbours", "mid", "book"])
def test_a_kernel_that_changed_goes_on_to_the_bit(
    kernel: str, stopped: tuple[int, dict[str, bytes], Rows], tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, parts, expected = stopped
    assert len(expected) > 19
    versions = tuple((name, version + (name == kernel)) for name, version in kernels.VERSIONS)
    monkeypatch.setattr(kernels, "VERSIONS", versions)
    checkpoint = {f"A {part}".encode(): data for part, data in parts.items()}
    begun = {"neighbours", "lead"} & with_users({kernel})
    assert begin_anew(checkpoint, CONF)["A"] >= begun
    rebuilt = rebuild(tape, CONF, 0, ["A"], [kernel], upto=LIFE[cut - 1][0])
    assert not rebuilt.missing.get("A", {}).keys() & begun
    assert "neighbour" not in rebuilt.partition.symbols["A"].reach.since_ms  # type: ignore[attr-defined]
    partition = Partition(0, CONF)
    restored = partition.symbols.open("A", parts)
    restored.take_over(rebuilt.partition.symbols["A"], is_whole=True)
    assert of_context(rows_of(partition, LIFE[cut:])) == expected


def test_a_symbol_that_was_lost_is_as_if_its_worker_never_stopped(
    stopped: tuple[int, dict[str, bytes], Rows], tape: Tape
) -> None:
    cut, _, expected = stopped
    rebuilt = rebuild(tape, CONF, 0, ["A"], upto=LIFE[cut - 1][0], were_new=False)
    partition = Partition(0, CONF)
    partition.symbols.open("A", rebuilt.parts()["A"])
    assert of_context(rows_of(partition, LIFE[cut:])) == expected

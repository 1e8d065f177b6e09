"""Features of perpetuals equal pandas on files in the venues' forms: `perpetuals` does the same for any file."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path

import pandas as pd
import psycopg
import pytest
from psycopg import sql

from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from tests.acceptance import perpetual_made, perpetuals
from transforms.catalog import CONTEXT, DERIVATIVES, VIEWS

OF_PERPETUALS = (*DERIVATIVES.names, *CONTEXT.names)
LINES = 9_000


@pytest.fixture
def url(postgres_url: str) -> str:
    """A database with empty tables."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        migrate(connection, [table_of_view(view) for view in VIEWS])
        for view in VIEWS:
            connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(view.name)))
    return postgres_url


def test_every_feature_of_files_of_tardis_is_what_pandas_computes(url: str, tmp_path: Path) -> None:
    report = perpetuals.run(perpetual_made.of_tardis(tmp_path), url, tmp_path)
    assert report.wrong == []
    assert report.known == set(OF_PERPETUALS)


def test_every_feature_of_public_files_of_binance_is_what_pandas_computes(url: str, tmp_path: Path) -> None:
    report = perpetuals.run(perpetual_made.of_binance(tmp_path), url, tmp_path)
    assert report.wrong == []
    assert report.known == set(DERIVATIVES.names)


def test_every_feature_of_raw_captures_is_what_pandas_computes(url: str, tmp_path: Path) -> None:
    paths = perpetual_made.captured(tmp_path)
    report = perpetuals.run(paths, url, tmp_path, {paths[0].name: "BINANCE-FUTURES:"})
    assert report.wrong == []
    assert set(OF_PERPETUALS) - report.known == {"oi_change_1h", "relative_strength_60m"}


def test_captures_that_were_recorded_together_are_what_numpy_computes(
    url: str, tmp_path: Path, recordings: Path
) -> None:
    """Those of the first day that has two, of futures first: others of their names may lie there."""
    found = sorted(recordings.glob("ws_binance_*/*_20*.jsonl.gz"), reverse=True)
    days: dict[str, list[Path]] = {}
    for path in found:
        days.setdefault(path.name.rpartition("_")[2], []).append(path)
    together = next((of_day[:2] for _, of_day in sorted(days.items()) if len(of_day) > 1), None)
    if together is None:
        pytest.skip(f"no two captures of one day in {recordings}")
    for path in together:
        with gzip.open(path, "rt") as lines:
            (tmp_path / path.name).write_text("".join(islice(lines, LINES)))
    prefixes = {path.name: "BINANCE-FUTURES:" for path in together if path.name.startswith("usdm")}
    report = perpetuals.run([tmp_path / path.name for path in together], url, tmp_path, prefixes)
    assert report.wrong == []
    assert {"return_leader_1s", "return_leader_10s"} <= report.known


def test_a_value_a_row_and_a_null_that_differ_are_told() -> None:
    report = perpetuals.Report()
    wanted = pd.DataFrame({"basis_bps": [1.0, 2.0, None]}, index=[1, 2, 3])
    found = pd.DataFrame({"basis_bps": [1.0, 2.000001, 0.0]}, index=[1, 2, 3])
    report.compare(DERIVATIVES, "X", found, wanted)
    report.compare(DERIVATIVES, "X", wanted[:2], wanted)
    report.compare(DERIVATIVES, "X", wanted, wanted[:2])
    assert [line.partition(",")[0] for line in report.wrong] == [
        "derivatives of X: basis_bps differs in 2 rows",
        "derivatives of X: 1 rows are missing",
        "derivatives of X: 1 rows are too many",
    ]

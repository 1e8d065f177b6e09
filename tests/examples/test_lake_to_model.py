"""The example that goes from files to predictions runs, and its model serves only what the kernels of its frame compute."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from feature_repo.stores.endpoints import DATA_VARIABLE
from feature_repo.stores.offline.append import append_rows
from transforms import catalog
from transforms.kernels import versions_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "lake_to_model.py"
VIEW = catalog.MICROSTRUCTURE


def test_the_example_runs_from_a_market_to_predictions_that_are_checked(data_dir: Path) -> None:
    """An hour of two symbols, in a folder of its own."""
    environ = {**os.environ, DATA_VARIABLE: str(data_dir)}
    command = [sys.executable, str(EXAMPLE), "--hours", "1", "--every", "1s"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert re.search(r"[1-9]\d* days of views were written", done.stdout)
    assert re.search(r"SIM-BTC +forward_log_return_10s [+-]\d", done.stdout)
    assert re.search(r"SIM-ETH +forward_log_return_10s [+-]\d", done.stdout)
    assert re.search(r"passed: .*\n.* 0 differ", done.stdout), "what was served is what the offline rows have"
    folder = data_dir / "lake_to_model"
    model, frame = (json.loads((folder / name).read_text()) for name in ("model.json", "frame.parquet.manifest.json"))
    assert model["manifest"] == frame
    ranking = json.loads((folder / "ranking.json").read_text())["features"]
    assert model["features"][0] == ranking[0]["name"]
    assert ranking[0]["name"] in done.stdout


def test_a_model_is_not_served_by_kernels_of_another_version(
    train_model, serve_model, store, pipeline, tmp_path, monkeypatch, capsys
) -> None:
    versions = {name: version for name, version in versions_of(VIEW).items() if name in ("mid", "imbalance")}

    def put(seconds_ago: int, changed: dict[str, int]) -> None:
        at = np.array([int(datetime.now(UTC).timestamp() - seconds_ago) * 1_000_000])
        values, silent = np.full((1, len(VIEW.features)), 1.0), np.zeros(1, np.int64)
        append_rows(pipeline.postgres, VIEW, ["A"], at, at, values, silent, versions=versions | changed)

    made = {"kernels": versions, "recomputed": True, "rows": 9}
    zero = np.zeros(1)
    model = train_model.Ridge(np.arange(1), zero, zero + 1, zero, 0.0)
    data = {VIEW.name: {"made_by": [made]}}
    saved = train_model.Saved("signal_v1", "label", ("mid_price",), model, {"data": data})
    saved.write(tmp_path / "model.json")
    saved = train_model.Saved.read(tmp_path / "model.json")
    assert serve_model.check_kernels(store, saved, ["A"], 0.0) == ["no row of A was served in 0 s"]
    put(20, {})
    assert serve_model.check_kernels(store, saved, ["A"]) == []
    put(10, {"mid": versions["mid"] + 1})
    monkeypatch.setattr(serve_model, "FeatureStore", lambda **_: store)
    assert serve_model.main([str(tmp_path / "model.json"), "A", "--rounds", "1"]) == 1
    assert "mid made rows of microstructure in version 1, and now in 1 or 2" in capsys.readouterr().err

"""The notebook runs from its first cell to its last, and what its last cells say is true."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import feast
import numpy as np
import pandas as pd

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_features.ipynb"


def test_every_cell_of_the_notebook_runs(store, tmp_path, monkeypatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setattr(feast, "FeatureStore", lambda **_: store)  # the tests' definitions, on the tests' servers
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    space: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's own
        for cell in cells:
            exec(compile("".join(cell["source"]), cell["id"], "exec"), space)  # noqa: S102  # our own file

    frame, columns, label = space["frame"], space["columns"], space["label"]
    assert len(frame) == 18 * 60 + 1
    assert (frame[columns].iloc[120:].notna().mean() > 0.9).all()
    # the label, from the mid prices of the file: a backfilled row is known a second after its time
    books = pd.read_csv("books.csv")
    best = np.array(
        [[json.loads(bids)[0][0], json.loads(asks)[0][0]] for bids, asks in zip(books.bids, books.asks, strict=True)]
    )
    mids = pd.Series(np.log(best.mean(axis=1)), pd.to_datetime(books.timestamp, unit="ms", utc=True))
    t = frame["event_timestamp"].iloc[600]
    expected = mids[: t + pd.Timedelta(seconds=30)].iloc[-1] - mids[: t - pd.Timedelta(seconds=1)].iloc[-1]
    assert abs(frame[label].iloc[600] - expected) < 1e-12
    assert set(space["statuses"]) <= {"PRESENT", "OUTSIDE_MAX_AGE"}

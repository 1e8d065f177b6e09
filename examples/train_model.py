"""A model that is trained on ``signal_v1`` and tested on later data.

After a demo, or with any history in the offline store, and its server up::

    python -m ingest servers up
    python examples/train_model.py --symbols SIM-BTC,SIM-ETH --hours 4 --horizon 30

The frame is the store's own (features as they were known at each moment, the forward return after it). The split is by time, and
purged: a label of the training set looks ``horizon`` ahead, so the last ``horizon`` before the test set is in neither. What the model
needs to know of the data (means, deviations, which columns, how much to shrink) comes from the training set alone. The model is a ridge
regression; the score is out of sample, against the training mean, with a standard error that knows that labels overlap. On a simulated
market there is little to find, and the score says so.

``--save model.json`` keeps the model; ``examples/serve_model.py`` predicts with it from the online store. ``examples/lake_to_model.py``
goes the whole way, from files over the lake and a ranking of the features to predictions.
"""
# ruff: noqa: T201 - an example prints

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from feast import FeatureStore
from numpy.typing import NDArray

import feature_repo
from feature_repo.training import frames

Floats = NDArray[np.float64]
SHRINK = (1e1, 1e2, 1e3, 1e4, 1e5)
"""Ridge penalties tried, in rows' worth of evidence."""
SERVICE = "signal_v1"
"""The feature service whose features the model may use."""
FILLED = 0.5
"""Share of training rows in which a feature must have a value to be used."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows by time: microseconds, features with NaN for null, the label."""

    t_us: NDArray[np.int64]
    x: Floats
    y: Floats
    names: tuple[str, ...]

    def rows(self, chosen: NDArray[np.bool_]) -> Frame:
        """Some of the rows."""
        return Frame(self.t_us[chosen], self.x[chosen], self.y[chosen], self.names)


def frame_of(table: pa.Table, label: str) -> Frame:
    """A training frame's rows that have a label, oldest first."""
    keys = ("symbol", "event_timestamp")
    names = tuple(n for n in table.column_names if n not in keys and not n.startswith(label))
    t_us = table.column("event_timestamp").cast(pa.int64()).to_numpy()
    columns = [table.column(n).cast(pa.float64()).to_numpy(zero_copy_only=False) for n in names]
    y = table.column(label).to_numpy(zero_copy_only=False)
    order = np.argsort(t_us, kind="stable")
    order = order[~np.isnan(y[order])]
    return Frame(t_us[order], np.column_stack(columns)[order], y[order], names)


def split(frame: Frame, share: float, horizon: timedelta) -> tuple[Frame, Frame]:
    """The first ``share`` of the time, and what begins after it; no label of the first looks at or past the beginning of the second.

    >>> t = np.arange(10, dtype=np.int64) * 1_000_000
    >>> frame = Frame(t, np.zeros((10, 1)), np.zeros(10), ("x",))
    >>> past, future = split(frame, 0.5, timedelta(seconds=2))
    >>> (past.t_us // 1_000_000).tolist(), (future.t_us // 1_000_000).tolist()
    ([0, 1, 2], [5, 6, 7, 8, 9])
    """
    begin = frame.t_us[0] + round((frame.t_us[-1] - frame.t_us[0] + 1) * share)
    ahead = horizon // timedelta(microseconds=1)
    return frame.rows(frame.t_us + ahead < begin), frame.rows(frame.t_us >= begin)


@dataclass(frozen=True, slots=True)
class Ridge:
    """A linear model of standardised features; a null counts as the feature's mean."""

    used: NDArray[np.int64]
    mean: Floats
    deviation: Floats
    weights: Floats
    bias: float

    def predict(self, x: Floats) -> Floats:
        """The expected label of each row, with the same bits whichever rows are beside it, which a matrix product does not promise."""
        x = np.ascontiguousarray(x[:, self.used])
        return np.asarray((_standard(x, self.mean, self.deviation) * self.weights).sum(axis=1) + self.bias, np.float64)


@dataclass(frozen=True, slots=True)
class Saved:
    """A model as a file keeps it: the service that it reads, the label that it predicts, its features by name, in its own order, and the
    manifest of the frame that it was trained on, where there is one."""

    service: str
    label: str
    features: tuple[str, ...]
    model: Ridge
    manifest: Mapping[str, Any] | None = None

    def write(self, path: Path) -> None:
        """Write JSON; its numbers are the shortest ones that give the same bits again."""
        content = {
            "service": self.service,
            "label": self.label,
            "features": self.features,
            "mean": self.model.mean.tolist(),
            "deviation": self.model.deviation.tolist(),
            "weights": self.model.weights.tolist(),
            "bias": self.model.bias,
            "manifest": self.manifest,
        }
        path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Saved:
        """Read what `write` wrote."""
        content = json.loads(path.read_text())
        mean, deviation, weights = (np.array(content[name], np.float64) for name in ("mean", "deviation", "weights"))
        model = Ridge(np.arange(len(mean)), mean, deviation, weights, content["bias"])
        return cls(content["service"], content["label"], tuple(content["features"]), model, content.get("manifest"))


def fit(frame: Frame, shrink: float) -> Ridge:
    """Ridge regression; features that are mostly null or constant are left out."""
    filled = ~np.isnan(frame.x)
    candidates = np.flatnonzero(filled.mean(axis=0) >= FILLED)
    mean, deviation = _moments(frame.x[:, candidates])
    varies = deviation > 1e-12 * (1.0 + np.abs(mean))
    used, mean, deviation = candidates[varies], mean[varies], deviation[varies]
    x, bias = _standard(frame.x[:, used], mean, deviation), float(frame.y.mean())
    weights = np.asarray(np.linalg.solve(x.T @ x + shrink * np.eye(len(used)), x.T @ (frame.y - bias)), np.float64)
    return Ridge(used, mean, deviation, weights, bias)


def _moments(x: Floats) -> tuple[Floats, Floats]:
    return np.asarray(np.nanmean(x, axis=0), np.float64), np.asarray(np.nanstd(x, axis=0), np.float64)


def _standard(x: Floats, mean: Floats, deviation: Floats) -> Floats:
    return np.nan_to_num(np.clip((x - mean) / deviation, -5.0, 5.0), nan=0.0)


@dataclass(frozen=True, slots=True)
class Score:
    """Out of sample. ``gain`` is the share of the baseline's squared error that the model takes away: 0 is no better, below is worse."""

    rows: int
    gain: float
    standard_error: float
    direction: float

    def __str__(self) -> str:
        found = (
            "more than chance explains"
            if self.gain > 2 * self.standard_error
            else "nothing that chance does not explain"
        )
        return (
            f"R² against the training mean {self.gain:+.4f} ± {self.standard_error:.4f} on {self.rows:,} rows, "
            f"direction right {self.direction:.1%} of the time: {found}"
        )


def score(model: Ridge, baseline: float, test: Frame, horizon: timedelta) -> Score:
    """Judge a model. The standard error is that of the mean over blocks of twice the horizon, since labels closer than it overlap."""
    predicted = model.predict(test.x)
    gained = (test.y - baseline) ** 2 - (test.y - predicted) ** 2
    scale = float(((test.y - baseline) ** 2).mean())
    block = (test.t_us - test.t_us[0]) // (2 * (horizon // timedelta(microseconds=1)))
    means = np.array([gained[block == b].mean() for b in np.unique(block)])
    error = float(means.std(ddof=1) / np.sqrt(len(means))) / scale if len(means) > 1 else float("nan")
    moved = test.y != 0.0
    return Score(
        len(test.y), float(gained.mean()) / scale, error, float(((predicted[moved] > 0) == (test.y[moved] > 0)).mean())
    )


def train(frame: Frame, horizon: timedelta) -> tuple[Ridge, Score]:
    """Choose the penalty on the last quarter of the training time, fit on all of it, and judge on the last third of everything.

    Raises
    ------
    ValueError
        There are too few rows for that.
    """
    past, future = split(frame, 2 / 3, horizon)
    early, late = split(past, 3 / 4, horizon) if len(past.y) else (past, past)
    if min(len(early.y), len(late.y), len(future.y)) < 50:
        raise ValueError(f"{len(frame.y)} rows with a label are too few: each part of the split needs 50")
    best = min(SHRINK, key=lambda s: float(((fit(early, s).predict(late.x) - late.y) ** 2).mean()))
    model = fit(past, best)
    return model, score(model, float(past.y.mean()), future, horizon)


def main(argv: Sequence[str] | None = None) -> int:
    """Train and report."""
    parser = argparse.ArgumentParser(description="A ridge regression on signal_v1; an example.")
    parser.add_argument("--symbols", required=True, help="comma-separated; their rows are pooled")
    parser.add_argument("--hours", type=float, default=4.0, help="of history before the end (default 4)")
    parser.add_argument("--end", type=datetime.fromisoformat, help="ISO time with a zone (default: now)")
    parser.add_argument("--every", type=float, default=1.0, metavar="S", help="seconds between rows (default 1)")
    parser.add_argument("--horizon", type=float, default=30.0, metavar="S", help="of the forward return (default 30)")
    parser.add_argument("--save", type=Path, metavar="PATH", help="keep the model as JSON")
    args = parser.parse_args(argv)
    every, horizon = timedelta(seconds=args.every), timedelta(seconds=args.horizon)
    end = (args.end or datetime.now(UTC)).replace(microsecond=0)
    store = FeatureStore(repo_path=str(Path(feature_repo.__file__).parent))
    tables = frames.slices(
        store, SERVICE, args.symbols.split(","), end - timedelta(hours=args.hours), end, every, horizon
    )
    frame = frame_of(pa.concat_tables(tables), frames.label_name(horizon))
    try:
        model, result = train(frame, horizon)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(frame.y):,} rows, {len(model.used)} of {len(frame.names)} features used")
    heaviest = sorted(zip(np.abs(model.weights), model.used, strict=True), reverse=True)[:5]
    print("heaviest:", ", ".join(frame.names[i] for _, i in heaviest))
    print(result)
    if args.save:
        names = tuple(frame.names[i] for i in model.used)
        Saved(SERVICE, frames.label_name(horizon), names, model).write(args.save)
        print(f"saved as {args.save}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

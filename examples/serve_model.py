"""A trained model, served: it reads the newest features and prints what it expects of each symbol.

Train it first, then run it beside a pipeline, for the symbols of the feed::

    python examples/train_model.py --symbols SIM-BTC,SIM-ETH --save model.json
    python examples/serve_model.py model.json SIM-BTC SIM-ETH --every 1

The model is given exactly what training gave it: the same service, the features by name in the model's order, null where the value is
unknown or older than its view's ttl. A null counts as the feature's mean, as it did in training. Where more than half of the features
are null, nothing is predicted, and the line says so. A model that has the manifest of its frame serves only what the same kernels compute:
it waits until rows were served, and ends if kernels of another version made them.
"""
# ruff: noqa: T201 - an example prints

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from feast import FeatureStore
from train_model import FILLED, Saved

import feature_repo
from feature_repo.training import manifest


def predictions(store: FeatureStore, saved: Saved, symbols: Sequence[str]) -> list[tuple[str, float | None, float]]:
    """Each symbol, the expected label, and the share of the features that have a value; None where that share is too small."""
    online = store.get_online_features(
        store.get_feature_service(saved.service, allow_cache=True), [{"symbol": s} for s in symbols]
    )
    x = online.to_numpy(saved.features)  # null is NaN
    filled = (~np.isnan(x)).mean(axis=1)
    expected = saved.model.predict(x)
    return [
        (symbol, float(value) if share >= FILLED else None, float(share))
        for symbol, value, share in zip(symbols, expected, filled, strict=True)
    ]


def check_kernels(store: FeatureStore, saved: Saved, symbols: Sequence[str], patience_s: float = 120.0) -> list[str]:
    """What the fleet computes otherwise than the rows of the model's frame were; wait until it has written rows."""
    deadline = time.monotonic() + patience_s
    while saved.manifest is not None:
        now = datetime.now(UTC)
        span, nothing = (now - timedelta(minutes=1), now), timedelta(0)
        data = manifest.data_version(store, saved.service, symbols, span, nothing, nothing, labelled=False)
        if manifest.served_kernels(data):
            return manifest.other_kernels(saved.manifest["data"], data)
        if time.monotonic() > deadline:
            return [f"no row of {', '.join(symbols)} was served in {patience_s:.0f} s"]
        time.sleep(0.5)
    return []


def main(argv: Sequence[str] | None = None) -> int:
    """Print a prediction of each symbol, round after round."""
    parser = argparse.ArgumentParser(description="Predictions of a saved model from the online store; an example.")
    parser.add_argument("model", type=Path, help="what train_model.py --save wrote")
    parser.add_argument("symbols", nargs="+")
    parser.add_argument("--every", type=float, default=1.0, metavar="S", help="seconds between rounds (default 1)")
    parser.add_argument("--rounds", type=int, metavar="N", help="end after N rounds (default: never)")
    args = parser.parse_args(argv)
    saved = Saved.read(args.model)
    store = FeatureStore(repo_path=str(Path(feature_repo.__file__).parent))
    left = args.rounds
    try:
        if wrong := check_kernels(store, saved, args.symbols):
            print("error: this model was trained on other features:", *wrong, sep="\n  ", file=sys.stderr)
            return 1
        while left is None or left > 0:
            for symbol, value, share in predictions(store, saved, args.symbols):
                told = "no prediction" if value is None else f"{saved.label} {value:+.6f}"
                print(f"{symbol:12} {told}, {share:.0%} of the features have a value", flush=True)
            left = None if left is None else left - 1
            if left != 0:
                time.sleep(args.every)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

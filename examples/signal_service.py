"""A signal service: it reads the newest features several times a second, and acts only on values that are present.

Run it beside a pipeline, for the symbols of the feed::

    python -m ingest servers up && feast -c feature_repo apply
    SENTIMENT_MODEL=embedded python -m ingest run >run.log 2>&1 &
    python -m ingest simulate --history 20m >simulate.log 2>&1 &
    python examples/signal_service.py SIM-BTC SIM-ETH --every 0.5

Every feature comes with a status. PRESENT is a value, or null if the feature is unknown (too little history, a gap in the book).
OUTSIDE_MAX_AGE means that the value was too old, NOT_FOUND that there was never one. The service uses present values only: it does not
replace a missing value by 0, and it says which feature was missing. The rule itself is an example, not advice.
"""
# ruff: noqa: T201 - an example prints

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from feast import FeatureService, FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

import feature_repo

NEEDED = ("imbalance_l5", "spread_pct", "price_momentum_1m", "volatility_1m")
"""What the rule reads; the others of the vector are there for a model."""


@dataclass(frozen=True, slots=True)
class Value:
    """One feature as it was served."""

    value: float | None
    status: str
    age_s: float


@dataclass(frozen=True, slots=True)
class Signal:
    """What to do with a symbol, ``buy``, ``sell`` or ``hold``, and why."""

    symbol: str
    action: str
    why: str


def read(store: FeatureStore, service: FeatureService, symbols: Sequence[str], now_s: float) -> list[dict[str, Value]]:
    """The features of each symbol, in one round trip."""
    response = store.get_online_features(service, [{"symbol": s} for s in symbols])
    names = list(response.proto.metadata.feature_names.val)
    values = response.to_dict()
    return [
        {
            name: Value(
                values[name][i],
                FieldStatus.Name(column.statuses[i]),
                now_s - column.event_timestamps[i].seconds - column.event_timestamps[i].nanos / 1e9,
            )
            for name, column in zip(names, response.proto.results, strict=True)
            if name != "symbol"
        }
        for i in range(len(symbols))
    ]


def decide(symbol: str, features: Mapping[str, Value]) -> Signal:
    """Follow the book where it leans clearly, is cheap to trade in and the price does not run the other way."""
    values = []
    for name in NEEDED:
        got = features[name]
        if got.status != "PRESENT":
            return Signal(symbol, "hold", f"{name} is {got.status}")
        if got.value is None:
            return Signal(symbol, "hold", f"{name} is null")
        values.append(got.value)
    imbalance, spread_pct, momentum, volatility = values
    if spread_pct > 0.02:
        return Signal(symbol, "hold", f"the spread is {spread_pct:.4f} %")
    if imbalance > 0.5 and momentum > -volatility:
        return Signal(symbol, "buy", f"imbalance {imbalance:+.2f}")
    if imbalance < -0.5 and momentum < volatility:
        return Signal(symbol, "sell", f"imbalance {imbalance:+.2f}")
    return Signal(symbol, "hold", f"imbalance {imbalance:+.2f}")


def signals(
    store: FeatureStore,
    symbols: Sequence[str],
    *,
    every_s: float = 0.5,
    rounds: int | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Signal]:
    """A signal of each symbol, round after round."""
    service = store.get_feature_service("feature_vector_v1")  # once: a call for it reads the registry
    due = clock()
    while rounds is None or rounds > 0:
        for symbol, features in zip(symbols, read(store, service, symbols, clock()), strict=True):
            yield decide(symbol, features)
        rounds = None if rounds is None else rounds - 1
        due = max(due + every_s, clock())  # a slow round is not made up for
        sleep(max(0.0, due - clock()))


def main(argv: Sequence[str] | None = None) -> int:
    """Print each change of a symbol's signal."""
    parser = argparse.ArgumentParser(description="Signals from the online store; an example.")
    parser.add_argument("symbols", nargs="+")
    parser.add_argument("--every", type=float, default=0.5, metavar="S", help="seconds between rounds (default 0.5)")
    parser.add_argument("--rounds", type=int, metavar="N", help="end after N rounds (default: never)")
    args = parser.parse_args(argv)
    store = FeatureStore(repo_path=str(Path(feature_repo.__file__).parent))
    last: dict[str, tuple[str, str]] = {}
    try:
        for signal in signals(store, args.symbols, every_s=args.every, rounds=args.rounds):
            if last.get(signal.symbol) != (signal.action, signal.why):
                last[signal.symbol] = (signal.action, signal.why)
                print(f"{signal.symbol:12} {signal.action:5} {signal.why}", flush=True)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

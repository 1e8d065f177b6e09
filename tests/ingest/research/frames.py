"""Made-up frames of a price that walks at random, with features that look back, and some that do not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ingest.research.frame import Frame

SECOND = 1_000_000
T0 = 1_704_067_200 * SECOND  # 2024-01-01
AROUND = 200
"""Steps of the price before the first row and after the last one."""


class Walk:
    """A price of `rows` seconds, some before and some after; a momentum `told` moves it a little a second later."""

    def __init__(self, seed: int, rows: int, told: float = 0.0) -> None:
        self.generator = np.random.default_rng(seed)
        self.rows = rows
        n = rows + 2 * AROUND
        self.told = np.empty(n)
        news = self.generator.standard_normal(n)
        self.told[0] = news[0]
        for i in range(1, n):
            self.told[i] = 0.7 * self.told[i - 1] + 0.714 * news[i]
        moves = self.generator.standard_t(4, n) * 1e-4
        moves[1:] += told * 1.4e-4 * self.told[:-1]
        self.log = np.cumsum(moves)
        self.at = np.arange(AROUND, AROUND + rows)

    def past(self, seconds: int, later: int = 0) -> NDArray[np.float64]:
        """The return of the last `seconds`, as one would know it `later`."""
        return self.log[self.at + later] - self.log[self.at + later - seconds]

    def coming(self, seconds: int) -> NDArray[np.float64]:
        """The return of the next `seconds`."""
        return self.log[self.at + seconds] - self.log[self.at]

    def price(self, later: int = 0) -> NDArray[np.float64]:
        """The price."""
        return 100 * np.exp(self.log[self.at + later])

    def average(self, weight: float, later: int = 0) -> NDArray[np.float64]:
        """An exponential moving average of the price."""
        prices = 100 * np.exp(self.log)
        found = prices.copy()
        for i in range(1, len(found)):
            found[i] = found[i - 1] + weight * (prices[i] - found[i - 1])
        return found[self.at + later]

    def noise(self) -> NDArray[np.float64]:
        """Independent values."""
        return self.generator.standard_normal(self.rows)


def frame(features: Mapping[str, NDArray[np.float64]], returns: Mapping[int, NDArray[np.float64]]) -> Frame:
    """A frame of one symbol with a row a second; horizons in seconds."""
    n = len(next(iter(features.values())))
    times = T0 + np.arange(n) * SECOND
    by_horizon = {seconds * SECOND: values for seconds, values in returns.items()}
    return Frame((slice(0, n),), times, tuple(features), np.column_stack(list(features.values())), by_horizon, SECOND)


def write(path: Path, one: Frame, symbol: str = "A") -> Path:
    """Write a frame as ``training-frame`` does."""
    columns = {"symbol": [symbol] * len(one.t_us), "event_timestamp": pa.array(one.t_us, pa.timestamp("us", "UTC"))}
    columns |= {name: pa.array(values, from_pandas=True) for name, values in zip(one.names, one.x.T, strict=True)}
    columns |= {
        f"forward_log_return_{horizon / SECOND:g}s": pa.array(values, from_pandas=True)
        for horizon, values in one.returns.items()
    }
    pq.write_table(pa.table(columns), path)
    return path

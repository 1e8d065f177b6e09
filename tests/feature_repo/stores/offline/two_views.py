"""Rows and entity frames of the views `quick` and `slow`, which the fixture `store` holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
from feast import FeatureStore

from feature_repo.stores.timescale import TimescaleOfflineStore

T0 = datetime(2024, 1, 1, tzinfo=UTC)

FEATURES = ["quick:a", "quick:n", "slow:b"]


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def put(store: FeatureStore, name: str, rows: list[tuple[Any, ...]]) -> None:
    """Write rows ``(symbol, event, created, feature ...)`` of a view; times in seconds after `T0`."""
    view = store.get_feature_view(name)
    columns = ["symbol", "event_timestamp", "created_timestamp", *(f.name for f in view.features)]
    timed = [(r[0], at(r[1]), at(r[2]), *r[3:]) for r in rows]
    data = pa.table({c: [r[i] for r in timed] for i, c in enumerate(columns)})
    TimescaleOfflineStore.offline_write_batch(store.config, view, data, None)


def asked(*rows: tuple[Any, float], **extra: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"symbol": [s for s, _ in rows], "event_timestamp": [at(t) for _, t in rows], **extra})

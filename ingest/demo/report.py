"""The demo's page ``demo/report.html`` in the current folder: what the stores hold at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from feast import FeatureStore

from feature_repo.stores.endpoints import postgres_url
from ingest.demo import data, page
from ingest.settings import Settings
from transforms.times import datetime_of_us

PATH = Path("demo/report.html")
SYMBOLS_DRAWN = 6


def write(
    store: FeatureStore,
    settings: Settings,
    symbols: Sequence[str],
    span_us: tuple[int, int],
    done: Mapping[str, int],
    delays_ms: Sequence[float] | None,
) -> Path:
    """Read the stores, write the page for the first few symbols and the time of `span_us`, and return its path.

    `done` holds what this run accepted, refused and wrote, by counter. `delays_ms` was measured by ``data.watch`` while the market was
    live; it is None for a recording.
    """
    shown = list(symbols)[:SYMBOLS_DRAWN]
    live = delays_ms is not None
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        if delays_ms is None:
            delays_ms = data.recorded_delays(connection, shown, *span_us)
        online = data.online(store, shown)
        content = {
            "about": _about(shown, span_us, live=live),
            "series": data.series(store, shown, *span_us),
            "online": online,
            "served": _served(online, live=live),
            "example": data.example(store, connection, shown[0], span_us[1]),
            "latency": _latency(delays_ms, settings.allowed_lateness_ms, live=live),
            "tiles": _tiles(done, online),
        }
    page.write(PATH, content)
    return PATH.resolve()


def _about(symbols: Sequence[str], span_us: tuple[int, int], *, live: bool) -> str:
    start, end = (datetime_of_us(t) for t in span_us)
    until = f"{end:%H:%M:%S}" if start.date() == end.date() else f"{end:%d %b %Y %H:%M:%S}"
    what = "a simulated market whose last seconds were live" if live else "recordings, replayed at their own times"
    return f"{', '.join(symbols)}: {what}. {start:%d %b %Y %H:%M:%S} to {until} UTC."


def _served(online: Mapping[str, Any], *, live: bool) -> str:
    statuses = Counter(cell["status"] for row in online["rows"] for cell in row["cells"])
    as_of = "now" if live else "as of the recording's end"
    told = ", ".join(f"{n} {status}" for status, n in sorted(statuses.items()))
    return (
        f"Every symbol in one read of {online['took_ms']:.1f} ms, {as_of}: {told}. A number is PRESENT and has its age beside it. A value "
        f"older than its view's ttl is null, OUTSIDE_MAX_AGE; {data.ABSENT} shows what an unknown symbol returns."
    )


def _tiles(done: Mapping[str, int], online: Mapping[str, Any]) -> list[tuple[str, str]]:
    total: Counter[str] = Counter()
    for name, n in done.items():
        total[name.partition(".")[0]] += n
    shape = f"{len(online['symbols'])} symbols, {len(online['rows'])} features"
    return [
        (f"{total['accepted']:,}", "messages accepted in this run"),
        (f"{total['refused']:,}", "refused, kept with the reason"),
        (f"{total['rows']:,}", "rows written to both stores"),
        (f"{online['took_ms']:.1f} ms", f"online read of {shape}"),
    ]


def _latency(delays_ms: Sequence[float], wait: int, *, live: bool) -> dict[str, Any]:
    ms = [round(delay, 3) for delay in delays_ms]
    if live:
        return {
            "title": "From the boundary of the grid to readable",
            "text": f"{len(ms)} rows of three views, seen to arrive online while the market was live, by a reader that reads every "
            f"few milliseconds. A row waits {wait} ms on purpose for late messages. It does not wait for the next message of its symbol: "
            "the simulated market tells its clock, as the live feeds of Binance do.",
            "ms": ms,
            "marks": [{"name": f"allowed lateness {wait} ms", "ms": wait}],
            "source": "get_online_features, called repeatedly in the live seconds of this demo",
        }
    return {
        "title": "From the boundary of the grid to known",
        "text": "created_timestamp minus event_timestamp of the rows of the view microstructure: when each could be known, by the "
        "receive times of the recording; 0 where the recorder's clock ran behind. To measure how long this machine takes, run the demo "
        "without a recording: then its market is live.",
        "ms": ms,
        "marks": [],
        "source": "the offline table microstructure",
    }

"""Labels of recorded markets of four venues, from their files to the frame, against loops over the books and trades in them.

Nothing of the loops was computed by this project: ``captures`` reads the files itself, or the reference that lies beside them.
"""

from __future__ import annotations

import gzip
import json
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, nan
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from msgspec.structs import replace

import feature_repo
from feature_repo.stores.endpoints import POSTGRES_VARIABLE
from feature_repo.training.definitions import Barriers, Label, label_of
from ingest.cli import main
from ingest.messages.kinds import OrderBook, Trade
from ingest.recordings.binance import Binance
from ingest.recordings.lines import read_lines
from tests.conftest import new_database
from tests.feature_repo.training import loops
from tests.ingest.training import captures
from tests.ingest.training.captures import Capture

SECOND = 1_000_000
DELAY = SECOND
"""A backfilled row counts as known so long after its time."""
TTL = {"book": 10 * SECOND, "trade": 60 * SECOND}
LABELS = [
    *("--horizon", "1s", "10s", "60s", "5m"),
    *("--price", "mid", "trade", "long", "short"),
    *("--barriers", "2:1:30s", "0:1.5:5s", "1:0:60s"),
    *("--volatility", "volatility_1m"),
    "--weights",
]
STEP = {"binance": 2, "okcoin": 13, "coinbase": 1, "kraken": 1}
"""Seconds between the rows of a frame."""
REASONS = {
    "binance": {None, "no_price", "no_volatility", "hole", "end"},
    "okcoin": {None, "no_price", "no_volatility", "end"},
    "coinbase": {None, "no_price", "no_volatility", "end"},  # half a minute, so there is no volatility of a minute
    "kraken": {None, "no_price", "no_volatility", "end"},
}
"""Why labels are null in it; None stands for labels that are given."""


@dataclass(frozen=True)
class Framed:
    """A capture, its frame, and for each symbol the last time for which there are rows of its book."""

    capture: Capture
    table: pa.Table
    ends: dict[str, int]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory, servers: Any, definitions: list[Any]) -> Iterator[Path]:
    """A repository with a database and a tape, which the commands take for their own."""
    folder = tmp_path_factory.mktemp("captures") / "feature_repo"
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(
        "project: trading\nprovider: feature_repo.stores.provider.TradingProvider\nregistry: registry.db\n"
        "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
        "offline_store: {type: feature_repo.stores.timescale.TimescaleOfflineStore}\n"
    )
    with pytest.MonkeyPatch.context() as patch, new_database(servers.postgres_url) as url:
        patch.setenv(POSTGRES_VARIABLE, url)
        patch.setenv("TFS_TAPE", str(folder.parent / "tape"))
        patch.setenv("TFS_PARTITIONS", "2")
        patch.setattr(feature_repo, "__file__", str(folder / "__init__.py"))
        FeatureStore(repo_path=str(folder)).apply(definitions)
        yield folder.parent


@pytest.fixture(scope="module", params=["binance", "okcoin", "coinbase", "kraken"])
def framed(request: pytest.FixtureRequest, repo: Path, recordings: Path) -> Framed:
    """The frame of a capture: imported, computed from the tape, joined and labelled by the commands."""
    made = {
        "binance": lambda: captures.binance(recordings),
        "okcoin": lambda: captures.okcoin(recordings),
        "coinbase": lambda: captures.coinbase(recordings, repo, "SKL-USD", "DASH-BTC"),
        "kraken": lambda: captures.kraken(recordings, repo, "XMR/USD", "SC/EUR"),
    }
    capture = made[request.param]()
    assert main(["import", *map(str, capture.paths), *capture.options]) == 0
    assert main(["backfill", "--from-tape"]) == 0
    return frame(capture, repo / f"{capture.name}.parquet")


def frame(capture: Capture, path: Path) -> Framed:
    """Write the frame of a capture, from before its first message until after the last one, and read it."""
    times = [ms for of in (capture.books, capture.trades) for told in of.values() for ms, *_ in told]
    span = (min(times) // 1000 - 2, max(times) // 1000 + 3)
    start, end = (datetime.fromtimestamp(second, UTC).isoformat() for second in span)
    command = ["training-frame", "--symbols", *capture.books, "--start", start, "--end", end, *LABELS]
    assert main([*command, "--every", f"{STEP[capture.name]}s", "-o", str(path)]) == 0
    ends = {}
    with psycopg.connect(os.environ[POSTGRES_VARIABLE]) as connection:
        for symbol in capture.books:
            query = "SELECT max(event_timestamp) FROM microstructure WHERE symbol = %s"
            ((newest,),) = connection.execute(query, (symbol,)).fetchall()
            ends[symbol] = round(newest.timestamp() * SECOND)
    return Framed(capture, pq.read_table(path), ends)


def definitions_of(table: pa.Table) -> list[Label]:
    """Return the labels that the file names."""
    described = json.loads(table.schema.metadata[b"labels"])
    return [label_of({name: value for name, value in one.items() if name != "column"}) for one in described]


def book_rows(framed: Framed, symbol: str, price: str) -> list[loops.Row]:
    """Return the prices of the book at each second of the grid: those of the last book up to then, for ten seconds after it."""
    told, found, n = framed.capture.books[symbol], [], 0
    for t in range(ceil(told[0][0] / 1000) * SECOND, framed.ends[symbol] + 1, SECOND):
        while n < len(told) and told[n][0] * 1000 <= t:
            n += 1
        ms, bid, ask = told[n - 1]
        if t - ms * 1000 <= TTL["book"]:
            mid = (bid + ask) / 2
            found.append((t, *{"mid": (mid, mid), "long": (ask, bid), "short": (bid, ask)}[price]))
    return found


def trade_rows(framed: Framed, symbol: str) -> list[loops.Row]:
    """Return each trade."""
    return [(ms * 1000, price, price) for ms, price in framed.capture.trades.get(symbol, [])]


def expected(definition: Label, framed: Framed, symbol: str, moments: list[int], units: list[float]) -> list[Any]:
    """Return what `loops.label` gives at each moment, of the prices that can matter to it."""
    is_trade = definition.price == "trade"
    rows = trade_rows(framed, symbol) if is_trade else book_rows(framed, symbol, definition.price)
    newest = max((t for t, enter, _ in rows if enter == enter), default=-1)
    ttl, delay = TTL["trade" if is_trade else "book"], 0 if is_trade else DELAY
    around = definition.longest_pause // timedelta(microseconds=1) + ttl + delay
    horizon = definition.horizon // timedelta(microseconds=1)
    side = -1 if definition.price == "short" else 1
    heard = [ms * 1000 for ms, *_ in framed.capture.books[symbol]]
    times = [row[0] for row in rows]
    found = []
    for t, unit in zip(moments, units, strict=True):
        near = rows[bisect_left(times, t - around) : bisect_right(times, t + horizon + around)]
        before = [row[0] for row in near if row[0] <= t - delay]
        if before and not is_trade:  # a price is used for ten seconds after its book
            before = [heard[bisect_right(heard, before[-1]) - 1]]
        if not before or before[-1] < t - ttl:
            found.append((nan, nan, None, None, "no_price"))
        else:
            found.append(loops.label(definition, near, t, unit, side, delay, newest))
    return found


def test_every_label_and_weight_equals_a_loop_over_the_recorded_prices(framed: Framed) -> None:
    table = framed.table
    definitions = definitions_of(table)
    assert len(definitions) == 4 * 4 + 3 * 4
    times = table["event_timestamp"].cast(pa.int64()).to_pylist()
    told = {name: table[name].to_pylist() for name in table.column_names}
    reasons, touches = set(), set()
    for symbol in framed.capture.books:
        rows = [i for i, of in enumerate(told["symbol"]) if of == symbol]
        moments = [times[i] for i in rows]
        units = [nan if told["volatility_1m"][i] is None else told["volatility_1m"][i] for i in rows]
        for definition in definitions:
            name, ends = definition.column, []
            for i, (value, came, end, touch, missing) in zip(
                rows, expected(definition, framed, symbol, moments, units), strict=True
            ):
                where = (name, symbol, (times[i] - times[rows[0]]) / SECOND)
                reasons.add(missing)
                touches.add(touch)
                ends.append(end)
                assert told[f"{name}_missing"][i] == missing, where
                if isinstance(definition, Barriers):
                    assert told[name][i] == (None if missing else value), where
                    assert told[f"{name}_touch"][i] == touch, where
                    known = told[f"{name}_end"][i]
                    assert (None if known is None else round(known.timestamp() * SECOND)) == end, where
                    name_of_return = f"{name}_return"
                else:
                    name_of_return = name
                given = told[name_of_return][i]
                assert given == (None if missing else pytest.approx(came, rel=1e-9, abs=1e-12)), where
            weights = loops.weights(moments, ends)
            assert [told[f"{name}_weight"][i] for i in rows] == [
                None if weight is None else pytest.approx(weight, rel=1e-12) for weight in weights
            ]
    assert reasons == REASONS[framed.capture.name]
    if framed.capture.name in ("binance", "okcoin"):
        assert touches == {None, "horizon", "profit", "loss"}


MOVED = 24
MOVED_S = 140


def test_moving_any_price_changes_labels_whose_time_it_is_in_and_no_feature_before_it_is_known(
    repo: Path, recordings: Path
) -> None:
    """The first minutes of a capture under many names, in each of which one book or one trade is elsewhere."""
    path = recordings / "ws_binance_hftbacktest" / "spot_ethusdt_20240808.jsonl.gz"
    feed = Binance(5000)
    messages = [output.message for line in read_lines(path) for output in feed.parse(line)]
    first = min(one.timestamp for one in messages)
    messages = [one for one in messages if one.timestamp < first + 1000 * MOVED_S]
    rng = np.random.default_rng(1)
    # where a book is not the last one of a second, no price of the grid moves
    last_of_second = [i for i, one in enumerate(messages) if isinstance(one, OrderBook) and one.timestamp % 1000 >= 900]
    moved = [None, *rng.choice(len(messages), MOVED // 2), *rng.choice(last_of_second, MOVED // 2)]
    with gzip.open(repo / "moved.jsonl.gz", "wb", compresslevel=1) as file:
        for i, one in enumerate(messages):
            for n, at in enumerate(moved):
                changed = _elsewhere(one) if i == at else one
                file.write(msgspec.json.encode(replace(changed, symbol=f"MOVED:{n}")) + b"\n")
    assert main(["import", str(repo / "moved.jsonl.gz")]) == 0
    assert main(["backfill", "--from-tape"]) == 0
    start, end = (datetime.fromtimestamp(first // 1000 + s, UTC).isoformat() for s in (0, MOVED_S))
    symbols = [f"MOVED:{n}" for n in range(len(moved))]
    command = ["training-frame", "--symbols", *symbols, "--start", start, "--end", end, *LABELS]
    assert main([*command, "-o", str(repo / "moved.parquet")]) == 0
    table = pq.read_table(repo / "moved.parquet")
    features = json.loads(table.schema.metadata[b"features"])
    whole, *others = (table.filter(pc.equal(table["symbol"], name)) for name in symbols)
    times = whole["event_timestamp"].cast(pa.int64()).to_pylist()
    assert sum(whole[name].null_count < len(whole) // 2 for name in features) > 50
    changed = known = 0
    for at, other in zip(moved[1:], others, strict=True):
        one, is_trade = messages[at], isinstance(messages[at], Trade)
        on_grid = -(-one.timestamp // 1000) * SECOND
        begun = one.timestamp * 1000 if is_trade else on_grid  # the first price of a label that is another one
        before = sum(t < on_grid + DELAY for t in times)  # the rows that cannot know it
        assert whole.select(features).slice(0, before) == other.select(features).slice(0, before)
        known += whole.select(features).slice(before, 1) != other.select(features).slice(before, 1)
        for definition in definitions_of(table):
            name, horizon = definition.column, definition.horizon // timedelta(microseconds=1)
            for column in (c for c in table.column_names if c == name or c.startswith(f"{name}_")):
                pairs = zip(whole[column].to_pylist()[:before], other[column].to_pylist()[:before], strict=True)
                for t in (t for t, (a, b) in zip(times[:before], pairs, strict=True) if a != b):
                    changed += 1
                    assert is_trade == (definition.price == "trade")
                    # a trade is the first price of a label from its own time on; a weight depends on the labels beside it
                    assert t < begun <= t + horizon or (is_trade and t >= begun) or column.endswith("_weight")
    assert changed > 500
    assert known > MOVED // 2, "the next row knows it"


def _elsewhere(message: OrderBook | Trade) -> OrderBook | Trade:
    """Return a message whose prices are 1 % higher."""
    if isinstance(message, Trade):
        return replace(message, price=message.price * 1.01)
    sides = ([(price * 1.01, size) for price, size in side] for side in (message.bids, message.asks))
    return replace(message, **dict(zip(("bids", "asks"), sides, strict=True)))

"""Depth of a capture whose sizes are contracts that only the instruments file tells: by hand, in each way through the system."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
import redis

from ingest.backfill.run import backfill
from ingest.check.recording import Messages
from ingest.feeds.binance_addresses import VENUES
from ingest.feeds.binance_live import BinanceFeed
from ingest.messages.decode import decode
from ingest.messages.kinds import OrderBook
from ingest.publish.outlet import Outlet
from ingest.recordings.columns import GivenColumns
from ingest.recordings.lines import read_lines
from ingest.replay import replay
from ingest.settings import Settings
from ingest.streams import keys
from transforms.instrument import Instrument

T0 = 1_723_161_255_000
PREFIX = "BINANCE-FUTURES:"
SETTINGS = Settings(partitions=1, instruments={f"{PREFIX}COINUSDT": Instrument(contract_size=100.0, inverse=True)})
COLUMNS = GivenColumns(prefixes=(("*", PREFIX),))
SNAPSHOT = {
    "lastUpdateId": 9,
    "bids": [["1000", "3"], ["999.5", "4"], ["900", "50"]],
    "asks": [["1001", "5"], ["1003", "7"]],
}
DIFF = {"e": "depthUpdate", "E": T0 + 100, "s": "COINUSDT", "U": 10, "u": 12, "pu": 9, "b": [], "a": []}
# n contracts of 100 USD are worth 100 n USD at every price; m = 1000.5, so 10 bps reach 999.4995 and 1001.5005
DEPTH = ((700.0, 700.0, 700.0), (500.0, 1200.0, 1200.0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "coin.jsonl"
    lines = [(T0, SNAPSHOT), (T0 + 101, DIFF)]
    path.write_text("".join(f"{ms * 1_000_000} {json.dumps(body)}\n" for ms, body in lines))
    return path


def test_depth_of_contracts_counts_by_the_instruments_file_in_a_replay(path: Path, redis_client: redis.Redis) -> None:
    replay([path], redis_client, SETTINGS, columns=COLUMNS)
    (entry,) = [fields for _, fields in redis_client.xrange(keys.events(0)) if fields[b"kind"] == b"book"]
    assert decode(OrderBook, entry[b"data"]).depth == DEPTH


def test_depth_of_contracts_counts_by_the_instruments_file_in_a_backfill(path: Path, postgres_url: str) -> None:
    backfill([path], postgres_url, SETTINGS, columns=COLUMNS)
    columns = ", ".join(f"depth_{side}_{bps}bps" for side in ("bid", "ask") for bps in (10, 25, 50))
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(f"SELECT {columns} FROM microstructure").fetchall()  # noqa: S608
    assert rows == [(*DEPTH[0], *DEPTH[1])]


def test_depth_of_contracts_counts_by_the_instruments_file_in_the_checks(path: Path) -> None:
    ((_, book),) = Messages([path], SETTINGS, [], COLUMNS)
    assert book.depth == DEPTH


def test_depth_of_contracts_counts_by_the_instruments_file_in_the_live_feed(path: Path) -> None:
    outlet = Outlet(redis.Redis(), SETTINGS, prefix=PREFIX)  # never connects
    venue = VENUES["binance-futures"]
    feed = BinanceFeed(venue, ["COINUSDT"], outlet, 5000, instrument=SETTINGS.instrument)
    (book,) = feed._parse([(line, None) for line in read_lines(path)])
    assert book.message.depth == DEPTH  # type: ignore[union-attr]

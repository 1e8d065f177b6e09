"""bits(online) = bits(offline) = bits(backfill): a recording is replayed through real servers, read back by Feast, and backfilled."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec

from ingest.backfill.posts import score_posts
from ingest.backfill.run import backfill
from ingest.check.recording import StandIn
from ingest.messages.kinds import SocialPost, Tick
from ingest.publish.publisher import Publisher
from ingest.recordings.own import KIND_OF_STREAM
from ingest.replay import messages, replay
from ingest.sentiment.history import History
from ingest.simulate import history
from tests.leaders import with_rows
from transforms.catalog import CONTEXT, VIEWS
from transforms.instrument import Instrument

FOLLOWERS = ("ODD",)
MIDNIGHT = 1_700_006_400_000
DELAY = timedelta(hours=1)
"""Tells the rows of the backfill: no live row is so late."""
STREAM = {kind: stream for stream, kind in KIND_OF_STREAM.items()}


def bits(value):
    return None if value is None else struct.pack("<d", value)


def as_bits(values):
    return tuple(map(bits, values))


def taken(postgres, delay=None):
    """Take the rows out of all tables, by view, symbol and time: else a row that is made again with the same values would not be stored.

    With ``delay`` each must have been created so long after its time.
    """
    found = {}
    for view in VIEWS:
        query = f"SELECT symbol, event_timestamp, created_timestamp, {', '.join(view.names)} FROM {view.name}"  # noqa: S608 - the catalogue's
        for symbol, event, created, *values in postgres.execute(query):
            assert delay is None or created - event == delay
            assert (view.name, symbol, event) not in found
            found[view.name, symbol, event] = as_bits(values)
        postgres.execute(f"TRUNCATE {view.name}")
    return found


def online(store, symbol):
    """What Feast serves of a symbol, by view, symbol and the time that it says of it."""
    found = {}
    for view in VIEWS:
        names = [f"{view.name}:{name}" for name in view.names]
        response = store.get_online_features(names, [{"symbol": symbol}]).to_dict(include_event_timestamps=True)
        seconds = {response[f"{name}__ts"][0] for name in view.names}
        assert len(seconds) == 1
        [second] = seconds
        if second:
            at = datetime.fromtimestamp(second, UTC)
            found[view.name, symbol, at] = as_bits(response[name][0] for name in view.names)
    return found


def three_ways(pipeline, store, symbols):
    """Work off the logs, reading online after every turn; all that was served is held against the table."""
    store._get_provider().online_store.clock = lambda: 0  # whatever is there is young enough
    worker = pipeline.worker()
    served = {}
    while worker.step():
        worker.flush()
        for symbol in symbols:
            served |= online(store, symbol)
    worker.flush()
    worker.close()
    for symbol in symbols:
        served |= online(store, symbol)
    pipeline.store_rows()
    return served


def check(served, live, filled, symbols, turns):
    assert live.keys() == filled.keys()
    assert [key for key in live if live[key] != filled[key]] == []
    assert served.keys() <= live.keys()
    assert [key for key in served if served[key] != live[key]] == []
    for view in {view for view, _, _ in live}:
        for symbol in symbols:
            if view == CONTEXT.name and symbol not in FOLLOWERS:
                continue
            times = [at for of, s, at in served if (of, s) == (view, symbol)]
            assert max(times) == max(at for of, s, at in live if (of, s) == (view, symbol))
            assert len(times) >= turns


def test_both_captures_give_the_same_bits_online_offline_and_backfilled(recordings, pipeline, store, postgres_url):
    captures = sorted((recordings / "ws_binance_hftbacktest").glob("*.jsonl.gz"))
    replay(captures, pipeline.client, pipeline.settings)
    symbols = ("BTCUSDT", "ETHUSDT")
    served = three_ways(pipeline, store, symbols)
    live = taken(pipeline.postgres)
    backfill(captures, postgres_url, pipeline.settings, delay_ms=DELAY // timedelta(milliseconds=1))
    filled = taken(pipeline.postgres, DELAY)
    assert {view for view, _, _ in live} == {"microstructure", "order_flow", "technical", "normalized"}
    assert len(live) > 2 * 4 * 340
    check(served, live, filled, symbols, 3)


def test_a_simulated_market_with_posts_gives_the_same_bits_in_every_view(pipeline, store, postgres_url, tmp_path):
    symbols = ("SIM-BTC", "ODD")
    instruments = {**pipeline.settings.instruments, **{name: Instrument(leader="SIM-BTC") for name in FOLLOWERS}}
    pipeline.settings = replace(pipeline.settings, instruments=instruments)
    path = tmp_path / "simulated.jsonl"
    with path.open("wb") as file:
        for kind, message in history(MIDNIGHT - 500_000, MIDNIGHT + 100_000, symbols=symbols, seed=6):
            fields = {f: getattr(message, f) for f in message.__struct_fields__}
            file.write(msgspec.json.encode({"stream": STREAM[kind], **fields}) + b"\n")
    posts, market = [], []
    for kind, message in messages([path]):
        (posts if isinstance(message, SocialPost) else market).append((kind, message))
    texts, refused = score_posts([post for _, post in posts], pipeline.settings, StandIn(), History(None))
    assert not refused
    end = max(message.timestamp for _, message in market)
    lasts = {symbol: max(m.timestamp for _, m in market if m.symbol == symbol) for symbol in symbols}
    ticks = [("tick", Tick(-(-last // 1000) * 1000, symbol)) for symbol, last in lasts.items()]
    with Publisher(pipeline.client, pipeline.settings.partitions) as publisher:
        for one in with_rows([*(("post", text) for text in texts), *market], ticks, pipeline.settings):
            publisher.publish(*one, recorded=True)
    assert end > MIDNIGHT
    served = three_ways(pipeline, store, symbols)
    live = taken(pipeline.postgres)
    backfill([path], postgres_url, pipeline.settings, delay_ms=DELAY // timedelta(milliseconds=1), load_model=StandIn)
    filled = taken(pipeline.postgres, DELAY)
    assert {view for view, _, _ in live} == {view.name for view in VIEWS}
    check(served, live, filled, symbols, 1)

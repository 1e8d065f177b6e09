"""History into the tables: the bits of a replay, once, in one process or several, carried on after a stop."""

import json
import math
import struct
from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
import psycopg
import pytest

from ingest import settings
from ingest.backfill import feed, table
from ingest.backfill import run as backfill_run
from ingest.backfill.posts import score_posts
from ingest.backfill.run import backfill
from ingest.check.recording import StandIn
from ingest.cli import main
from ingest.messages.decode import encode
from ingest.messages.kinds import SocialPost, Tick, WithdrawnPost
from ingest.recordings.own import KIND_OF_STREAM
from ingest.replay import messages
from ingest.sentiment.history import History
from ingest.simulate import history
from ingest.worker.partition import Partition
from tests.leaders import with_rows
from transforms.catalog import VIEWS, View
from transforms.times import us_of_datetime

MIDNIGHT = 1_700_006_400_000
CONF = settings.load({"TFS_PARTITIONS": "1"})
STREAM = {kind: stream for stream, kind in KIND_OF_STREAM.items()}

Rows = dict[tuple[str, str, int], bytes]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Two files: one symbol with posts across midnight, of which one is withdrawn, and two others."""
    folder = tmp_path_factory.mktemp("recordings")
    out = []
    for name, symbols in (("one", ("SIM-BTC",)), ("two", ("SIM-ETH", "ODD"))):
        path = folder / f"{name}.jsonl"
        with path.open("wb") as file:
            for kind, message in history(MIDNIGHT - 120_000, MIDNIGHT + 60_000, symbols=symbols, seed=2):
                fields = {f: getattr(message, f) for f in message.__struct_fields__}
                file.write(msgspec.json.encode({"stream": STREAM[kind], **fields}) + b"\n")
                if kind == "social" and message.timestamp < MIDNIGHT:
                    told = {"id": message.id, "source": message.source, "deleted": True, "timestamp": MIDNIGHT + 10_000}
            if name == "one":
                file.write(msgspec.json.encode(told) + b"\n")
        out.append(path)
    return out


@pytest.fixture(scope="module")
def replayed(paths) -> Rows:
    """What the worker makes of them."""
    return replay(paths)


def replay(paths) -> Rows:
    """The rows of a replay of some recordings, by hand: posts first, then the market, then a tick a symbol."""
    posts, market = [], []
    for kind, message in messages(paths):
        (posts if isinstance(message, SocialPost) else market).append((kind, message))
    texts, refused = score_posts([post for _, post in posts], CONF, StandIn(), History(None))
    assert not refused
    assert sum(isinstance(text, WithdrawnPost) for text in texts) in (0, 1)
    entries = [("withdrawal" if isinstance(text, WithdrawnPost) else "post", text) for text in texts] + market
    last: dict[str, int] = {}
    for _, message in market:
        last[message.symbol] = max(message.timestamp, last.get(message.symbol, 0))
    ticks: list[tuple[str, Any]] = [("tick", Tick(-(-t // 1000) * 1000, symbol)) for symbol, t in last.items()]
    entries = with_rows(entries, ticks, CONF)
    partition = Partition(0, CONF)
    arrived = max(message.timestamp for _, message in entries) + 60_000
    for n, (kind, message) in enumerate(entries, 1):
        fields = {b"kind": kind.encode(), b"data": encode(message), b"recorded": b"1"}
        partition.process(b"%d-%d" % (arrived, n), fields, 0)
    rows: Rows = {}
    for batch in partition.pending.batches.values():
        if len(batch):
            c = batch.columns()
            silences = (c.silent_us // 1000).tolist()
            for symbol, t_us, values, silent_ms in zip(c.symbols, c.event_us.tolist(), c.values, silences, strict=True):
                rows[c.view.name, symbol, t_us] = struct.pack("q", silent_ms) + values.tobytes()
    return rows


def stored(url: str) -> tuple[Rows, set[timedelta]]:
    """All rows of all tables, and how long after its event each was available."""
    rows: Rows = {}
    delays: set[timedelta] = set()
    with psycopg.connect(url) as connection:
        for view in VIEWS:
            names = ", ".join(view.names)
            head = "symbol, event_timestamp, created_timestamp, feed_silence_ms"
            query = f"SELECT {head}, {names} FROM {view.name}"  # noqa: S608 - names of the catalogue
            for symbol, event, created, silent_ms, *values in connection.execute(query):
                t_us = us_of_datetime(event)
                assert (view.name, symbol, t_us) not in rows
                rows[view.name, symbol, t_us] = struct.pack("q", silent_ms) + packed(view, values)
                delays.add(created - event)
    return rows, delays


def differing(a: Rows, b: Rows) -> list:
    """The first rows that only one has, or that have other bits."""
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))[:3]


def packed(view: View, values: list) -> bytes:
    return struct.pack(f"{len(view.features)}d", *(math.nan if v is None else float(v) for v in values))


def test_the_rows_are_those_of_a_replay_to_the_bit_and_as_late_as_was_said(paths, replayed, postgres_url):
    done = backfill(paths, postgres_url, CONF, delay_ms=250, load_model=StandIn)
    rows, delays = stored(postgres_url)
    assert {view.name for view in VIEWS} == {view for view, _, _ in replayed}
    assert differing(rows, replayed) == []
    assert delays == {timedelta(milliseconds=250)}
    assert (done.made, done.new, done.skipped) == (len(replayed), len(replayed), 0)
    assert done.symbols == {"SIM-BTC", "SIM-ETH", "ODD"}
    assert done.lines == sum(len(path.read_bytes().splitlines()) for path in paths)


def test_both_captures_give_the_rows_of_their_replay(recordings, postgres_url):
    names = [f"spot_{symbol}_20240808" for symbol in ("btcusdt", "ethusdt")]
    captures = [recordings / "ws_binance_hftbacktest" / f"{name}.jsonl.gz" for name in names]
    told = Counter(kind for path in captures for kind, _ in messages([path]))
    done = backfill(captures, postgres_url, CONF)
    assert done.lines == 41_249 + 33_618  # as their description counts them
    assert done.taken == told and told["trade"] == 9_757 + 6_106
    assert differing(stored(postgres_url)[0], replay(captures)) == []


def test_several_processes_give_the_same_rows(paths, replayed, postgres_url):
    done = backfill(paths, postgres_url, CONF, jobs=3, load_model=StandIn)
    assert differing(stored(postgres_url)[0], replayed) == []
    assert done.lines == sum(len(path.read_bytes().splitlines()) for path in paths)


def test_a_second_run_writes_nothing(paths, replayed, postgres_url):
    backfill(paths, postgres_url, CONF, load_model=StandIn)
    again = backfill(paths, postgres_url, CONF, load_model=StandIn)
    assert (again.made, again.new, again.skipped) == (len(replayed), 0, len(replayed))
    later = backfill(paths, postgres_url, CONF, delay_ms=2000, load_model=StandIn)
    assert (later.made, later.new, later.skipped) == (len(replayed), len(replayed), 0), "of another delay"
    rows, delays = stored(postgres_url)
    assert differing(rows, replayed) == [] and delays == {timedelta(seconds=2)}


def test_a_run_that_was_stopped_is_carried_on(paths, replayed, postgres_url, monkeypatch):
    monkeypatch.setattr(feed, "CHECK_EVERY", 100)
    monkeypatch.setattr(table, "ROWS", 200)

    class Stopped(Exception):
        pass

    def stop(done):
        if done.taken["book"] > 900:  # after midnight
            raise Stopped

    with pytest.raises(Stopped):
        backfill(paths, postgres_url, CONF, load_model=StandIn, progress=stop)
    before = stored(postgres_url)[0]
    assert 0 < len(before) < len(replayed)
    done = backfill(paths, postgres_url, CONF, load_model=StandIn)
    assert differing(stored(postgres_url)[0], replayed) == []
    assert done.new == len(replayed) - len(before)
    with psycopg.connect(postgres_url) as connection:
        days = connection.execute("SELECT symbol, day::text FROM backfill_done ORDER BY 1, 2").fetchall()
    assert days == [(s, f"2023-11-{d}") for s in ("ODD", "SIM-BTC", "SIM-ETH") for d in (14, 15)]


def test_bad_lines_are_counted_with_their_reasons_and_cost_nothing_else(paths, replayed, postgres_url, tmp_path):
    lines = paths[0].read_bytes().splitlines()
    trades = [line for line in lines if b"market_data" in line]
    bad = [b'{"stream": "market_data"', trades[5], b'{"stream":"nonsense"}']
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b"\n".join([*lines[:200], *bad[:1], *lines[200:], *bad[1:]]))
    done = backfill([path], postgres_url, CONF, load_model=StandIn)
    assert done.refused == {"undecodable": 1, "late": 1, "wrong_type": 1}
    assert differing(stored(postgres_url)[0], {key: row for key, row in replayed.items() if key[1] == "SIM-BTC"}) == []


def test_posts_without_a_model_are_an_error_before_anything_is_written(paths, postgres_url):
    with pytest.raises(ValueError, match="no model"):
        backfill(paths, postgres_url, CONF)
    assert stored(postgres_url)[0] == {}


def test_the_command_counts_and_tells_a_missing_file(paths, tmp_path, postgres_url, monkeypatch, capsys):
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    path = tmp_path / "market.jsonl"
    path.write_bytes(b"\n".join(line for line in paths[0].read_bytes().splitlines() if b"social_data" not in line))
    assert main(["backfill", str(path), "--available-after", "5s", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["symbols"] == ["SIM-BTC"] and report["taken"]["book"] == 360 and report["refused"] == {}
    assert report["rows"] == report["rows_new"] > 500
    assert stored(postgres_url)[1] == {timedelta(seconds=5)}
    assert main(["backfill", str(path), "--available-after", "5s"]) == 0
    assert f"{report['rows']:,} of finished days" in capsys.readouterr().out
    assert main(["backfill", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_another_instrument_is_another_run(paths):
    scans = [backfill_run._digest(path) for path in paths]
    one = backfill_run.run_digest(scans, CONF, 1000, "", {})
    assert one == backfill_run.run_digest(scans, CONF, 1000, "", {})
    finer = settings.load({"TFS_PARTITIONS": "1", "TFS_EMIT_INTERVAL_MS": "500"})
    assert one != backfill_run.run_digest(scans, finer, 1000, "", {})
    assert one != backfill_run.run_digest(scans[:1], CONF, 1000, "", {})

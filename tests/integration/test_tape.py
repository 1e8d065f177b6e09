"""A period of the tape, exported and replayed into an empty deployment, gives the rows of the live run, bit for bit."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from ingest import settings
from ingest.backfill.posts import score_posts
from ingest.check.recording import StandIn
from ingest.cli import main
from ingest.messages.envelope import HEARD_LIVE
from ingest.messages.kinds import Gap, SocialPost, Tick, Trade
from ingest.publish.publisher import Publisher
from ingest.sentiment.history import History
from ingest.simulate import history
from ingest.streams import keys
from ingest.tape.role import Follower
from ingest.tape.table import open_to_append
from transforms.catalog import VIEWS

START_MS = 1_700_000_000_000
SYMBOLS = ("SIM-BTC", "SIM-ETH")


def rows(postgres: psycopg.Connection) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The rows of all tables, by view, symbol and time."""
    found = {}
    for view in VIEWS:
        query = f"SELECT symbol, event_timestamp, {', '.join(view.names)} FROM {view.name}"  # noqa: S608 - the catalogue's
        for symbol, event, *values in postgres.execute(query):
            bits = tuple(None if value is None else struct.pack("<d", value) for value in values)
            assert found.setdefault((view.name, symbol, event), bits) == bits
    return found


def publish_live(client: Any, partitions: int) -> None:
    """Append books, trades, scored posts, a gap and the ticks of quiet seconds, as live parts do."""
    told = list(history(START_MS, START_MS + 90_000, symbols=SYMBOLS, seed=3))
    posts = [message for _, message in told if isinstance(message, SocialPost)]
    texts, _ = score_posts(posts, settings.Settings(), StandIn(), History(None))
    market = [(kind, message) for kind, message in told if not isinstance(message, SocialPost)]
    at = START_MS + 20_000
    extra: list[tuple[str, Any]] = [("post", text) for text in texts]
    # too old when it arrives, as it does not say when it was received
    extra += [("trade", Trade(START_MS, "OLD", 1.0, 1.0)), ("tick", Tick(START_MS + 95_000, "OLD"))]
    extra += [("gap", Gap(at, SYMBOLS[0], at)), *(("tick", Tick(START_MS + 95_000, symbol)) for symbol in SYMBOLS)]
    with Publisher(client, partitions) as publisher:
        for kind, message in sorted([*market, *extra], key=lambda one: one[1].timestamp):
            publisher.publish(kind, message)


def test_an_exported_period_replays_to_the_live_rows(
    pipeline, redis_client, tmp_path: Path, monkeypatch, capsys
) -> None:
    conf = pipeline.settings = replace(pipeline.settings, tape=str(tmp_path / "tape"))
    publish_live(redis_client, conf.partitions)
    worker = pipeline.worker()
    pipeline.work(worker)
    worker.close()
    logs = [redis_client.xrange(keys.events(p)) for p in range(conf.partitions)]
    added = [redis_client.xinfo_stream(keys.events(p))["entries-added"] for p in range(conf.partitions)]
    assert [len(log) for log in logs] == added, "a log was trimmed before it was on the tape"
    follower = Follower(redis_client, open_to_append(conf, ""), conf.partitions)
    while follower.step():
        pass
    follower.append()
    pipeline.store_rows()
    live = rows(pipeline.postgres)
    assert len(live) > 100
    worker = pipeline.worker()
    pipeline.work(worker)
    worker.close()

    hour = tmp_path / "hour.jsonl.gz"
    now = datetime.now(UTC)
    monkeypatch.setenv("TFS_TAPE", conf.tape)
    monkeypatch.setenv("TFS_PARTITIONS", str(conf.partitions))
    period = [
        "--since",
        (now - timedelta(minutes=30)).isoformat(),
        "--before",
        (now + timedelta(minutes=30)).isoformat(),
    ]
    assert main(["tape", "verify"]) == 0
    assert main(["tape", "export", str(hour), *period]) == 0
    redis_client.flushall()
    for view in VIEWS:
        pipeline.postgres.execute(f"DELETE FROM {view.name}")  # noqa: S608 - the catalogue's
    assert main(["replay", str(hour)]) == 0
    replayed = [redis_client.xrange(keys.events(p)) for p in range(conf.partitions)]
    assert replayed == [[(at, {**fields, b"recorded": HEARD_LIVE}) for at, fields in log] for log in logs]
    redis_client.flushall()
    assert main(["replay", "--from-tape", *period]) == 0
    assert [redis_client.xrange(keys.events(p)) for p in range(conf.partitions)] == replayed
    worker = pipeline.worker()
    pipeline.work(worker)
    worker.close()
    pipeline.store_rows()
    assert rows(pipeline.postgres) == live
    entries = sum(map(len, logs))
    for given, expected in (
        (["--symbols", SYMBOLS[0]], sum(SYMBOLS[0].encode() in fields[b"data"] for log in logs for _, fields in log)),
        (["--limit", "7"], 7),
        (["--before", period[1]], 0),
        (["--since", period[1]], entries),
    ):
        redis_client.flushall()
        assert main(["replay", "--from-tape", *given]) == 0
        assert sum(redis_client.xlen(keys.events(p)) for p in range(conf.partitions)) == expected
    redis_client.flushall()
    assert main(["replay", str(hour)]) == 0
    assert main(["replay", str(hour)]) == 0  # the logs hold newer entries now: it gets new ids
    assert redis_client.xlen(keys.events(0)) > len(logs[0])
    capsys.readouterr()
    assert main(["replay", str(hour), "--rebase", "now"]) == 2
    monkeypatch.setenv("TFS_PARTITIONS", "3")
    redis_client.flushall()
    assert main(["replay", str(hour)]) == 2
    assert "set TFS_PARTITIONS" in capsys.readouterr().err
    assert main(["replay", "--from-tape"]) == 2
    assert "is of partitions" in capsys.readouterr().err

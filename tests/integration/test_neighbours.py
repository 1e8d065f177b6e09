"""Rows of leaders in the logs of those that follow: the same bits however a history comes in, and each row once whatever dies."""

from __future__ import annotations

import random
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import redis

from ingest.backfill.days.run import backfill_from_tape
from ingest.backfill.run import backfill
from ingest.cli import main
from ingest.messages.decode import decode
from ingest.messages.kinds import Gap, Neighbour, Tick
from ingest.publish.publisher import Publisher
from ingest.replay import replay
from ingest.settings import Settings
from ingest.simulate import history
from ingest.streams import keys
from ingest.tape.role import Follower
from ingest.tape.table import open_to_append
from ingest.worker import commit
from ingest.worker.worker import Worker
from transforms.catalog import CONTEXT, VIEWS
from transforms.instrument import Instrument

START_MS = 1_700_006_350_000  # 50 s before midnight
SYMBOLS = ("LEAD", "COIN", "COIN-SPOT", "X:COIN", "ALONE")
INSTRUMENTS = {
    "LEAD": Instrument(),
    "COIN": Instrument(leader="LEAD", pair="COIN-SPOT", asset="COIN"),
    "COIN-SPOT": Instrument(asset="COIN"),
    "X:COIN": Instrument(leader="LEAD", asset="COIN"),
}
STREAM = {"book": "order_book", "trade": "market_data"}
Rows = dict[tuple[str, str, Any], tuple[bytes | None, ...]]


def conf(partitions: int, **changed: Any) -> Settings:
    return replace(Settings(), partitions=partitions, instruments=INSTRUMENTS, **changed)


def take(postgres: psycopg.Connection) -> Rows:
    """The rows of all tables, by view, symbol and time; the tables are empty afterwards."""
    found: Rows = {}
    for view in VIEWS:
        query = f"SELECT symbol, event_timestamp, {', '.join(view.names)} FROM {view.name}"  # noqa: S608 - the catalogue's
        for symbol, event, *values in postgres.execute(query):
            assert (view.name, symbol, event) not in found
            found[view.name, symbol, event] = tuple(None if x is None else struct.pack("<d", x) for x in values)
        postgres.execute(f"TRUNCATE {view.name}")
    return found


def market(seconds: int = 420) -> list[tuple[str, Any]]:
    """Books and trades, some of them late or missing, in the order of arrival; each symbol ends at a time of its own."""
    chance = random.Random(5)
    found = []
    for kind, message in history(START_MS, START_MS + seconds * 1000, symbols=SYMBOLS, seed=4, kinds=("book", "trade")):
        second = (message.timestamp - START_MS) / 1000
        if (message.symbol == "X:COIN" and 100 < second < 130) or second > seconds - SYMBOLS.index(message.symbol):
            continue
        message.received = message.timestamp + chance.choice((3, 3, 3, 40, 200))
        if message.symbol == "LEAD" and 200 < second < 260:
            message.received += int(second * 37) % 4000  # too late for some rows of those that follow, and some refused
        found.append((kind, message))
    return sorted(found, key=lambda one: one[1].received)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording.jsonl"
    with path.open("wb") as file:
        for kind, message in market():
            fields = {f: getattr(message, f) for f in message.__struct_fields__}
            file.write(msgspec.json.encode({"stream": STREAM[kind], **fields}) + b"\n")
    return path


def told(client: redis.Redis, partitions: int) -> list[list[Neighbour]]:
    """The rows of neighbours in each log."""
    return [
        [
            decode(Neighbour, fields[b"data"])
            for _, fields in client.xrange(keys.events(p))
            if fields[b"kind"] == b"neighbour"
        ]
        for p in range(partitions)
    ]


def test_a_recording_gives_the_same_rows_in_any_partitions_backfilled_and_imported(
    recording: Path, pipeline, postgres_url: str, tmp_path: Path, monkeypatch
) -> None:
    found = {}
    for partitions in (1, 5):
        pipeline.client.flushall()
        pipeline.settings = conf(partitions, tape=str(tmp_path / "kept"))
        replay([recording], pipeline.client, pipeline.settings)
        pipeline.run()
        found[partitions] = take(pipeline.postgres)
    live = found[1]
    context = {key: values for key, values in live.items() if key[0] == CONTEXT.name}
    assert {symbol for _, symbol, _ in context} == {"COIN", "COIN-SPOT", "X:COIN"}
    known = Counter(name for values in context.values() for name, x in zip(CONTEXT.names, values, strict=True) if x)
    assert known.keys() == set(CONTEXT.names) - {"relative_strength_60m"}
    assert any(x is None for (_, symbol, _), values in context.items() if symbol == "COIN" for x in values[:3])
    assert found[5] == live

    for jobs in (1, 3):
        backfill([recording], postgres_url, conf(1), jobs=jobs, delay_ms=1000 + jobs)
        assert take(pipeline.postgres) == live

    monkeypatch.setenv("TFS_TAPE", str(tmp_path / "tape"))
    monkeypatch.setenv("TFS_PARTITIONS", "3")
    assert main(["import", str(recording)]) == 0
    taped = conf(3, tape=str(tmp_path / "tape"))
    for jobs in (1, 2):
        backfill_from_tape(postgres_url, taped, jobs=jobs, delay_ms=2000 + jobs)
        assert take(pipeline.postgres) == live


def play(client: redis.Redis, settings: Settings, workers: list[Worker], chance: random.Random) -> None:
    """Append the market live, a part at a time, with turns of the workers between; now and then one dies, and another begins."""
    messages: list[tuple[str, Any]] = market(150)
    messages += [("gap", Gap(START_MS + 40_000, "COIN", START_MS + 40_000))]
    messages.sort(key=lambda one: one[1].received)
    at = 0
    while at < len(messages):
        with Publisher(client, settings.partitions) as publisher:
            for kind, message in messages[at : (at := at + chance.randrange(1, 40))]:
                publisher.publish(kind, message)
        for i, worker in enumerate(workers):
            worker.step()
            if chance.random() < 0.3:
                worker.flush()
            if chance.random() < 0.02:
                client.delete(*(keys.owner(p) for p in worker.holds() or [99]))  # its leases end at once
                workers[i] = Worker(client, settings, clock, clock)
                workers[i].open()
    with Publisher(client, settings.partitions) as publisher:
        for symbol in SYMBOLS:
            publisher.publish("tick", Tick(START_MS + 151_000, symbol))
    for _ in range(2):  # what a leader's last rows tell comes behind the ticks
        for worker in workers:
            while worker.step():
                pass
            worker.flush()


def clock() -> int:
    return START_MS * 1000 + 160_000_000


@pytest.mark.parametrize("seed", [1, 2])
def test_a_live_market_gives_each_row_to_each_log_once_and_the_tape_gives_the_same_bits(
    seed: int, pipeline, postgres_url: str, tmp_path: Path
) -> None:
    client = pipeline.client
    settings = pipeline.settings = conf(5, tape=str(tmp_path / "tape"), forget_s=100_000)
    workers = [Worker(client, settings, clock, clock) for _ in range(2)]
    for worker in workers:
        worker.open()
    play(client, settings, workers, random.Random(seed))
    for worker in workers:
        worker.close()
    pipeline.run()
    live = take(pipeline.postgres)

    follower = Follower(client, open_to_append(settings, ""), settings.partitions)
    while follower.step():
        pass
    follower.append()
    backfill_from_tape(postgres_url, settings)
    assert take(pipeline.postgres) == live

    mids = {(symbol, at): values[0] for (view, symbol, at), values in live.items() if view == "microstructure"}
    of_log = {p: [name for name in SYMBOLS if keys.partition_of(name, 5) == p] for p in range(5)}
    for p, rows in enumerate(told(client, 5)):
        names = {
            name: sorted(f for f in followers if f in of_log[p]) for name, followers in settings.followers().items()
        }
        assert Counter((row.neighbour, row.timestamp) for row in rows) == Counter(
            (symbol, round(at.timestamp() * 1000)) for symbol, at in mids if names.get(symbol)
        )
        for row in rows:
            assert row.symbols == names[row.neighbour]
    context = [values for (view, *_), values in live.items() if view == CONTEXT.name]
    assert sum(x is not None for values in context for x in values) > len(context)


def test_a_worker_that_dies_before_its_commit_has_told_a_row_that_its_heir_does_not_tell_again(
    pipeline, monkeypatch
) -> None:
    client = pipeline.client
    pipeline.settings = conf(5, log_history_s=3600)
    with Publisher(client, 5) as publisher:
        for kind, message in market(20):
            publisher.publish(kind, message)
    first = pipeline.worker()

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(commit, "add_commit", die)
        with pytest.raises(KeyboardInterrupt):
            pipeline.work(first)
    before = told(client, 5)
    assert sum(map(len, before)) > 10
    client.delete(*(keys.owner(p) for p in range(5)), keys.members("worker"))
    heir = pipeline.worker()
    pipeline.work(heir)
    heir.close()
    for rows, of_before in zip(told(client, 5), before, strict=True):
        assert rows[: len(of_before)] == of_before
        assert max(Counter((row.neighbour, row.timestamp) for row in rows).values(), default=1) == 1
    assert sum(map(len, told(client, 5))) > sum(map(len, before))


def test_a_worker_tells_nothing_on_a_redis_that_did_not_give_its_lease(one_server, pipeline, monkeypatch) -> None:
    client = pipeline.client
    pipeline.settings = conf(5)
    with Publisher(client, 5) as publisher:
        for kind, message in market(20):
            publisher.publish(kind, message)
    worker = pipeline.worker()
    monkeypatch.setattr("ingest.worker.online.server_of", lambda token: "0" * 40)
    pipeline.work(worker)
    assert sum(map(len, told(client, 5))) == 0

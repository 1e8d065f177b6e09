"""Symbols that leave the memory of a worker, and come back."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import redis

from ingest import settings
from ingest.cli import main
from ingest.messages.kinds import Leave, OrderBook, ScoredPost, Tick, Trade, WithdrawnPost
from ingest.publish.publisher import Publisher
from ingest.streams import keys
from ingest.streams.idle_state import unpack
from ingest.tape.idle import IdleStates
from ingest.worker import idle_load
from ingest.worker.partition import Partition
from ingest.worker.worker import Worker

from .log import ASKS, BIDS, CONF, T0, Log, book, tick, trade

HOUR = 3_600_000


class Stored(Log):
    """A log whose partition keeps its idle symbols in a mapping, as the server does."""

    def __init__(self, conf: settings.Settings = CONF) -> None:
        super().__init__(conf)
        self.arrived_ms = T0 + 4 * HOUR
        self.server: dict[str, bytes] = {}
        self.checkpoint: dict[bytes, bytes] = {}
        self.partition = Partition(0, conf, self.load)

    def load(self, name: str) -> bytes | None:
        return unpack(self.server[name]).parts if name in self.server else None

    def save(self) -> None:
        self.checkpoint.update(self.partition.save())
        dropped, added, removed = self.partition.take_moves()
        for key in dropped:
            self.checkpoint.pop(key, None)
        for name in removed:
            self.server.pop(name, None)
        self.server.update(added)

    def restart(self) -> None:
        pending = self.partition.pending
        self.partition = Partition(0, CONF, self.load)
        self.partition.restore(dict(self.checkpoint))
        self.partition.pending = pending

    def leave(self, name: str = "A") -> None:
        self.append(("leave", Leave(T0, name, self.partition.symbols[name].timeline.arrivals)))


def post(ms: int, name: str) -> tuple[str, ScoredPost]:
    return "post", ScoredPost(T0 + ms, "A", name, T0 + ms, 1 << 9 * int(name), 0.6, 0.1, 0.3, source="x")


def rows(log: Log) -> dict[str, Any]:
    found = {name: batch.columns() for name, batch in log.partition.pending.batches.items() if len(batch)}
    return {name: (c.event_us.tobytes(), c.created_us.tobytes(), c.values.tobytes()) for name, c in found.items()}


@pytest.mark.parametrize("between", ["in the same commit", "after a commit", "after a restart"])
def test_a_symbol_that_left_the_memory_comes_back_to_the_bit(between: str) -> None:
    kept, left = Log(), Stored()
    day = [trade(i * 997, i, 100.0 + i % 7) for i in range(1, 300)] + [book(i * 1501, i) for i in range(1, 190)]
    for log in (kept, left):
        log.arrived_ms = T0 + 4 * HOUR
        log.append(*sorted(day, key=lambda one: one[1].timestamp), post(1000, "1"), tick(2 * HOUR))
    left.leave()
    assert left.partition.symbols == {} and list(left.partition.idle.names) == ["A"]
    if between != "in the same commit":
        left.save()
        assert set(left.server) == {"A"} and not any(key.startswith(b"A ") for key in left.checkpoint)
    if between == "after a restart":
        left.restart()
        assert left.partition.symbols == {}
    for log in (kept, left):
        log.append(*[trade(3 * HOUR + i * 997, 1000 + i, 101.0 + i % 5) for i in range(100)], post(3 * HOUR, "2"))
        log.append(post(3 * HOUR + 5000, "1"), tick(3 * HOUR + 200_000))
    assert rows(left) == rows(kept)
    assert left.partition.symbols["A"].save() == kept.partition.symbols["A"].save()
    left.save()
    assert left.server == {} and b"A order" in left.checkpoint


def test_a_symbol_that_starts_anew_with_other_kernels_and_leaves_is_no_longer_in_the_checkpoint() -> None:
    log = Stored()
    log.append(book(500), trade(600), tick(2 * HOUR))
    log.save()
    log.checkpoint[b"A engine"] = b"of another version"
    log.partition = Partition(0, CONF, log.load)
    log.partition.restart(log.partition.restore(dict(log.checkpoint)))
    log.leave()
    log.save()
    assert set(log.server) == {"A"} and not any(key.startswith(b"A ") for key in log.checkpoint)


def test_a_symbol_stays_while_it_has_rows_to_give_or_was_heard_since_its_owner_decided() -> None:
    log = Stored().append(book(500), trade(600), recorded=False)
    log.leave()
    assert "A" in log.partition.symbols  # its book has rows for ten seconds, its trades for five minutes
    log.append(tick(HOUR), recorded=False)
    decided = log.partition.symbols["A"].timeline.arrivals
    log.append(trade(HOUR + 1), recorded=True)
    log.append(("leave", Leave(T0, "A", decided)))
    assert "A" in log.partition.symbols
    log.leave()
    assert "A" not in log.partition.symbols


def test_configured_symbols_are_never_crowded_out_and_idle_ones_make_room() -> None:
    log = Stored(settings.load({"TFS_MAX_SYMBOLS": "3"}))
    log.append(
        *[("trade", Trade(T0, f"EVIL{i}", 1.0, 1.0)) for i in range(10)], ("trade", Trade(T0, "BTCUSDT", 1.0, 1.0))
    )
    assert log.reasons() == ["unknown_symbol"] * 7 and "BTCUSDT" in log.partition.symbols
    for name in ("EVIL0", "EVIL1", "EVIL2"):
        log.leave(name)
    assert list(log.partition.symbols) == ["BTCUSDT"]
    log.append(("trade", Trade(T0, "NEWUSDT", 1.0, 1.0)), ("trade", Trade(T0 + 1, "EVIL1", 1.0, 1.0)))
    assert set(log.partition.symbols) == {"BTCUSDT", "NEWUSDT", "EVIL1"} and len(log.reasons()) == 7


def test_the_states_of_invented_symbols_that_left_are_bounded_too() -> None:
    log = Stored(settings.load({"TFS_MAX_SYMBOLS": "2"}))
    for i in range(30):
        log.append(("trade", Trade(T0, f"EVIL{i}", 1.0, 1.0)))
        log.leave(f"EVIL{i}")
        log.save()
    assert set(log.server) == set(log.partition.idle.names) == {f"EVIL{i}" for i in range(10, 30)}
    assert log.partition.pending.counts["forgotten.symbols"] == 10


def test_names_that_are_made_anew_are_the_same_in_the_same_order() -> None:
    log = Stored(settings.load({}))
    for name in ("B", "A", "C"):
        log.append(("trade", Trade(T0, name, 1.0, 1.0)))
        log.leave(name)
    before = log.partition.idle.save()
    log.partition.idle.renew()
    assert list(log.partition.idle.names) == ["B", "A", "C"] and log.partition.idle.save() == before
    log.append(("trade", Trade(T0 + 1, "A", 1.0, 1.0)))
    assert list(log.partition.idle.names) == ["B", "C"]


def test_a_refused_message_opens_no_symbol_and_wakes_none() -> None:
    log = Stored()
    log.append(("trade", Trade(T0, "BAD1", -1.0, 1.0)), ("book", OrderBook(T0, "BAD2", ASKS, BIDS)))
    log.append(book(500), trade(600, 1), tick(HOUR))
    log.leave()
    log.append(trade(600, 1))
    assert log.reasons() == ["not_positive", "unsorted_side", "late"]
    assert log.partition.symbols == {} and list(log.partition.idle.names) == ["A"]


def test_a_post_is_withdrawn_from_a_symbol_that_left_the_memory() -> None:
    kept, left = Log(), Stored()
    for log in (kept, left):
        log.append(trade(500), post(600, "1"), post(700, "2"), tick(2000))
    left.leave()
    left.save()
    for log in (kept, left):
        log.append(("withdrawal", WithdrawnPost(T0 + 3000, "1", "x")), trade(4000), tick(6000))
    assert rows(left) == rows(kept)
    assert left.rows("social")[-1][2]["social_volume_5m"] == 1.0


def test_a_quiet_symbol_leaves_is_listed_comes_back_and_is_forgotten(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = settings.load({"TFS_PARTITIONS": "1", "TFS_FORGET_S": "3600"})
    monkeypatch.setenv("TFS_PARTITIONS", "1")
    monkeypatch.setattr(
        "ingest.worker.symbols_command.deployment.opened", lambda *_, **__: nullcontext((redis_client, conf))
    )
    steady_us = [0]
    worker = Worker(redis_client, conf, lambda: T0 * 1000 + steady_us[0], lambda: steady_us[0])
    worker.open()

    def work() -> list[dict[str, Any]]:
        while worker.step():
            pass
        worker._flush(worker._partitions.values(), save=True)
        capsys.readouterr()
        main(["symbols", "--json"])
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    with Publisher(redis_client, 1) as publisher:
        publisher.publish("trade", Trade(T0, "A", 1.0, 1.0, received=T0 + 5), recorded=True)
        publisher.publish("trade", Trade(T0, "B", 1.0, 1.0, received=T0 + 5), recorded=True)
    assert [(one["symbol"], one["state"], one["heard_ms"]) for one in work()] == [
        ("A", "open", T0 + 5),
        ("B", "open", T0 + 5),
    ]
    steady_us[0] = 3601 * 1_000_000
    with Publisher(redis_client, 1) as publisher:
        publisher.publish("trade", Trade(T0 + 1, "B", 1.0, 1.0, received=T0 + 7), recorded=True)
    work()
    found = work()
    assert [(one["symbol"], one["state"], one["heard_ms"]) for one in found] == [
        ("A", "idle", T0 + 5),
        ("B", "open", T0 + 7),
    ]
    assert 0 < found[0]["bytes"] < found[1]["bytes"] < 5_000
    assert redis_client.hkeys(keys.idle(0)) == [b"A"]
    with Publisher(redis_client, 1) as publisher:
        publisher.publish("trade", Trade(T0 + 9000, "A", 1.0, 1.0, received=T0 + 9000), recorded=True)
    assert [one["state"] for one in work()] == ["open", "open"]
    assert main(["symbols", "forget", "A", "NEVER"]) == 1
    assert [one["symbol"] for one in work()] == ["B"]
    assert not redis_client.exists(keys.idle(0))
    worker.close()


class Market:
    """A worker on a log with a tape in a folder, and a clock that the test moves."""

    def __init__(
        self, client: redis.Redis, folder: str, symbols: tuple[str, ...] = ("A",), partitions: int = 1
    ) -> None:
        self.client = client
        self.conf = settings.load(
            {"TFS_PARTITIONS": str(partitions), "TFS_FORGET_S": "60", "TFS_TAPE": folder, "TFS_SYMBOLS": ""}
        )
        Path(folder, "_delta_log").mkdir(parents=True, exist_ok=True)  # of the table, which workers look for
        self.symbols, self.partitions = symbols, partitions
        self.steady_us = 0
        self.start()

    def start(self) -> None:
        self.worker = Worker(self.client, self.conf, lambda: (T0 + 3_600_000) * 1000, lambda: self.steady_us)
        self.worker.open()

    def say(self, first: int, n: int) -> None:
        with Publisher(self.client, self.partitions) as publisher:
            for i in range(first, first + n):
                for name in self.symbols:
                    ms = T0 + i * 997
                    trade = Trade(ms, name, 100.0 + i % 7, 1.0, "buy", i + 1, received=ms)
                    publisher.publish("trade", trade, recorded=True)
            for name in self.symbols:  # nothing waits then, whose entry id would be in the state
                publisher.publish("tick", Tick(T0 + (first + n) * 997 - 10, name), recorded=True)
        self.work()

    def work(self) -> None:
        while self.worker.step():
            pass
        for partition in list(self.worker._partitions.values()):
            self.worker._flush([partition], save=True)

    def leave(self) -> None:
        """Let so much time pass that the symbols leave, and the role bring their states to the tape."""
        self.steady_us += 61_000_000
        self.work()
        self.work()
        assert not any(partition.symbols for partition in self.worker._partitions.values())
        assert IdleStates(self.client, self.conf).move() == len(self.symbols)

    def states(self) -> dict[str, dict[str, bytes]]:
        every = [one for partition in self.worker._partitions.values() for one in partition.symbols.values()]
        return {symbol.name: symbol.save() for symbol in every}


def test_a_state_comes_back_from_the_tape_to_the_bit_in_the_same_worker_and_in_the_next(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    kept = Market(redis_client, str(tmp_path / "none"))
    for first in (0, 100, 200):
        kept.say(first, 100)
    expected = kept.states()
    kept.worker.close()
    redis_client.flushall()
    market = Market(redis_client, str(tmp_path))
    market.say(0, 100)
    market.leave()
    market.say(100, 100)
    assert market.states().keys() == {"A"} and not redis_client.exists(keys.idle(0))
    market.leave()
    assert not [field for field in redis_client.hkeys(keys.checkpoint(0)) if field.startswith(b"A ")]
    market.worker.close()
    market.start()
    market.say(200, 100)
    assert market.states() == expected
    market.worker.close()


def test_a_worker_that_does_not_reach_the_folder_of_the_tape_says_so_and_forgets_no_state(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="TFS_IDLE_TO_TAPE=0"):
        idle_load.reader(str(tmp_path))("00-00")


def test_while_the_tape_is_away_the_log_waits_and_others_go_on(redis_client: redis.Redis, tmp_path: Path) -> None:
    by_partition = {keys.partition_of(name, 2): name for name in ("A", "B", "C", "D")}
    here, there = by_partition[0], by_partition[1]
    market = Market(redis_client, str(tmp_path), (here,), partitions=2)
    market.say(0, 50)
    market.leave()
    away = tmp_path / "_idle"
    away.rename(tmp_path / "moved")
    away.touch()  # a file in the place of the folder
    market.symbols = (here, there)
    market.say(50, 10)
    waits = market.worker._partitions[keys.events(0)]
    assert market.states().keys() == {there} and waits.position < redis_client.xrevrange(keys.events(0), count=1)[0][0]
    assert not redis_client.xlen(keys.letters(0))
    away.unlink()
    (tmp_path / "moved").rename(away)
    market.worker._waits._until.clear()
    market.work()
    assert market.states().keys() == {here, there}
    found = market.states()[here]
    market.worker.close()
    redis_client.flushall()
    kept = Market(redis_client, str(tmp_path), (here,), partitions=2)
    kept.say(0, 50)
    kept.say(50, 10)
    assert kept.states()[here] == found
    kept.worker.close()

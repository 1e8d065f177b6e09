"""The last trades that a live feed wrote, as its next run reads them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import redis

from ingest.messages.kinds import Clock, Hold, OrderBook, Trade
from ingest.publish.last_trades import LastTrades
from ingest.publish.outlet import Outlet
from ingest.recordings.binance_wire import LastTrade
from ingest.recordings.lines import Parsed
from ingest.settings import Settings

T0 = 1_700_000_000_000


def trade(number: int, at: int, symbol: str = "A", **more: Any) -> Parsed:
    return Parsed("trade", Trade(T0 + at, symbol, 100.5, 2.0, "buy", number, T0 + at, **more))


def book(at: int, symbol: str = "A") -> Parsed:
    return Parsed("book", OrderBook(T0 + at, symbol, [(1.0, 1.0)], [(2.0, 1.0)]))


def outlet(client: redis.Redis, **more: Any) -> Outlet:
    return Outlet(client, Settings(), **{"feed": "X:trade", "first_pause_s": 0.001, **more})


def test_the_next_run_reads_the_newest_trade_and_the_newest_time_that_were_written(redis_client) -> None:
    outlet(redis_client).write([book(1), trade(7, 10), trade(8, 12), trade(8, 12), book(15), trade(3, 4, "B")])
    found = outlet(redis_client).last_trades(["A", "B", "C"])
    assert found.keys() == {"A", "B"}
    assert (found["A"].id, found["A"].time_us, found["A"].price, found["A"].size) == (8, (T0 + 12) * 1000, 100.5, 2.0)
    assert found["A"].given_us == (T0 + 15) * 1000
    assert found["B"] == LastTrade(3, (T0 + 4) * 1000, 100.5, 2.0, (T0 + 4) * 1000, found["B"].written_ms)


def test_time_that_the_clock_passed_counts_as_written(redis_client) -> None:
    outlet(redis_client).write([trade(7, 10), book(15), Parsed("clock", Clock(T0 + 3250, ["A", "B"]))])
    found = outlet(redis_client).last_trades(["A", "B"])
    assert (found["A"].id, found["A"].given_us) == (7, (T0 + 3250) * 1000)
    assert "B" not in found


def test_symbols_are_stored_with_the_prefix_of_their_venue_and_forms_apart(redis_client) -> None:
    outlet(redis_client, prefix="V:").write([trade(7, 10)])
    assert outlet(redis_client, prefix="V:").last_trades(["A"])["A"].id == 7
    assert outlet(redis_client).last_trades(["A"]) == {}
    assert outlet(redis_client, prefix="V:", feed="X:aggTrade").last_trades(["A"]) == {}
    assert outlet(redis_client, prefix="V:", feed="").last_trades(["A"]) == {}


def test_a_venue_that_counts_from_a_lower_id_again_is_stored_so(redis_client) -> None:
    feed = outlet(redis_client)
    feed.write([trade(900, 10)])
    feed.write([trade(1, 20)])
    assert feed.last_trades(["A"])["A"].id == 1


def test_a_batch_that_redis_did_not_take_stores_nothing(redis_client, monkeypatch) -> None:
    feed = outlet(redis_client, attempts=1)
    feed.write([trade(7, 10)])
    monkeypatch.setattr(feed._producer, "_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        feed.write([trade(8, 11)])
    assert outlet(redis_client).last_trades(["A"])["A"].id == 7


def next_run(client: redis.Redis) -> LastTrades:
    """A run that starts five seconds after `T0`, and has read what is stored."""
    run = LastTrades(client, "X:trade", 4, lambda: (T0 + 5000) * 1_000_000)
    run.read(["A"])
    return run


def test_a_run_that_ends_before_it_knows_what_it_missed_leaves_the_trade_from_which_on_it_asked(redis_client) -> None:
    outlet(redis_client).write([trade(7, 10), book(15)])
    notes = next_run(redis_client).notes([Parsed("hold", Hold(T0, "A", T0 + 20_000))])
    [of_partition] = notes.values()
    stored = msgspec.json.decode(of_partition.texts["A"], type=LastTrade)
    assert stored == LastTrade(7, (T0 + 10) * 1000, 100.5, 2.0, (T0 + 15) * 1000, T0 + 5000)


def test_books_of_a_symbol_without_trades_are_stored_until_the_first_trade(redis_client) -> None:
    feed = outlet(redis_client)
    feed.write([book(15)])
    last = outlet(redis_client).last_trades(["A"])["A"]
    assert (last.id, last.given_us) == (None, (T0 + 15) * 1000)
    assert next_run(redis_client).notes([book(50)])
    feed.write([trade(7, 10)])
    last = outlet(redis_client).last_trades(["A"])["A"]
    assert (last.id, last.time_us, last.given_us) == (7, (T0 + 10) * 1000, (T0 + 15) * 1000)


def test_a_run_that_does_not_ask_leaves_the_last_trade_as_it_was(redis_client) -> None:
    outlet(redis_client).write([trade(7, 10)])
    assert next_run(redis_client).notes([book(50)]) == {}


def test_what_the_release_before_stored_is_read_until_there_is_something_newer(redis_client) -> None:
    redis_client.hset(
        "last_trades:X:trade", "A", msgspec.json.encode(LastTrade(7, T0 * 1000, 100.5, 2.0, T0 * 1000, T0))
    )
    assert outlet(redis_client).last_trades(["A", "B"]).keys() == {"A"}
    outlet(redis_client).write([trade(8, 12)])
    assert outlet(redis_client).last_trades(["A"])["A"].id == 8

"""The outlet keeps trying while Redis is away, and nothing is counted before it is written."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import redis

from ingest.messages.decode import decode
from ingest.messages.kinds import SocialPost, Trade
from ingest.messages.refusal import Reason
from ingest.publish.outlet import LONGEST_S, Outlet, pauses
from ingest.recordings.lines import Line, Parsed, Rejected
from ingest.settings import Settings
from ingest.streams import keys

T0 = 1_700_000_000_000
SETTINGS = Settings(partitions=2)


def trade(n: int) -> Parsed:
    return Parsed("trade", Trade(T0 + n, "BTCUSDT", 100.0, 1.0, "buy", n))


def logged(client: redis.Redis, symbol: str) -> list[Trade]:
    found: Any = client.xrange(keys.events(keys.partition_of(symbol, 2)))
    return [decode(Trade, fields[b"data"]) for _, fields in found]


def test_pauses_double_to_half_a_minute_and_never_go_in_step() -> None:
    series = pauses(1.0)
    for step in (1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_S, LONGEST_S):
        assert step / 2 <= next(series) <= step


def test_messages_posts_and_refusals_go_where_they_belong(redis_client) -> None:
    outlet = Outlet(redis_client, SETTINGS, prefix="X:")
    line = Line("live", 7, 0, b"what came", False)
    post = Parsed("social", SocialPost(T0, "1", "up", "s"))
    outlet.write([trade(1), post, Rejected(line, Reason.UNDECODABLE, "no JSON")])

    assert [t.symbol for t in logged(redis_client, "X:BTCUSDT")] == ["X:BTCUSDT"]
    assert redis_client.xlen(keys.SOCIAL) == 1
    ((_, letter),) = redis_client.xrange(keys.DEAD_LETTER)
    assert (letter[b"reason"], letter[b"field:data"], letter[b"id"]) == (b"undecodable", b"what came", b"7")
    assert outlet.counts.published == {"trade": 1, "social": 1}
    assert outlet.counts.refused == {"undecodable": 1}
    (entry,) = redis_client.xrange(keys.events(keys.partition_of("X:BTCUSDT", 2)))
    assert b"recorded" not in entry[1], "live: the worker's clock counts"


class Away(redis.Redis):
    """A client whose first pipelines fail."""

    failures = 0

    def pipeline(self, *args: Any, **options: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise redis.ConnectionError("away")
        return super().pipeline(*args, **options)


@pytest.fixture
def away(redis_url) -> Any:
    with Away.from_url(redis_url) as client:
        client.flushall()
        yield client


def test_a_batch_is_written_once_redis_is_back_and_counted_once(away, caplog) -> None:
    away.failures = 3
    outlet = Outlet(away, SETTINGS, first_pause_s=0.001)
    outlet.write([trade(1), trade(2)])
    assert [t.trade_id for t in logged(away, "BTCUSDT")] == [1, 2]
    assert outlet.counts.published == {"trade": 2}
    assert len([r for r in caplog.records if "redis takes no messages" in r.message]) == 3


def test_a_stopped_feed_gives_up(away) -> None:
    away.failures = 99
    stop = threading.Event()
    stop.set()
    outlet = Outlet(away, SETTINGS, stop=stop)
    with pytest.raises(redis.ConnectionError):
        outlet.write([trade(1)])
    assert outlet.counts.published == {}


def test_attempts_may_be_bounded(away) -> None:
    away.failures = 2
    outlet = Outlet(away, SETTINGS, first_pause_s=0.001, attempts=2)
    with pytest.raises(redis.ConnectionError):
        outlet.write([trade(1)])
    outlet.write([trade(1)])
    assert outlet.counts.published == {"trade": 1}


def test_the_feed_waits_while_too_much_waits_for_a_worker(redis_client, monkeypatch) -> None:
    from ingest.publish import readers as module

    monkeypatch.setattr(module, "WAITING_MAX", 3)
    monkeypatch.setattr(module, "CHECK_EVERY", 4)
    written = threading.Event()

    def write() -> None:
        Outlet(redis_client, SETTINGS).write([trade(n) for n in range(5)])
        written.set()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    assert not written.wait(0.3)
    redis_client.delete(keys.events(0), keys.events(1))
    assert written.wait(10)
    thread.join()

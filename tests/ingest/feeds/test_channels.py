"""Silent channels, with a clock of the test and markets drawn from seeds."""

from __future__ import annotations

import random
from heapq import heapify, heapreplace

import pytest

from ingest.feeds.channels import Channels

STREAMS = {
    "btcusdt@depth@100ms": ("BTCUSDT", "book"),
    "btcusdt@trade": ("BTCUSDT", "trade"),
    "btcusdt@markPrice": ("BTCUSDT", "markPrice"),
}


class Market:
    """A market whose channels speak at random times, ``rates`` words a second by the kind; ``alarms`` has the second of each alarm."""

    def __init__(self, seed: int = 0, **rates: float) -> None:
        self.now = 0.0
        self.rates = dict(rates)
        self.muted: set[str] = set()
        self.alarms: list[tuple[str, float]] = []
        self.channels = Channels(STREAMS, lambda: self.now)
        self.channels.opened(STREAMS)
        self._draw = random.Random(seed)
        self._silent: set[str] = set()
        self._next = [(self._pause(kind), name, kind) for name, (_, kind) in STREAMS.items()]
        heapify(self._next)

    def _pause(self, kind: str) -> float:
        rate = self.rates.get(kind, 0.0)
        return self._draw.expovariate(rate) if rate else float("inf")

    def run(self, seconds: int) -> Market:
        for second in range(int(self.now) + 1, int(self.now) + seconds + 1):
            while self._next[0][0] < second:
                self.now, name, kind = self._next[0]
                if kind not in self.muted:
                    self.channels.hear(name.encode())
                heapreplace(self._next, (self.now + self._pause(kind), name, kind))
            self.now = float(second)
            silent = {channel.kind for channel in self.channels.look()}
            self.alarms += [(kind, self.now) for kind in silent - self._silent]
            self._silent = silent
        return self


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("muted", ["book", "trade", "markPrice"])
def test_a_muted_channel_is_found_within_30_s_while_others_speak(muted: str, seed: int) -> None:
    market = Market(seed, book=9.0, trade=2.0, markPrice=1 / 3 if muted != "markPrice" else 1.0).run(300)
    assert market.alarms == []
    market.muted = {muted}
    market.run(60)
    assert [kind for kind, _ in market.alarms] == [muted]
    assert 310 <= market.alarms[0][1] <= 330
    market.muted = set()
    market.run(5)
    assert market.channels.look() == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("trades", [2.0, 0.5, 0.05, 0.005])
def test_a_thin_market_gives_no_false_alarm_in_hours_once_its_channels_are_known(trades: float, seed: int) -> None:
    market = Market(seed, book=0.5, trade=trades).run(int(30 / trades) + 60)
    market.alarms.clear()
    assert market.run(3 * 3600).alarms == []


@pytest.mark.parametrize("seed", range(3))
def test_a_channel_that_speaks_every_two_seconds_is_found_within_30_s(seed: int) -> None:
    market = Market(seed, book=9.0)
    for _ in range(1800):
        market.run(2)
        market.channels.hear(b"btcusdt@trade")
    market.alarms.clear()
    market.run(30)
    assert [kind for kind, _ in market.alarms] == ["trade"]


def test_a_market_that_is_quiet_as_a_whole_is_no_alarm() -> None:
    market = Market(book=9.0, trade=2.0, markPrice=1.0).run(300)
    market.muted = {"book", "trade"}  # as while a market is halted: the mark price goes on
    assert market.run(900).alarms == []


def test_a_channel_that_never_spoke_is_told_after_10_s_and_is_an_alarm_within_30_s(
    caplog: pytest.LogCaptureFixture,
) -> None:
    market = Market(book=9.0)
    market.run(11)
    assert "nothing has come for 10 s of btcusdt@trade, btcusdt@markPrice: the market may be quiet" in caplog.text
    market.run(19)
    assert dict(market.alarms) == {"trade": 26.0, "markPrice": 26.0}
    assert "btcusdt@trade is silent for 26 s while btcusdt@depth@100ms speaks" in caplog.text
    market.run(500)
    assert caplog.text.count("nothing has come") == 1
    market.run(100)
    assert caplog.text.count("nothing has come") == 2


def test_bursts_with_long_pauses_between_are_no_silence() -> None:
    market = Market(book=5.0)
    for minute in range(60):
        for i in range(40):  # within four seconds of each minute
            market.now = 60.0 * minute + i / 10
            market.channels.hear(b"btcusdt@trade")
        market.run(60)
    assert [alarm for alarm in market.alarms if alarm[1] > 600] == []


def test_a_lost_connection_is_no_silence() -> None:
    market = Market(book=9.0, trade=2.0).run(300)
    market.channels.closed(["btcusdt@trade"])
    market.muted = {"trade"}
    market.run(100)
    assert [kind for kind, _ in market.alarms if kind == "trade"] == []
    market.channels.opened(["btcusdt@trade"])
    market.run(30)
    assert "trade" in dict(market.alarms)


def test_the_second_time_it_is_muted_a_channel_is_found_as_soon() -> None:
    market = Market(book=9.0, trade=2.0, markPrice=1.0).run(300)
    for _ in range(3):
        market.muted = {"trade"}
        market.run(200)
        market.muted = set()
        market.run(100)
    begins = [at for _, at in market.alarms]
    assert len(begins) == 3 and all(at - 300 * (i + 1) <= 30 for i, at in enumerate(begins))


def test_a_silence_in_which_nothing_was_missed_counts_as_an_interval_like_any_other() -> None:
    market = Market(book=9.0, trade=2.0, markPrice=1.0).run(300)
    for _ in range(3):
        market.muted = {"trade"}
        market.run(60)
        market.muted = set()
        market.run(10)
        market.channels.was_quiet("BTCUSDT", "trade")
    assert len(market.alarms) == 1, "the next silences are not longer than the first"


def test_a_feed_that_waits_itself_is_no_silence_of_the_channel_that_speaks_last_afterwards() -> None:
    market = Market(book=9.0, trade=2.0, markPrice=1.0).run(300)
    market.muted = {"book", "trade", "markPrice"}  # nothing is read while Redis is away
    market.run(120)
    market.muted = {"trade"}
    market.run(8)
    market.muted = set()
    assert market.run(60).alarms == []
    market.muted = {"trade"}
    market.run(60)
    assert [kind for kind, _ in market.alarms] == ["trade"]

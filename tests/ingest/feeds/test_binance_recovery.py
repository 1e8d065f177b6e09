"""Questions for missing trades; ``tests/acceptance/test_lost_trades.py`` plays them against a venue that answers badly."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the extra `feeds` is not installed")

from ingest.feeds.binance_venue import StatusError
from ingest.recordings.lines import Parsed
from tests.acceptance.lossy_venue import Answers, Cut, Feed, Market, play, run


class Refusing(Answers):
    """Old trades are for those who have a key."""

    async def get(self, *_: Any) -> bytes:
        self.given.append("refused")
        raise StatusError(401, "API-key required")


@pytest.fixture(scope="module")
def market() -> Market:
    return Market.simulated(120, seed=5)


def gaps(feed: Feed) -> list[Any]:
    messages: list[Any] = [o.message for o in feed.outputs if isinstance(o, Parsed) and o.kind == "gap"]
    return [message for message in messages if message.channel == "trade"]


def test_a_venue_that_gives_no_old_trades_is_asked_once_and_the_hole_is_told(market: Market) -> None:
    refusing = Refusing(market, Random(1))
    feed = run(play(market, refusing, 120, [Cut(30_000, 20_000)]))
    assert refusing.given == ["refused"]
    lost = [trade for trade in market.trades.values() if 30_000 <= trade["at"] < 50_000]
    assert [gap.missing for gap in gaps(feed)] == [None, len(lost)], (
        "at once, and again when the next trade tells how many"
    )
    assert len(lost) > 5
    assert len(feed.trades()) == len(market.trades) - len(lost)


def test_with_a_time_of_0_nothing_is_asked_for_and_every_hole_is_told_at_once(market: Market) -> None:
    answers = Answers(market, Random(1))
    feed = run(play(market, answers, 120, [Cut(30_000, 20_000)], hold_s=0))
    assert answers.given == []
    assert len(gaps(feed)) >= 1
    assert not any(isinstance(o, Parsed) and o.kind == "hold" for o in feed.outputs)

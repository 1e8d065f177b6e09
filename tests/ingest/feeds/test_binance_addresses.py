"""What a live feed may ask of a venue, and how often."""

from __future__ import annotations

import pytest

from ingest.feeds.binance_addresses import VENUES, Allowance, depth_to_ask


@pytest.mark.parametrize(
    ("venue", "symbols", "levels"),
    [("binance", 1, 5000), ("binance", 12, 5000), ("binance", 13, 1000), ("binance", 100, 1000), ("binance-futures", 100, 1000)],
)  # fmt: skip
def test_a_feed_asks_for_the_deepest_book_that_all_its_symbols_can_have_at_once(
    venue: str, symbols: int, levels: int
) -> None:
    assert depth_to_ask(VENUES[venue], symbols)[0] == levels


def test_requests_past_a_minutes_weight_wait_until_it_is_back() -> None:
    now = [100.0]
    allowance = Allowance(3000, lambda: now[0])

    def taken(times: int) -> list[float]:
        """How long each of some requests must wait."""
        waits = []
        for _ in range(times):
            waits.append(allowance.wait_s(250))
            allowance.take(250)
        return waits

    assert taken(12) == [0.0] * 12
    assert taken(2) == [5.0, 10.0]
    now[0] += 40.0
    assert taken(1) == [0.0]
    now[0] += 1000.0
    assert taken(13) == [0.0] * 12 + [5.0]

"""Trades one by one and as aggregates: each trade counts once, and what is passed over is counted."""

from __future__ import annotations

from pathlib import Path

from ingest.recordings.binance import Binance
from ingest.recordings.lines import Line, Parsed

from .captures import aggregate, read, trade, written


def sizes(messages: list) -> list[float]:  # type: ignore[type-arg]
    return [message.size for message in messages]


def test_a_day_of_aggregates_after_a_day_of_trades_counts(tmp_path: Path) -> None:
    one = "".join(trade(n, n, size=1) for n in range(1, 4))
    two = "".join(aggregate(86_400_000 + n, 50 + n, 2 * n, 2 * n + 1, size=2) for n in range(2, 5))
    messages, refused, recording = read(written(tmp_path, one=one, two=two))
    assert sizes(messages) == [1, 1, 1, 2, 2, 2]
    assert (refused, recording.ignored) == ([], 0)


def test_where_both_forms_are_recorded_each_trade_counts_once_whichever_line_came_first(tmp_path: Path) -> None:
    trades = [trade(n, n) for n in range(1, 9)]
    aggregates = [aggregate(n, n, 2 * n - 1, 2 * n, size=2) for n in range(1, 5)]
    for text in ("".join(trades + aggregates), "".join(aggregates + trades)):
        messages, refused, recording = read(written(tmp_path, both=text))
        assert sizes(messages) == [1] * 8
        assert (refused, recording.passed_over) == ([], {"aggTrade": 4})


def test_two_recorders_of_one_market_in_two_forms_count_each_trade_once(tmp_path: Path) -> None:
    alone = "".join(trade(n, n) for n in range(1, 7))
    aggregates = "".join(aggregate(2 * n + 50, n, 2 * n - 1, 2 * n, size=2) for n in range(1, 5))
    messages, _, recording = read(written(tmp_path, alone=alone, aggregates=aggregates))
    assert sum(sizes(messages)) == 8, "trades 1 to 6 alone, and 7 and 8 in the last aggregate"
    assert recording.passed_over == {"aggTrade": 3}


def test_trades_outside_the_order_book_are_no_market_trades(tmp_path: Path) -> None:
    kinds = ["MARKET", "INSURANCE_FUND", "ADL", "NA", "Market"]
    messages, refused, recording = read(
        written(tmp_path, a="".join(trade(n, n, X=kind) for n, kind in enumerate(kinds)))
    )
    assert [message.trade_id for message in messages] == [0, 4]
    assert (refused, recording.passed_over) == ([], {"trade outside the book": 3})


def test_a_live_feed_of_both_forms_counts_what_comes_first() -> None:
    feed = Binance(5000)
    texts = [
        aggregate(1, 1, 1, 2, size=2),
        trade(1, 1),
        trade(1, 2),
        trade(3, 3),
        aggregate(3, 2, 3, 3),
        aggregate(5, 3, 4, 5),
    ]
    lines = (Line("live", n, int(text.split()[0]), text.encode().strip(), True) for n, text in enumerate(texts))
    outputs = [output for line in lines for output in feed.parse(line)]
    assert [output.message.trade_id for output in outputs if isinstance(output, Parsed)] == [1, 3, 3]  # type: ignore[union-attr]
    assert feed.passed_over == {"trade": 2, "aggTrade": 1}

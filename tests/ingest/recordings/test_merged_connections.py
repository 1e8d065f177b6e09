"""Several connections (or recorders) of one market: what all of them say is one book, as if one connection had heard everything."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from ingest.messages.kinds import OrderBook, since_us, time_us
from ingest.messages.refusal import Reason
from ingest.recordings.binance import Binance
from ingest.recordings.binance_state import SLOWER_NS
from ingest.recordings.lines import Line, Output, Parsed, Rejected
from tests.ingest.recordings.test_binance import T0, books, diff, line, run, snapshot, told

SLOWER_MS = SLOWER_NS // 1_000_000


def connections(n: int, at: int = 0) -> Line:
    return line({"e": "connections", "s": ["BTCUSDT"], "n": n}, at=at)


def at(data: Line, ms: int) -> Line:
    """The same message, received later."""
    return data._replace(received_ns=data.received_ns + ms * 1_000_000)


def updates(draw: random.Random, n: int) -> list[Line]:
    """Diffs that follow each other, a few milliseconds apart."""
    ends = [9]
    while len(ends) <= n:
        ends.append(ends[-1] + draw.randint(1, 30))
    return [
        diff(before + 1, last, bids=[[f"{draw.randint(9000, 9900) / 100}", str(draw.randint(0, 9))]])
        for before, last in pairwise(ends)
    ]


def content(outputs: list[Output]) -> list[Any]:
    """What the books say; when they were received depends on the faster connection."""
    found: list[OrderBook] = books(outputs)
    return [(time_us(book), book.bids, book.asks, book.sequence, book.depth) for book in found]


def test_a_diff_that_two_connections_tell_counts_once_and_is_no_refusal() -> None:
    feed = Binance(5000)
    lines = [connections(2), snapshot(9), diff(10, 12), at(diff(10, 12), 20), diff(13, 15), at(diff(13, 15), 20)]
    assert told(run(lines, feed)) == ["book 12", "book 15"]
    assert feed.passed_over["repeated diff"] == 2


def test_a_diff_that_is_ahead_waits_for_the_slower_connection() -> None:
    outputs = run([connections(2), snapshot(9), diff(10, 12), diff(16, 18), at(diff(13, 15), 5), at(diff(16, 18), 10)])
    assert told(outputs) == ["book 12", "book 15", "book 18"]


def test_what_no_connection_told_in_time_is_a_gap_and_a_new_snapshot_is_asked_for() -> None:
    feed = Binance(5000)
    ahead = [diff(16, 18), at(diff(19, 20), SLOWER_MS - 10)]
    assert told([o for each in [connections(2), snapshot(9), diff(10, 12), *ahead] for o in feed.parse(each)]) == [
        "book 12"
    ]
    assert feed.missing() == []
    assert told(list(feed.parse(at(diff(21, 22), SLOWER_MS)))) == ["gap 22"]
    assert feed.missing() == ["BTCUSDT"]
    assert told(list(feed.parse(snapshot(17, at=600)))) == ["book 18", "book 20", "book 22"]


def test_a_single_connection_tells_a_gap_at_once() -> None:
    outputs = run([connections(2), snapshot(9), diff(10, 12), connections(1, at=13), diff(16, 18)])
    assert told(outputs) == ["book 12", "gap 18", "sequence_gap 18"]


@pytest.mark.parametrize("seed", range(8))
def test_connections_that_lag_and_break_give_the_books_of_one_that_heard_everything(seed: int) -> None:
    draw = random.Random(seed)
    sound = updates(draw, 300)
    one = run([snapshot(9), *sound])
    assert len(books(one)) == len(sound)
    heard: list[Line] = []
    n_connections = draw.randint(2, 3)
    for number in range(n_connections):
        lag = draw.choice([0, 3, 40, 120])
        lost: set[int] = set()
        if number:  # the first hears everything, however slow it is; the others have holes
            for _ in range(5):
                begin = draw.randrange(len(sound))
                lost |= set(range(begin, begin + draw.randint(1, 20)))
        last = 0
        for i, data in enumerate(sound):
            last = max(last, data.received_ns + (lag + draw.randint(0, 30)) * 1_000_000)  # in order, as TCP gives them
            if i not in lost:
                heard.append(data._replace(received_ns=last))
    heard.sort(key=lambda data: data.received_ns)
    feed = Binance(5000)
    merged = run([connections(n_connections), snapshot(9), *heard], feed)
    assert content(merged) == content(one)
    assert len(merged) == len(sound), "nothing is refused, and no gap is told"
    assert feed.passed_over["repeated diff"] == len(heard) - len(sound)


@pytest.mark.parametrize("seed", range(5))
def test_the_diffs_of_two_recorders_are_merged_as_those_of_two_connections(seed: int) -> None:
    draw = random.Random(seed)
    sound = updates(draw, 100)
    first = [data._replace(source="a.jsonl") for i, data in enumerate(sound) if not 20 <= i < 40]
    second = [at(data, 15)._replace(source="b.jsonl") for i, data in enumerate(sound) if not 60 <= i < 70]
    lines = sorted([*first, *second], key=lambda data: data.received_ns)
    assert content(run([snapshot(9), *lines])) == content(run([snapshot(9), *sound]))


def test_after_a_lost_connection_the_venue_may_count_from_a_lower_update() -> None:
    feed = Binance(5000)
    lines = [snapshot(1009, at=0), diff(1010, 1012), line({"e": "disconnect", "s": ["BTCUSDT"]}, at=1013)]
    lines += [at(diff(5, 7), 1100), at(diff(8, 9), 1100)]
    assert told([o for each in lines for o in feed.parse(each)]) == ["book 1012", "gap 1013"]
    assert feed.missing() == ["BTCUSDT"]
    outputs = [o for each in [snapshot(6, at=1200), at(diff(10, 12), 1100)] for o in feed.parse(each)]
    assert told(outputs) == ["book 7", "book 9", "book 12"]
    assert feed.missing() == []


def test_the_loss_of_another_channel_leaves_the_book() -> None:
    lost = line({"e": "disconnect", "s": ["BTCUSDT"], "channels": ["trade", "markPrice"]}, at=13)
    assert told(run([snapshot(9), diff(10, 12), lost, diff(13, 15)])) == ["book 12", "book 15"]
    lost = line({"e": "disconnect", "s": ["BTCUSDT"], "channels": ["book"]}, at=13)
    assert told(run([snapshot(9), diff(10, 12), lost, diff(13, 15)])) == ["book 12", "gap 13", "book 15"]


def silence(channel: str, at: int) -> Line:
    return line({"e": "silence", "s": ["BTCUSDT"], "channel": channel}, at=at)


def test_a_silent_book_is_unknown_until_it_speaks_again() -> None:
    feed = Binance(5000)
    lines = [snapshot(9), diff(10, 12), silence("book", 13), silence("book", 14), diff(13, 15)]
    assert told(run(lines, feed)) == ["book 12", "gap 13", "book 15"]
    assert list(feed.unmissed) == [("BTCUSDT", "book")]
    feed = Binance(5000)
    assert told(run([snapshot(9), diff(10, 12), silence("book", 13), diff(14, 15)], feed))[:2] == ["book 12", "gap 13"]
    assert list(feed.unmissed) == []


def trades(*ids: int) -> list[Line]:
    """Trades of these ids, each at the millisecond of its id."""
    data = {"e": "trade", "s": "BTCUSDT", "p": "1", "q": "1", "m": True}
    return [line({"stream": "btcusdt@trade", "data": {**data, "t": i, "T": T0 + i}}, at=i, number=i) for i in ids]


def test_silent_trades_may_be_missing_up_to_the_newest_time_of_the_symbol_as_long_as_it_lasts() -> None:
    feed = Binance(5000)
    lines = [
        snapshot(9),
        diff(10, 12),
        *trades(13),
        diff(13, 20),
        silence("trade", 21),
        diff(21, 30),
        silence("trade", 31),
    ]
    gaps = [o.message for o in run([*lines, *trades(14)], feed) if isinstance(o, Parsed) and o.kind == "gap"]
    times = [(gap.channel, since_us(gap) - T0 * 1000, time_us(gap) - T0 * 1000) for gap in gaps]
    # a missing trade may have the time of the last one that was heard
    assert times == [("trade", 13_000, 20_000), ("trade", 13_000, 30_000)]
    assert list(feed.unmissed) == [("BTCUSDT", "trade")]


@pytest.mark.parametrize("seed", range(8))
def test_trades_of_connections_that_lag_and_break_count_once_and_in_order(seed: int) -> None:
    draw = random.Random(seed)
    sound = trades(*range(100, 400))
    heard = []
    for number in range(2):
        lost = (
            {i for _ in range(5) for begin in [draw.randrange(300)] for i in range(begin, begin + 10)}
            if number
            else set()
        )
        lag = draw.choice([0, 5, 60])
        last = 0
        for i, data in enumerate(sound):
            last = max(last, data.received_ns + (lag + draw.randint(0, 20)) * 1_000_000)
            if i not in lost:
                heard.append(data._replace(received_ns=last))
    heard.sort(key=lambda data: data.received_ns)
    start = line({"e": "feed", "s": ["BTCUSDT"], "hold_ms": 20_000, "lateness_ms": 250, "last": {}})
    feed = Binance(5000)
    outputs = run([start, connections(2), *heard], feed)
    found = [o.message for o in outputs if isinstance(o, Parsed) and o.kind == "trade"]
    assert [trade.trade_id for trade in found] == list(range(100, 400))
    assert not [o for o in outputs if isinstance(o, Rejected) or o.kind == "gap"]
    assert feed.passed_over["repeated trade"] == len(heard) - len(sound)


def test_a_note_that_names_no_symbol_opens_none() -> None:
    feed = Binance(5000)
    outputs = run(
        [line({"e": "connections", "s": ["A" * 500], "n": 2}), line({"e": "connections", "s": [], "n": -1})], feed
    )
    assert [o.reason for o in outputs if isinstance(o, Rejected)] == [Reason.BAD_SYMBOL]
    assert feed._symbols == {}

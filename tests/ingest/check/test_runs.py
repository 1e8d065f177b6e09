"""A run hands on what its symbol accepted, in order, and keeps nothing."""

import tracemalloc

import pytest

from ingest.check import lookahead, result, runs, warmup
from ingest.messages.kinds import Gap, OrderBook, Trade

from .conftest import CONF, MIDNIGHT


def test_a_message_that_came_too_late_is_no_data_of_the_truncated_run():
    late = Trade(MIDNIGHT + 100, "A", 9.0, 1.0, "buy", 77)
    feed = [("trade", Trade(MIDNIGHT + i * 400, "A", 10.0 + i % 3, 1.0, "buy", i)) for i in range(20)]
    feed.insert(10, ("trade", late))
    released = []
    runs.run_whole(feed, CONF, runs.Symbol, lambda _, run: released.extend(run.released()))
    assert [one.message for one in released] == [message for _, message in feed if message is not late]
    assert not result.failed(lookahead.lookahead(feed, CONF))


class Recording:
    """A recording of so many seconds, made anew each time it is read."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __iter__(self):
        for i in range(10 * self.seconds):
            at, mid = MIDNIGHT + 100 * i, 10 + i % 7 / 100
            yield "book", OrderBook(at, "A", [(mid - 0.01, 1.0)], [(mid + 0.01, 1.0)])
            if i % 2:
                yield "trade", Trade(at, "A", mid, 1.0, "buy", i)


def peak_bytes(check, seconds):
    tracemalloc.start()
    try:
        check(Recording(seconds))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "check",
    [
        lambda messages: lookahead.lookahead(messages, CONF, samples=5),
        lambda messages: warmup.warmup(messages, CONF, starts=(0.5,)),
    ],
    ids=["lookahead", "warmup"],
)
def test_a_longer_recording_needs_no_more_memory(check):
    check(Recording(20))  # caches and imports
    short, long = peak_bytes(check, 20), peak_bytes(check, 80)
    # 1,200 messages of a kilobyte and more would add 1.2 MB
    assert long < short + 300_000


@pytest.mark.parametrize("told_ms", (0, 400, 4700), ids=lambda ms: f"told {ms} ms later")
def test_a_hole_counts_from_the_same_time_in_both_runs_whenever_it_is_told(told_ms):
    feed = []
    for i in range(600):
        at, mid = MIDNIGHT + 100 * i, 10 + i % 7 / 100
        feed.append((at, "book", OrderBook(at, "A", [(mid - 0.01, 1.0)], [(mid + 0.01, 1.0)])))
        if not 153 <= i < 168 and i % 300 not in (198, 199, 201, 202):
            feed.append((at, "trade", Trade(at, "A", mid, 1.0, "buy", i)))
    for since, until in ((152, 168), (197, 203), (497, 503)):
        since, until = MIDNIGHT + 100 * since, MIDNIGHT + 100 * until
        feed.append((until + told_ms - 1, "gap", Gap(until, "A", channel="trade", since=since)))
    early = Gap(MIDNIGHT + 36_000, "A", channel="trade", since=MIDNIGHT + 32_000)  # a later start lies in this hole
    feed += [(MIDNIGHT + 32_050, "gap", early), (MIDNIGHT + 30_000 + told_ms, "gap", Gap(MIDNIGHT + 30_000, "A"))]
    feed.sort(key=lambda one: one[0])
    messages = [(kind, message) for _, kind, message in feed]
    for found in (
        lookahead.lookahead(messages, CONF, samples=60),
        warmup.warmup(messages, CONF, starts=(0.26, 0.33, 0.55)),
    ):
        assert [r for r in found if r.differing] == []
        values = {r.feature: r.values for r in found}
        assert 0 < values["delta_volume_1s"] < values["mid_price"]

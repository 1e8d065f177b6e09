from ingest.worker.timeline import Timeline

S = 1_000_000


class Recorder:
    def __init__(self, timeline: Timeline, ttl_us: int = 10 * S) -> None:
        self.timeline, self.ttl_us = timeline, ttl_us
        self.seen: list[tuple[str, object]] = []
        self.newest = 0

    def apply(self, t_us: int, item: object) -> None:
        self.newest = t_us
        self.seen.append(("event", item))

    def emit(self, t_us: int) -> None:
        self.seen.append(("row", t_us // S if t_us % S == 0 else t_us / S))

    def advance(self) -> list[tuple[str, object]]:
        self.timeline.advance(self.apply, self.emit, lambda: self.newest + self.ttl_us if self.newest else 0)
        seen, self.seen = self.seen, []
        return seen


def test_messages_come_out_in_event_time_order_whatever_their_arrival():
    timeline = Timeline(emit_us=S, lateness_us=250_000)
    recorder = Recorder(timeline)
    for t in (1_000_100, 1_000_050, 1_200_000, 1_100_000):
        timeline.hold(t, "trade", 0, t)
    timeline.hold(2_000_000, "trade", 0, 2_000_000)
    assert recorder.advance() == [("event", t) for t in (1_000_050, 1_000_100, 1_100_000, 1_200_000)]


def test_a_book_comes_before_a_trade_of_the_same_time_and_a_post_after_both():
    timeline = Timeline(emit_us=S, lateness_us=0)
    recorder = Recorder(timeline)
    timeline.hold(S, "post", 0, "post")
    timeline.hold(S, "trade", 7, "second trade")
    timeline.hold(S, "trade", 6, "first trade")
    timeline.hold(S, "book", 0, "book")
    timeline.tick(S)
    assert [item for kind, item in recorder.advance() if kind == "event"] == [
        "book",
        "first trade",
        "second trade",
        "post",
    ]


def test_a_row_comes_after_every_event_of_its_time_and_before_any_later_one():
    timeline = Timeline(emit_us=S, lateness_us=0)
    recorder = Recorder(timeline)
    for t in (1_500_000, 2_000_000, 2_000_001):
        timeline.hold(t, "trade", 0, t)
    timeline.tick(3 * S)
    assert recorder.advance() == [
        ("event", 1_500_000),
        ("event", 2_000_000),
        ("row", 2),
        ("event", 2_000_001),
        ("row", 3),
    ]


def test_a_row_waits_until_the_watermark_is_past_its_time():
    timeline = Timeline(emit_us=S, lateness_us=250_000)
    recorder = Recorder(timeline)
    timeline.hold(1_500_000, "trade", 0, "a")
    timeline.hold(2_250_000, "trade", 0, "b")
    assert recorder.advance() == [("event", "a")]
    assert not timeline.is_late(2_000_000)  # an event of t = 2 s may still come, and belongs to the row of 2 s
    timeline.hold(2_250_001, "trade", 0, "c")
    assert recorder.advance() == [("row", 2)]
    assert timeline.is_late(2_000_000)


def test_only_books_and_trades_carry_the_watermark():
    timeline = Timeline(emit_us=S, lateness_us=0)
    timeline.hold(9 * S, "post", 0, "post")
    assert timeline.watermark == 0
    timeline.hold(2 * S, "book", 0, "book")
    assert timeline.watermark == 2 * S


def test_boundaries_at_which_no_feed_speaks_are_passed_over():
    timeline = Timeline(emit_us=S, lateness_us=0)
    recorder = Recorder(timeline, ttl_us=2 * S)
    timeline.hold(S, "trade", 0, "a")
    timeline.hold(1_000_000_000 * S, "trade", 0, "b")
    timeline.tick(1_000_000_000 * S)
    assert recorder.advance() == [
        ("event", "a"),
        ("row", 1),
        ("row", 2),
        ("row", 3),
        ("event", "b"),
        ("row", 1_000_000_000),
    ]


def test_a_finer_grid_gives_a_row_every_100_ms():
    timeline = Timeline(emit_us=100_000, lateness_us=0)
    recorder = Recorder(timeline)
    timeline.hold(950_000, "trade", 0, "a")
    timeline.tick(1_200_000)
    assert recorder.advance() == [("event", "a"), ("row", 1), ("row", 1.1), ("row", 1.2)]

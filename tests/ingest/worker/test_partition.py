"""A partition without its log: entries in, rows, dead letters and a checkpoint out."""

import json

import pytest

from ingest import settings
from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook, ScoredPost, Tick, Trade
from ingest.settings import Settings
from ingest.worker.partition import Partition

T0 = 1_700_000_000_000
"""A whole second, ms."""
CONF = settings.load({"TFS_PARTITIONS": "1"})
BIDS, ASKS = [(100.0, 1.0), (99.0, 2.0)], [(101.0, 3.0), (102.0, 4.0)]


def book(ms: int, sequence: int | None = None, bids: list = BIDS, asks: list = ASKS) -> tuple[str, OrderBook]:
    return "book", OrderBook(T0 + ms, "A", bids, asks, sequence, received=T0 + ms + 3)


def trade(ms: int, trade_id: int | str | None = None, price: float = 100.5) -> tuple[str, Trade]:
    return "trade", Trade(T0 + ms, "A", price, 1.0, "buy", trade_id, received=T0 + ms + 3)


def tick(ms: int) -> tuple[str, Tick]:
    return "tick", Tick(T0 + ms, "A")


class Log:
    """Numbers the entries as a stream would."""

    def __init__(self, conf: Settings = CONF) -> None:
        self.partition = Partition(0, conf)
        self.n = 0
        self.entries: list[tuple[bytes, dict[bytes, bytes]]] = []

    def append(self, *messages: tuple, recorded: bool = True) -> "Log":
        for kind, message in messages:
            fields = {b"kind": kind.encode(), b"data": message if isinstance(message, bytes) else encode(message)}
            if recorded:
                fields[b"recorded"] = b"1"
            self.append_raw(fields)
        return self

    def append_raw(self, fields: dict[bytes, bytes]) -> None:
        self.n += 1
        entry = (b"%d-%d" % (T0 + 100_000, self.n), fields)
        self.entries.append(entry)
        self.partition.process(*entry, now_us=(T0 + 100_000) * 1000)

    def rows(self, view: str) -> list[tuple[float, float, dict[str, float]]]:
        batch = self.partition.pending.batches[view]
        if not len(batch):
            return []
        c = batch.columns()
        return [
            ((e / 1000 - T0), (a / 1000 - T0), dict(zip(c.view.names, row.tolist(), strict=True)))
            for e, a, row in zip(c.event_us.tolist(), c.created_us.tolist(), c.values, strict=True)
        ]

    def reasons(self) -> list[str]:
        return [str(refused.reason) for _, refused in self.partition.pending.dead]


def test_a_book_gives_the_row_of_the_next_boundary():
    log = Log().append(book(500), tick(1000))
    [(event, created, row)] = log.rows("microstructure")
    assert (event, created) == (1000, 1000)
    assert row["mid_price"] == 100.5
    assert row["imbalance_l1"] == (1 - 3) / (1 + 3)


def test_a_recorded_row_is_available_when_the_message_that_completed_it_was_received():
    log = Log().append(book(500), book(1600))
    [(event, created, _)] = log.rows("microstructure")
    assert (event, created) == (1000, 1603)


def test_a_recorded_post_given_ahead_of_the_market_makes_no_row_available_later_than_the_market_did():
    post = ScoredPost(T0 + 90_000, "A", "p", T0 + 90_500, 1, 0.6, 0.1, 0.3, received=T0 + 90_500)
    log = Log().append(("post", post), book(500), book(1600))
    assert [(event, created) for event, created, _ in log.rows("microstructure")] == [(1000, 1603)]


def test_a_live_row_is_available_when_it_is_made():
    log = Log().append(book(500), book(1600), recorded=False)
    assert [created for _, created, _ in log.rows("microstructure")] == [100_000]


def test_what_comes_behind_the_watermark_is_late_and_changes_no_row():
    log = Log().append(book(500), book(1600), book(900, bids=[(1.0, 9.0)]), tick(3000))
    assert log.reasons() == ["late"]
    assert [row["mid_price"] for _, _, row in log.rows("microstructure")] == [100.5] * 3


def test_a_repeated_trade_is_a_duplicate():
    log = Log().append(trade(500, 1), trade(500, 1), trade(600, "x"), trade(600, "x"), tick(1000))
    assert log.reasons() == ["duplicate", "duplicate"]
    assert log.partition.symbols.accepted["trade"] == 2


def test_a_missing_sequence_makes_the_book_unknown_until_the_next_one():
    log = Log().append(book(500, 1), book(1500, 2), tick(2000), book(2500, 4), tick(3000), book(3500, 5), tick(4000))
    assert log.reasons() == ["sequence_gap"]
    rows = log.rows("microstructure")
    assert [row["book_valid"] for _, _, row in rows] == [1, 1, 0, 1]
    assert rows[2][2]["mid_price"] != rows[2][2]["mid_price"]
    assert log.partition.symbols.accepted["book"] == 3


def test_a_repeated_sequence_is_a_duplicate():
    log = Log().append(book(500, 1), book(500, 1), book(700, 2), tick(1000))
    assert log.reasons() == ["duplicate"]


@pytest.mark.parametrize(
    ("sides", "reason"),
    [
        ({"bids": []}, "empty_book"),
        ({"bids": [(102.0, 1.0)]}, "crossed_book"),
        ({"bids": [(99.0, 1.0), (100.0, 1.0)]}, "unsorted_side"),
        ({"bids": ASKS, "asks": BIDS}, "unsorted_side"),
        ({"asks": [(float("nan"), 1.0)]}, "not_finite"),
        ({"asks": [(101.0, -1.0)]}, "not_positive"),
        ({"asks": [(1e300, 1.0)]}, "out_of_range"),
    ],
)
def test_a_book_that_cannot_be_is_refused_and_the_book_is_unknown_until_the_next(sides, reason):
    log = Log().append(book(500), book(1500, **sides), tick(2000), book(2500), tick(3000))
    assert log.reasons() == [reason]
    assert [row["book_valid"] for _, _, row in log.rows("microstructure")] == [1, 0, 1]


def test_a_dead_letter_keeps_the_bytes():
    log = Log()
    log.append_raw({b"kind": b"trade", b"data": b'{"timestamp": 1'})
    log.append_raw({b"kind": b"nonsense", b"data": b"\xff"})
    assert log.reasons() == ["undecodable", "wrong_type"]
    assert log.partition.pending.dead[0][0][1][b"data"] == b'{"timestamp": 1'


def test_a_time_far_ahead_of_its_arrival_is_refused():
    log = Log().append(("trade", Trade(T0 + 200_000, "A", 1.0, 1.0)))
    assert log.reasons() == ["future_time"]


def test_a_receive_time_ahead_of_the_arrival_does_not_excuse_a_future_time():
    log = Log().append(("trade", Trade(T0 + 900_000, "A", 1.0, 1.0, received=T0 + 900_000)))
    assert log.reasons() == ["future_time"]


def test_only_listed_symbols_are_taken_where_a_list_is_configured():
    log = Log(settings.load({"TFS_SYMBOLS": "B"})).append(book(1))
    assert log.reasons() == ["unknown_symbol"]


def test_invented_symbols_cannot_fill_the_memory():
    log = Log(settings.load({"TFS_MAX_SYMBOLS": "2"}))
    log.append(*[("trade", Trade(T0, f"S{i}", 1.0, 1.0)) for i in range(4)])
    assert log.reasons() == ["unknown_symbol"] * 2


def test_a_post_counts_from_when_its_score_was_available():
    post = ScoredPost(T0 + 100, "A", "id", available=T0 + 1500, simhash=1, positive=0.7, negative=0.1, neutral=0.2)
    log = Log().append(("post", post), book(500), tick(3000))
    rows = log.rows("sentiment")
    assert [event for event, _, _ in rows] == [2000, 3000]
    assert rows[0][2]["sentiment_compound"] == pytest.approx(0.6, abs=1e-15)


def test_a_post_that_was_scored_late_changes_no_row_that_is_written():
    post = ScoredPost(T0 + 100, "A", "id", available=T0 + 600, simhash=1, positive=0.7, negative=0.1, neutral=0.2)
    log = Log().append(book(500), tick(2000), ("post", post), tick(4000))
    assert log.reasons() == []
    assert [event for event, _, _ in log.rows("sentiment")] == [3000, 4000]


def test_a_silent_feed_gives_no_row_past_its_ttl():
    log = Log().append(book(500), trade(600), tick(90_000))
    assert log.rows("microstructure")[-1][0] == 10_000
    assert log.rows("order_flow")[-1][0] == 60_000
    assert log.rows("technical")[-1][0] == 90_000


def test_entries_taken_again_give_nothing_and_leave_the_same_state():
    messages = [book(500), trade(600, 1), trade(600, 1), tick(1000), book(1500)]
    first, second = Log().append(*messages), Log()
    assert len(first.rows("microstructure")) == 1 and first.reasons() == ["duplicate"]
    second.partition.replay(first.entries)
    pending = second.partition.take_pending()
    assert (pending.entries, pending.n_rows, pending.dead, pending.counts) == (0, 0, [], {})
    assert second.partition.unsaved == 5
    assert second.partition.save() == first.partition.save()


def test_a_partition_restored_at_any_entry_gives_the_same_rows_to_the_bit():
    messages = []
    for i in range(400):
        shift = 0.5 * (i % 7)
        messages.append(
            book(i * 97, i, [(100.0 - shift, 1.0 + i % 5), (99.0 - shift, 2.0)], [(101.0 + shift, 1.0 + i % 3)])
        )
        messages.append(trade(i * 97 + 13 * (i % 4), i, 100.0 + shift))
    whole = Log().append(*messages, tick(60_000))
    expected = whole.partition.take_pending()

    for cut in (1, 37, 400, 799):
        first = Log().append(*messages[:cut])
        before, checkpoint = first.partition.take_pending(), first.partition.save()
        second = Log()
        assert second.partition.restore(checkpoint) == []
        second.n = first.n
        second.append(*messages[cut:], tick(60_000))
        after = second.partition.take_pending()
        for view, batch in expected.batches.items():
            halves = [b.batches[view].columns() for b in (before, after) if len(b.batches[view])]
            if not len(batch):
                assert not halves
                continue
            whole_columns = batch.columns()
            assert b"".join(c.values.tobytes() for c in halves) == whole_columns.values.tobytes()
            assert b"".join(c.created_us.tobytes() for c in halves) == whole_columns.created_us.tobytes()


def test_a_checkpoint_of_another_grid_is_refused_and_the_symbol_starts_anew():
    first = Log().append(book(500), trade(600))
    checkpoint = first.partition.save()
    second = Partition(0, settings.load({"TFS_EMIT_INTERVAL_MS": "500"}))
    assert second.restore(checkpoint) == ["A"]
    assert second.symbols == {}


def test_only_the_parts_that_changed_are_saved_again():
    log = Log().append(book(500), trade(600), tick(650))
    log.partition.save()
    log.append(book(700), tick(750))
    changed = log.partition.save()
    assert b"A technical" not in changed and b"A microstructure" in changed


def test_json_entries_are_taken_like_our_own():
    log = Log()
    text = {"timestamp": T0 + 500, "symbol": "A", "bids": [["100", "1"]], "asks": [[101, 3]]}
    log.append_raw({b"kind": b"book", b"data": json.dumps(text).encode(), b"recorded": b"1"})
    log.append(tick(1000))
    assert log.rows("microstructure")[0][2]["imbalance_l1"] == -0.5


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("out_of_range", {"simhash": 2**64}),
        ("out_of_range", {"simhash": -1}),
        ("out_of_range", {"positive": 1.5}),
        ("out_of_range", {"neutral": -0.1}),
        ("not_finite", {"negative": "NaN"}),
        ("missing_field", {"neutral": None}),
    ],
)
def test_a_score_that_no_model_gives_is_refused_and_the_state_can_be_saved(reason, changes):
    score = {"simhash": 1, "positive": 0.6, "negative": 0.1, "neutral": 0.3, **changes}
    post = {"timestamp": T0 + 400, "symbol": "A", "id": "p", "available": T0 + 450, **score}
    log = Log().append(("post", json.dumps(post).encode()), book(500), book(1600))
    assert log.partition.symbols.refused[reason] == 1
    assert len(log.rows("microstructure")) == 1
    assert log.rows("sentiment") == []
    assert log.partition.save()

"""A partition without its log: entries in, rows, dead letters and a checkpoint out."""

import json

import pytest

from ingest import settings
from ingest.messages.decode import encode
from ingest.messages.envelope import HEARD_LIVE
from ingest.messages.kinds import ScoredPost, Tick, Trade
from ingest.simulate import history
from ingest.worker.partition import Partition
from transforms import engine
from transforms.catalog import MICROSTRUCTURE
from transforms.kernel import vector

from .log import T0, Log, book, tick, trade


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


def test_a_live_message_of_an_earlier_day_is_refused_and_a_recorded_one_taken():
    def old(days, **changes):
        return "trade", Trade(T0 + 100_000 - round(days * 86_400_000), "A", 1.0, 1.0, **changes)

    log = Log().append(old(1.1), old(0.9), recorded=False)
    assert log.reasons() == ["too_old"]
    assert Log().append(old(3000), recorded=True).reasons() == []
    received = T0 + 100_000 - 2 * 86_400_000  # by a feed that could not write for two days
    assert Log().append(old(2.1, received=received), recorded=False).reasons() == []
    assert Log(settings.load({"TFS_MAX_AGE_MS": "1000"})).append(old(0.1), recorded=False).reasons() == ["too_old"]


def test_a_replayed_message_that_was_heard_live_is_refused_as_it_was_then():
    log = Log()
    for days in (1.1, 0.9):
        message = Trade(T0 + 100_000 - round(days * 86_400_000), "A", 1.0, 1.0)
        log.append_raw({b"kind": b"trade", b"data": encode(message), b"recorded": HEARD_LIVE})
    assert log.reasons() == ["too_old"]
    assert log.partition.symbols["A"].recorded, "and no wall clock makes time pass for it"


def test_a_time_in_seconds_writes_no_row_of_1970():
    log = Log().append(("trade", Trade(T0 // 1000, "A", 1.0, 1.0, received=T0 // 1000)), tick(1000))
    assert log.reasons() == ["too_old"] and not log.rows("order_flow")


def test_entries_taken_again_give_nothing_and_leave_the_same_state():
    messages = [book(500), trade(600, 1), trade(600, 1), tick(1000), book(1500)]
    first, second = Log().append(*messages), Log()
    assert len(first.rows("microstructure")) == 1 and first.reasons() == ["duplicate"]
    second.partition.replay(first.entries)
    pending = second.partition.take_pending()
    assert (pending.entries, pending.n_rows, pending.dead, pending.counts) == (0, 0, [], {})
    assert second.partition.unsaved == 5
    assert second.partition.save() == first.partition.save()


@pytest.mark.parametrize("n", [1, 4, 60, 500])
def test_a_tail_that_stands_in_a_log_twice_gives_the_rows_of_one(n: int) -> None:
    """So it does on a tape: what it had read of a log, before a failover lost it, is written again."""
    messages = list(history(T0, T0 + 60_000, symbols=("A", "B"), seed=n, kinds=("book", "trade")))
    ends = [("tick", Tick(T0 + 61_000, name)) for name in ("A", "B")]
    for at in (300, len(messages)):
        once, twice = Log(), Log()
        once.append(*messages, *ends)
        twice.append(*messages[:at], *messages[max(0, at - n) : at], *messages[at:], *ends)
        assert once.reasons() == [] and {"late", "duplicate"} >= set(twice.reasons()) != set()
        for view in ("microstructure", "order_flow", "technical"):
            found = [log.partition.pending.batches[view].columns() for log in (once, twice)]
            assert found[0].symbols == found[1].symbols
            assert found[0].event_us.tobytes() == found[1].event_us.tobytes()
            assert found[0].values.tobytes() == found[1].values.tobytes()


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
        assert not second.partition.restore(checkpoint)
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
    assert list(second.restore(checkpoint)) == ["A"]
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


def test_a_value_out_of_the_catalogues_range_is_null_and_counted_by_its_feature(monkeypatch):
    low, high = engine._RANGES[0]
    narrow = high.copy() if hasattr(high, "copy") else vector(high)
    narrow[MICROSTRUCTURE.index["mid_price"]] = 100.0
    monkeypatch.setattr(engine, "_RANGES", [(low, narrow), *engine._RANGES[1:]])
    log = Log().append(book(500), tick(3000))
    assert all(row["mid_price"] != row["mid_price"] for _, _, row in log.rows("microstructure"))
    found = {name: n for name, n in log.partition.take_pending().counts.items() if name.startswith("out_of_range")}
    assert found == {"out_of_range.mid_price": 3}
    again = Log()
    again.partition.replay(log.entries)  # counted before
    assert not again.partition.take_pending().counts


def test_the_feed_that_an_entry_speaks_for_is_told():
    log = Log()
    heard = [
        log.partition.process(b"%d-%d" % (T0 + 100_000, n), fields, 0)
        for n, fields in enumerate(
            [
                {b"kind": b"tick", b"data": b'{"timestamp": %d, "symbol": "A"}' % T0},
                {b"kind": b"nonsense", b"data": b"{}"},
                {
                    b"kind": b"post",
                    b"data": json.dumps(
                        {"timestamp": T0, "symbol": "A", "id": "p", "available": T0, "simhash": 1}
                    ).encode(),
                },
            ],
            1,
        )
    ]
    assert heard == ["A", None, None]

"""The order of the records, made by hand."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed; it comes with the extra kafka")
from confluent_kafka import KafkaError, KafkaException

from ingest.feeds.kafka import reader as kafka_reader
from ingest.feeds.kafka.reader import Reader
from tests.ingest.feeds.kafka.cluster import Record


class Tape:
    """A consumer that gives what it is told to."""

    def __init__(self, ends: dict[tuple[str, int], int]) -> None:
        self.now = 0.0
        self.come: list[Record] = []
        self.paused: list[tuple[str, int]] = []
        self._ends = ends

    def assign(self, places: list[Any]) -> None:
        self.assigned = {(p.topic, p.partition): p.offset for p in places}

    def consume(self, most: int, timeout_s: float) -> list[Record]:
        self.now += timeout_s
        come, self.come = self.come, []
        return come

    def get_watermark_offsets(self, place: Any, *, cached: bool) -> tuple[int, int]:
        assert cached
        return 0, self._ends[place.topic, place.partition]

    def pause(self, places: list[Any]) -> None:
        self.paused += [(p.topic, p.partition) for p in places]

    def resume(self, places: list[Any]) -> None:
        for p in places:
            self.paused.remove((p.topic, p.partition))


A, B = ("a", 0), ("b", 0)


def read(reader: Reader, tape: Tape, *records: Record, wait_s: float = 0.0) -> list[tuple[str, int]]:
    tape.come = list(records)
    reader.poll(wait_s)
    return [(record.topic(), record.offset()) for record in reader.next_batch()]


def test_records_of_several_topics_are_given_by_their_times() -> None:
    tape = Tape({A: 3, B: 2})
    reader = Reader(tape, {A: 0, B: 0}, clock=lambda: 0.0)
    assert tape.assigned == {A: 0, B: 0}
    assert (
        read(reader, tape, Record("a", 0, 0, 10), Record("a", 0, 1, 20), Record("a", 0, 2, 30)) == []
    )  # b may be older
    assert read(reader, tape, Record("b", 0, 0, 25)) == [("a", 0), ("a", 1), ("b", 0)]  # b's next may be before 30
    assert read(reader, tape, Record("b", 0, 1, 29)) == [("b", 1), ("a", 2)]  # both are at their ends


def test_a_partition_at_its_end_holds_nobody() -> None:
    tape = Tape({A: 1, B: 0})
    reader = Reader(tape, {A: 0, B: 0}, clock=lambda: 0.0)
    assert read(reader, tape, Record("a", 0, 0, 10)) == []
    end: Any = KafkaError(KafkaError._PARTITION_EOF)
    assert read(reader, tape, Record("b", 0, 0, 0, error=end)) == [("a", 0)]


def test_a_partition_that_is_not_heard_of_holds_the_others_for_so_long_only(caplog: pytest.LogCaptureFixture) -> None:
    tape = Tape({A: 9, B: 9})
    reader = Reader(tape, {A: 0, B: 0}, clock=lambda: tape.now)
    assert read(reader, tape, Record("a", 0, 0, 10), wait_s=kafka_reader.HOLD_S / 2) == []
    assert read(reader, tape, wait_s=kafka_reader.HOLD_S / 2) == [("a", 0)]
    assert "nothing is heard of b/0 for 1 s" in caplog.text
    assert read(reader, tape, Record("a", 0, 1, 11)) == [("a", 1)]  # and no longer
    assert read(reader, tape, Record("b", 0, 0, 5), Record("a", 0, 2, 12)) == [("b", 0)]  # back: its next is waited for


def test_time_in_which_nobody_polled_does_not_end_the_hold() -> None:
    tape = Tape({A: 9, B: 9})
    reader = Reader(tape, {A: 0, B: 0}, clock=lambda: tape.now)
    assert read(reader, tape, Record("a", 0, 0, 10)) == []
    tape.now += 5.0  # a write to Redis hung
    assert read(reader, tape, wait_s=0.02) == []
    assert read(reader, tape, Record("b", 0, 0, 5)) == [("b", 0)]  # it was there already, and is before 10


def test_a_partition_far_ahead_is_not_asked_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_reader, "HELD_BYTES", 1000)
    tape = Tape({A: 20, B: 2})
    reader = Reader(tape, {A: 0, B: 0}, clock=lambda: 0.0)
    assert read(reader, tape, *(Record("a", 0, n, n) for n in range(11))) == []  # 11 of 100 bytes
    assert tape.paused == [A]
    # of the same time 4, a is before b
    assert read(reader, tape, Record("b", 0, 0, 4)) == [*(("a", n) for n in range(5)), ("b", 0)]
    assert tape.paused == [A]  # 600 bytes are held
    assert read(reader, tape, Record("b", 0, 1, 99)) == [("a", n) for n in range(5, 11)]
    assert tape.paused == []


def test_an_error_of_a_partition_is_raised_unless_it_passes() -> None:
    reader, tape = Reader(tape := Tape({A: 1}), {A: 0}), tape
    tape.come = [Record("a", 0, 0, 0, error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))]
    with pytest.raises(KafkaException):
        reader.poll(0)

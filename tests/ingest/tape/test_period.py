"""A period of the tape: what the logs had and what came from files, in one order."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.messages.decode import encode
from ingest.messages.kinds import Tick, Trade, WithdrawnPost
from ingest.settings import Settings
from ingest.streams.keys import partition_of
from ingest.streams.read import id_numbers
from ingest.tape.export import export
from ingest.tape.lines import entry_of
from ingest.tape.period import in_order
from ingest.tape.table import TapeError, open_tape
from tests.ingest.backfill.days.tapes import put, put_entries
from transforms.times import datetime_of_ms

AT = 1_700_006_400_000
A, B = "SIM-BTC", "SIM-ETH"


def trade(ms: int, symbol: str = A, us: int | None = None) -> tuple[str, Trade]:
    at = {"timestamp": 0, "timestamp_us": ms * 1000 + us} if us else {"timestamp": ms}
    return "trade", Trade(symbol=symbol, price=1.0, size=1.0, **at)


@pytest.fixture
def conf(in_folder: Settings) -> Settings:
    """A tape with trades of files, two at one id, and of a log, in which one symbol is heard last."""
    put(in_folder, [trade(AT), trade(AT + 300), trade(AT + 100, B)])
    put(in_folder, [trade(AT), trade(AT + 2000, us=1)])
    heard = trade(AT + 900, B)[1]
    entries = [(b"%d-0" % (AT + 950), {b"kind": b"trade", b"data": encode(heard)})]
    put_entries(in_folder, entries, partition_of(B, in_folder.partitions))
    withdrawn = {b"kind": b"withdrawal", b"data": encode(WithdrawnPost(AT + 200, "1", "chat"))}
    put_entries(in_folder, [(b"%d-0" % (AT + 200), withdrawn)], partition_of(A, in_folder.partitions))
    return in_folder


def told(conf: Settings, **which: Any) -> list[tuple[int, str, bytes]]:
    """Return the arrivals less AT, the kinds and the bytes of a period."""
    found = in_order(open_tape(conf), conf, **which)
    return [(id_numbers(at)[0] - AT, fields[b"kind"].decode(), fields[b"data"]) for at, _, fields in found]


def test_what_the_logs_had_is_given_alone_unless_files_are_asked_for(conf) -> None:
    assert [one[:2] for one in told(conf)] == [(200, "withdrawal"), (950, "trade")]


def test_files_and_logs_are_merged_and_time_passes_to_the_boundary_after_each_history_that_files_end(conf) -> None:
    found = told(conf, imported=True)
    trades = [(0, "trade"), (0, "trade"), (100, "trade"), (200, "withdrawal"), (300, "trade"), (950, "trade")]
    assert [one[:2] for one in found] == [*trades, (2000, "trade"), (3000, "tick")]
    assert found[-1][2] == encode(Tick(AT + 3000, A))
    before = told(conf, imported=True, before=datetime_of_ms(AT + 900))
    assert [(at, data) for at, kind, data in before if kind == "tick"] == [
        (1000, encode(Tick(AT + 1000, B))),
        (1000, encode(Tick(AT + 1000, A))),
    ]


def test_a_log_has_each_id_once_and_in_order_though_two_files_gave_one(conf) -> None:
    found = [(p, id_numbers(at)) for at, p, _ in in_order(open_tape(conf), conf, imported=True)]
    for p in range(conf.partitions):
        ids = [at for q, at in found if q == p]
        assert ids == sorted(set(ids))


def test_chosen_symbols_have_what_is_for_all(conf) -> None:
    found = told(conf, imported=True, symbols=[B], since=datetime_of_ms(AT + 50))
    assert [one[:2] for one in found] == [(100, "trade"), (200, "withdrawal"), (950, "trade")]


def test_small_windows_give_the_same(conf, monkeypatch) -> None:
    expected = told(conf, imported=True)
    monkeypatch.setattr("ingest.tape.period.WINDOW_ROWS", 2)
    assert told(conf, imported=True) == expected


def test_an_export_has_files_where_they_are_asked_for(conf, tmp_path) -> None:
    path, span = tmp_path / "x.jsonl", (datetime_of_ms(AT), datetime_of_ms(AT + 86_400_000))
    assert export(open_tape(conf), conf, path, *span) == 2
    assert export(open_tape(conf), conf, path, *span, imported=True) == 8
    lines = [entry_of(line) for line in path.read_bytes().splitlines()[1:]]
    assert lines == list(in_order(open_tape(conf), conf, imported=True))


def test_another_number_of_partitions_is_refused_at_once(conf) -> None:
    other = Settings(partitions=3, tape=conf.tape)
    with pytest.raises(TapeError, match="is of partitions 2, and this is 3"):
        in_order(open_tape(conf), other)

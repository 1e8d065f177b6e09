"""Recordings into the streams of a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ingest.messages.decode import decode
from ingest.messages.kinds import KIND, SocialPost
from ingest.publish import readers
from ingest.publish.counts import Counts
from ingest.publish.readers import NotReadError
from ingest.replay import messages, replay
from ingest.settings import Settings
from ingest.streams import keys

T0 = 1_723_161_255_000
SETTINGS = Settings(partitions=2)
TRADE = {"e": "trade", "s": "BTCUSDT", "p": "100.5", "q": "0.25", "m": True}
A, B = "BTCUSDT", "ETHUSDT"


def raw(received_ms: int, data: dict[str, Any]) -> str:
    return f"{received_ms * 1_000_000} {json.dumps(data)}\n"


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A snapshot, two diffs, two trades, a quote and a damaged line of BTCUSDT."""
    diff = {"e": "depthUpdate", "s": A, "a": []}
    lines = [
        raw(T0, {"lastUpdateId": 9, "bids": [["99", "1"]], "asks": [["101", "2"]]}),
        raw(T0 + 100, {**diff, "E": T0 + 100, "U": 10, "u": 12, "b": [["99.5", "1"]]}),
        raw(T0 + 150, {**TRADE, "T": T0 + 140, "t": 1}),
        "1723161255160000000 {cut",
        "\n",
        raw(T0 + 180, {"u": 12, "s": A, "b": "1", "B": "1", "a": "2", "A": "1"}),
        raw(T0 + 200, {**diff, "E": T0 + 200, "U": 13, "u": 14, "b": []}),
        raw(T0 + 1300, {**TRADE, "T": T0 + 1290, "t": 2}),
    ]
    path = tmp_path / "btc.jsonl"
    path.write_text("".join(lines))
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A trade of ETHUSDT between those of the capture, and a post."""
    path = tmp_path / "own.jsonl"
    trade = {"timestamp": T0 + 145, "symbol": B, "price": 3000, "size": 1, "received": T0 + 145}
    post = {"timestamp": T0 + 500, "id": "p", "text": "up", "source": "s", "symbols": [B], "received": T0 + 510}
    path.write_text(f"{json.dumps(trade)}\n{json.dumps(post)}\n")
    return path


def entries(client: redis.Redis, stream: str) -> list[dict[bytes, bytes]]:
    found: Any = client.xrange(stream)
    return [fields for _, fields in found]


def published(client: redis.Redis, symbol: str) -> list[tuple[str, Any]]:
    found = entries(client, keys.events(keys.partition_of(symbol, 2)))
    kinds = [(e[b"kind"].decode(), e[b"data"]) for e in found]
    return [m for m in ((kind, decode(KIND[kind], data)) for kind, data in kinds) if m[1].symbol == symbol]


@pytest.fixture
def scorer(redis_client: redis.Redis) -> Iterator[list[int]]:
    """Takes posts as the scorer does, and notes how many market messages were there before each."""
    redis_client.xgroup_create(keys.SOCIAL, keys.GROUP, id="0", mkstream=True)
    stop = threading.Event()
    before: list[int] = []

    def score() -> None:
        while not stop.is_set():
            reply: Any = redis_client.xreadgroup(keys.GROUP, keys.CONSUMER, {keys.SOCIAL: ">"}, block=20)
            for _, found in reply or []:
                for entry_id, _ in found:
                    before.append(sum(redis_client.xlen(keys.events(p)) for p in range(2)))  # type: ignore[misc]
                    redis_client.xack(keys.SOCIAL, keys.GROUP, entry_id)

    thread = threading.Thread(target=score)
    thread.start()
    yield before
    stop.set()
    thread.join()


def test_a_capture_goes_into_the_log_of_its_symbol_and_a_tick_ends_it(redis_client: redis.Redis, capture: Path) -> None:
    counts = replay([capture], redis_client, SETTINGS)

    got = published(redis_client, A)
    assert [(kind, m.timestamp - T0) for kind, m in got] == [
        ("book", 100),
        ("trade", 140),
        ("book", 200),
        ("trade", 1290),
        ("tick", 2000),
    ]
    assert all(e[b"recorded"] == b"1" for e in entries(redis_client, keys.events(keys.partition_of(A, 2))))
    assert got[0][1].bids == [(99.5, 1.0), (99.0, 1.0)]
    assert counts.published == {"book": 2, "trade": 2, "tick": 1}
    assert counts.refused == {"undecodable": 1}
    assert (counts.first_ms, counts.last_ms, counts.symbols) == (T0 + 100, T0 + 1290, [A])
    assert counts.lines == 7, "the empty line is none"
    assert counts.ignored == 2, "the snapshot and the quote"


def test_every_line_is_published_refused_or_ignored(
    redis_client: redis.Redis, capture: Path, own: Path, scorer: Any
) -> None:
    counts = replay([capture, own], redis_client, SETTINGS)
    messages_of_lines = sum(counts.published[kind] for kind in ("book", "trade", "social"))
    assert counts.lines == messages_of_lines + counts.refused.total() + counts.ignored == 9


def test_a_refused_line_is_kept_byte_for_byte_with_its_place(redis_client: redis.Redis, capture: Path) -> None:
    replay([capture], redis_client, SETTINGS)
    (letter,) = entries(redis_client, keys.DEAD_LETTER)
    assert letter[b"field:data"] == b"1723161255160000000 {cut"
    assert (letter[b"source"], letter[b"id"], letter[b"reason"]) == (b"btc.jsonl", b"4", b"undecodable")


def test_replaying_twice_publishes_the_same_messages(redis_client: redis.Redis, capture: Path) -> None:
    replay([capture], redis_client, SETTINGS)
    replay([capture], redis_client, SETTINGS)
    found = entries(redis_client, keys.events(keys.partition_of(A, 2)))
    assert found[:5] == found[5:]


def test_posts_are_scored_before_the_market_passes_them(
    redis_client: redis.Redis, capture: Path, own: Path, scorer: list[int]
) -> None:
    counts = replay([capture, own], redis_client, SETTINGS)

    assert scorer == [0], "no market message was in the logs when the post was scored"
    (post,) = entries(redis_client, keys.SOCIAL)
    assert decode(SocialPost, post[b"data"]).id == "p"
    assert post[b"recorded"] == b"1"
    assert counts.published["social"] == 1
    assert [kind for kind, _ in published(redis_client, B)] == ["trade", "tick"]


def test_without_a_scorer_the_replay_says_so(redis_client: redis.Redis, own: Path) -> None:
    with pytest.raises(NotReadError, match="No scorer reads the posts: 1 wait"):
        replay([own], redis_client, SETTINGS, patience_s=0.05)


def test_a_symbol_that_only_posts_name_is_ended_by_a_tick_too(
    redis_client: redis.Redis, tmp_path: Path, scorer: list[int]
) -> None:
    path = tmp_path / "posts.csv"
    path.write_text(f"timestamp,text,symbol\n{T0 + 1},up,{A}\n{T0 + 5000},down,{A}\n{T0},up,\n")
    replay([path], redis_client, SETTINGS)
    assert [(kind, m.timestamp) for kind, m in published(redis_client, A)] == [("tick", T0 + 5000)]


def test_logs_that_nobody_reads_do_not_grow_without_bound(
    redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "CHECK_EVERY", 10)
    monkeypatch.setattr(readers, "WAITING_MAX", 30)
    path = tmp_path / "many.jsonl"
    path.write_text("".join(raw(T0 + n, {**TRADE, "T": T0 + n, "t": n}) for n in range(200)))
    with pytest.raises(NotReadError, match="No worker reads the logs: 40 wait"):
        replay([path], redis_client, SETTINGS, patience_s=0.05)
    assert redis_client.xlen(keys.events(keys.partition_of(A, 2))) == 40


def test_a_recording_is_moved_to_end_now_by_whole_grid_intervals(redis_client: redis.Redis, capture: Path) -> None:
    now_s = T0 / 1000 + 86_400.7
    replay([capture], redis_client, SETTINGS, rebase="now", clock=lambda: now_s)

    shift = 86_400_000 - 2000  # the tick at T0 + 2000 moves to the last whole second before now
    moved = published(redis_client, A)
    assert [m.timestamp - T0 - shift for _, m in moved] == [100, 140, 200, 1290, 2000]
    book, trade = moved[0][1], moved[1][1]
    assert book.received == T0 + 100 + shift
    assert trade.trade_id == 1 + shift, "another event, not a repetition"
    assert book.sequence == T0 + 100 + shift
    assert moved[-1][1].timestamp <= now_s * 1000


def test_a_speed_holds_messages_back_by_their_receive_times(redis_client: redis.Redis, capture: Path) -> None:
    clock = [1000.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    replay([capture], redis_client, SETTINGS, speed=2.0, clock=lambda: clock[0], sleep=sleep)
    assert slept == pytest.approx([0.025, 0.025, 0.55])  # 50, 50 and 1100 ms at double speed


@pytest.mark.parametrize(("speed", "ends_after_s"), [(0.0, 0.0), (1.0, 1.2), (0.5, 1.2), (2.0, 0.6)])
def test_a_paced_and_moved_recording_ends_when_its_replay_does_and_never_comes_from_the_future(
    redis_client: redis.Redis, capture: Path, speed: float, ends_after_s: float
) -> None:
    start_s = T0 / 1000 + 86_400.8
    clock = [start_s]
    settings = Settings(partitions=2, emit_interval_ms=100)

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    counts = replay([capture], redis_client, settings, rebase="now", speed=speed, clock=lambda: clock[0], sleep=sleep)
    # the last event is at T0 + 1290, its boundary at + 1300
    assert counts.last_ms == pytest.approx((start_s + ends_after_s) * 1000 - 10, abs=100)
    assert counts.last_ms <= clock[0] * 1000


def test_the_limit_is_for_each_file(redis_client: redis.Redis, capture: Path, own: Path, scorer: Any) -> None:
    counts = replay([capture, own], redis_client, SETTINGS, limit=1)
    assert counts.published == {"trade": 1, "tick": 1}


def test_progress_is_told(redis_client: redis.Redis, capture: Path) -> None:
    seen: list[Counts] = []
    counts = replay([capture], redis_client, SETTINGS, progress=seen.append)
    assert seen == [counts]


def test_messages_are_read_without_a_server(capture: Path, own: Path) -> None:
    got = [(kind, m.timestamp - T0) for kind, m in messages([capture, own])]
    assert got == [("social", 500), ("book", 100), ("trade", 145), ("trade", 140), ("book", 200), ("trade", 1290)]


def test_a_file_that_is_missing_is_an_error_before_anything_is_published(
    redis_client: redis.Redis, own: Path, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        replay([own, tmp_path / "none.jsonl"], redis_client, SETTINGS)
    assert redis_client.dbsize() == 0

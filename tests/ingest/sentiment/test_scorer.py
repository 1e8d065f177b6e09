"""The scorer on a real server, with a model of a few lines."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest
import redis
from redis.client import Pipeline

from ingest.messages.decode import decode_entry
from ingest.messages.kinds import ScoredPost, WithdrawnPost
from ingest.publish.producer import Batch, Producer
from ingest.sentiment.history import History
from ingest.sentiment.scorer import Scorer
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.backlog import counters
from ingest.streams.move import FROM
from tests.ingest.sentiment.words import NOW_MS, Words
from transforms.sentiment.simhash import simhash

SETTINGS = Settings(partitions=3)


def scorer(client: redis.Redis, model: Words, settings: Settings = SETTINGS, history: History | None = None) -> Scorer:
    return Scorer(client, model, settings, history or History(None), now_ms=lambda: NOW_MS)


POST = {"timestamp": NOW_MS - 5000, "id": "1", "text": "$BTC up", "source": "x"}


def add(client: redis.Redis, *, recorded: bool = False, **post: Any) -> None:
    whole = {**POST, **post}
    fields: dict[Any, Any] = {"data": json.dumps(whole)}
    if recorded:
        fields["recorded"] = "1"
    client.xadd(keys.SOCIAL, fields)


def run(target: Scorer, until: Callable[[], bool]) -> None:
    """Run until nothing is left to do; the deadline is for a scorer that hangs."""
    stop = threading.Event()
    thread = threading.Thread(target=target.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + 60
    try:
        while not until() and thread.is_alive():
            assert time.monotonic() < deadline
            stop.wait(0.01)
    finally:
        stop.set()
        thread.join()


def drain(target: Scorer, client: redis.Redis) -> None:
    run(target, lambda: client.xlen(keys.SOCIAL) == 0)


def logged(client: redis.Redis, symbol: str) -> list[ScoredPost]:
    stream = keys.events(keys.partition_of(symbol, SETTINGS.partitions))
    found = []
    for _, fields in client.xrange(stream):
        assert fields.pop(b"kind") == b"post"
        fields.pop(b"recorded", None)
        post = decode_entry(ScoredPost, fields)
        if post.symbol == symbol:
            found.append(post)
    return found


def letters(client: redis.Redis) -> list[tuple[str, bytes]]:
    return [(f[b"reason"].decode(), f.get(b"field:data", b"")) for _, f in client.xrange(keys.DEAD_LETTER)]


def test_a_post_enters_the_log_of_every_symbol_that_it_names(redis_client: redis.Redis) -> None:
    text = "$BTC and Ethereum up"
    add(redis_client, text=text, author="bob", likes=3, reposts=2, replies=1, followers=9, received=NOW_MS - 4000)
    drain(scorer(redis_client, Words()), redis_client)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        assert logged(redis_client, symbol) == [
            ScoredPost(
                timestamp=NOW_MS - 5000, symbol=symbol, id="1", available=NOW_MS, simhash=simhash(text),
                positive=0.75, negative=0.0, neutral=0.25, model="words@1", author="bob",
                likes=3, reposts=2, replies=1, followers=9, received=NOW_MS - 4000, source="x",
            )
        ]  # fmt: skip
    assert redis_client.xpending(keys.SOCIAL, keys.GROUP)["pending"] == 0
    assert letters(redis_client) == []


@pytest.mark.parametrize(
    "sent", [{"id": "1", "source": "x", "deleted": True}, {"id": "1", "source": "x", "text": "", "timestamp": NOW_MS}]
)
def test_a_withdrawn_or_emptied_post_is_told_to_every_log_and_not_to_the_model(
    redis_client: redis.Redis, sent: dict[str, Any]
) -> None:
    model = Words()
    target = scorer(redis_client, model)
    add(redis_client)
    drain(target, redis_client)
    tokens = model.tokens_read
    redis_client.xadd(keys.SOCIAL, {"data": json.dumps(sent)})
    drain(target, redis_client)
    assert model.tokens_read == tokens and letters(redis_client) == []
    for p in range(SETTINGS.partitions):
        *_, (_, fields) = redis_client.xrange(keys.events(p))
        assert fields[b"kind"] == b"withdrawal"
        message = decode_entry(WithdrawnPost, fields)
        assert (message.timestamp, message.source, message.id) == (NOW_MS, "x", "1")


def test_a_recorded_post_counts_from_when_it_was_received_or_observed(redis_client: redis.Redis) -> None:
    add(redis_client, recorded=True, timestamp=1_700_000_000_000, received=1_700_000_000_500)
    add(
        redis_client,
        recorded=True,
        timestamp=1_700_000_000_000,
        received=1_700_000_000_500,
        observed_at=1_700_000_000_900,
        id="2",
    )
    drain(scorer(redis_client, Words()), redis_client)
    assert [(p.available, p.received) for p in logged(redis_client, "BTCUSDT")] == [
        (1_700_000_000_500,) * 2,
        (1_700_000_000_900,) * 2,
    ]
    stream = keys.events(keys.partition_of("BTCUSDT", SETTINGS.partitions))
    assert all(fields[b"recorded"] == b"1" for _, fields in redis_client.xrange(stream))


@pytest.mark.parametrize(
    ("post", "reason"),
    [
        ({"text": "nice weather"}, "no_symbol"),
        ({"symbols": []}, "no_symbol"),
        ({"symbols": ["a b"]}, "bad_symbol"),
        ({"symbols": [f"S{i}" for i in range(65)]}, "out_of_range"),
        ({"id": ""}, "wrong_type"),
        ({"id": "a\x00b"}, "wrong_type"),
        ({"id": "\ud83d"}, "wrong_type"),
        ({"id": "x" * 257}, "out_of_range"),
        ({"source": "a\x00b"}, "wrong_type"),
        ({"source": "x" * 257}, "out_of_range"),
        ({"id": 7.5}, "wrong_type"),
        ({"text": None}, "wrong_type"),
        ({"likes": 10**30}, "out_of_range"),
        ({"timestamp": 0}, "out_of_range"),
        ({"timestamp": NOW_MS + 6000}, "future_time"),
        ({"observed_at": NOW_MS + 6000}, "future_time"),
        ({"text": "$BTC poison"}, "failed"),
    ],
)
def test_what_cannot_be_taken_is_kept_whole_with_its_reason(
    redis_client: redis.Redis, post: dict[str, Any], reason: str
) -> None:
    add(redis_client, **post)
    add(redis_client, id="good")
    [(_, refused), _] = redis_client.xrange(keys.SOCIAL)
    drain(scorer(redis_client, Words()), redis_client)
    assert letters(redis_client) == [(reason, refused[b"data"])]
    assert [p.id for p in logged(redis_client, "BTCUSDT")] == ["good"]


@pytest.mark.parametrize("data", [b"", b"{", b"\x80", b"\xff\xff", b'{"id": "1"}', b"[" * 100_000])
def test_bytes_that_are_no_post_are_kept(redis_client: redis.Redis, data: bytes) -> None:
    redis_client.xadd(keys.SOCIAL, {"data": data})
    drain(scorer(redis_client, Words()), redis_client)
    [(reason, kept)] = letters(redis_client)
    assert kept == data
    assert reason in ("undecodable", "missing_field", "wrong_type")


class Crash(BaseException):
    """The process is killed."""


def test_a_crash_anywhere_in_a_batch_loses_no_post_and_logs_none_twice(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(120):
        add(redis_client, id=str(i), text=f"$BTC up {i}")
    model = Words()
    whole = model.score

    def dies(texts: Sequence[str]) -> Any:
        monkeypatch.setattr(model, "score", whole)
        raise Crash

    for crash_in_model in (True, False):
        victim = scorer(redis_client, model)
        if crash_in_model:
            monkeypatch.setattr(model, "score", dies)
        else:  # scored, and dead before the transaction is sent
            monkeypatch.setattr(victim, "_copies", lambda *_: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            victim.run(threading.Event())
    assert redis_client.xpending(keys.SOCIAL, keys.GROUP)["pending"] == 50
    drain(scorer(redis_client, model), redis_client)
    assert [p.id for p in logged(redis_client, "BTCUSDT")] == [str(i) for i in range(120)]


def test_posts_of_a_scorer_that_died_are_taken_over_by_one_that_runs(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.sentiment.scorer.ABANDONED_S", 0.02)
    monkeypatch.setattr("ingest.sentiment.scorer.LOOK_S", 0.02)
    given: list[Any] = []

    add(redis_client, id="first")

    def dies_with_three_posts() -> bool:
        if not given and redis_client.xlen(keys.SOCIAL) == 0:  # the scorer runs
            with redis_client.pipeline() as together:  # before the scorer that runs can read them
                for i in range(3):
                    together.xadd(keys.SOCIAL, {"data": json.dumps({**POST, "id": str(i)})})
                together.xreadgroup(keys.GROUP, keys.CONSUMER, {keys.SOCIAL: ">"})
                given.append(together.execute()[-1])
        return bool(given) and redis_client.xlen(keys.SOCIAL) == 0

    run(scorer(redis_client, Words()), dies_with_three_posts)
    [[(_, dead)]] = given
    assert [p.id for p in logged(redis_client, "BTCUSDT")] == ["first", "0", "1", "2"]
    late = scorer(redis_client, Words())
    late.score_and_move([(keys.SOCIAL, entry_id, fields) for entry_id, fields in dead])  # it was only slow
    assert [p.id for p in logged(redis_client, "BTCUSDT")] == ["first", "0", "1", "2"]
    assert redis_client.xpending(keys.SOCIAL, keys.GROUP)["pending"] == 0


def test_hostile_posts_are_scored_or_refused(redis_client: redis.Redis) -> None:
    texts = [
        "$BTC " + "a" * 100_000, "🚀" * 100_000, "\x00\x01\x1b[31m", "\ud83d $BTC", "比特币 🚀", "биткоин btc",
        "ETH سوق", "यह bitcoin है", "ビットコイン", "비트코인", "סול $SOL", "ราคา bitcoin",
    ]  # fmt: skip
    for i, text in enumerate(texts):
        add(redis_client, id=str(i), text=text, author="\ud83d" + "x" * 10_000)
    drain(scorer(redis_client, Words()), redis_client)
    kept = {p.id for s in ("BTCUSDT", "ETHUSDT", "SOLUSDT") for p in logged(redis_client, s)}
    assert len(kept) + len(letters(redis_client)) == len(texts)
    assert len(kept) == 10  # all but the emoji and the control characters, which name no symbol


def test_a_model_that_always_fails_stops_the_scorer_and_keeps_the_posts(redis_client: redis.Redis) -> None:
    model = Words()
    model.broken = True
    for i in range(3):
        add(redis_client, id=str(i), text=f"$BTC up {i}")
        with pytest.raises(RuntimeError, match="poison"):
            scorer(redis_client, model).run(threading.Event())
    assert redis_client.xpending(keys.SOCIAL, keys.GROUP)["pending"] == 1  # of one post, too, the fault is the model's
    assert letters(redis_client) == []
    model.broken = False
    drain(scorer(redis_client, model), redis_client)
    assert [p.id for p in logged(redis_client, "BTCUSDT")] == ["0", "1", "2"]


def test_posts_that_all_fail_do_not_stop_a_model_that_is_well(redis_client: redis.Redis) -> None:
    for i in range(3):
        add(redis_client, id=str(i), text=f"$BTC poison {i}")
    drain(scorer(redis_client, Words()), redis_client)
    assert len(letters(redis_client)) == 3
    assert redis_client.xlen(keys.SOCIAL) == 0


def test_what_the_model_did_is_counted_beside_its_name(redis_client: redis.Redis) -> None:
    for i, text in enumerate(["$BTC up", "$BTC up", "$BTC is down", "nice weather"]):
        add(redis_client, id=str(i), text=text)
    drain(scorer(redis_client, Words()), redis_client)
    found: Any = redis_client.hgetall(keys.counters(keys.EDGE))
    assert found.pop(b"scorer.model") == b"words@1"
    assert int(found.pop(b"scorer.ms")) >= 0
    # two texts, of two and three words; the weather names no symbol
    assert found == {b"scorer.batches": b"1", b"scorer.texts": b"2", b"scorer.tokens": b"5", b"refused.no_symbol": b"1"}
    counted = counters(redis_client, SETTINGS.partitions)
    assert counted["scorer.tokens"] == 5
    assert "scorer.model" not in counted


def test_what_the_table_knows_is_not_scored_again(redis_client: redis.Redis, postgres_url: str) -> None:
    for turn in range(2):
        history = History(postgres_url)
        model = Words()
        add(redis_client, id=f"a{turn}")
        add(redis_client, id=f"b{turn}", text="btc down")
        drain(scorer(redis_client, model, history=history), redis_client)
        history.close()
        assert len(model.scored) == (2 if turn == 0 else 0)
    assert [p.positive for p in logged(redis_client, "BTCUSDT")] == [0.75, 0.0, 0.75, 0.0]


def test_a_crash_between_the_table_and_the_logs_scores_nothing_again(
    redis_client: redis.Redis, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        add(redis_client, id=str(i), text=f"$BTC up {i}")
    with monkeypatch.context() as patch:
        patch.setattr("ingest.sentiment.scorer.append", lambda *_, **__: (_ for _ in ()).throw(Crash))
        before = History(postgres_url)
        with pytest.raises(Crash):
            scorer(redis_client, Words(), history=before).run(threading.Event())
        before.close()
    model = Words()
    history = History(postgres_url)
    drain(scorer(redis_client, model, history=history), redis_client)
    history.close()
    assert model.scored == []
    assert [(p.id, p.positive) for p in logged(redis_client, "BTCUSDT")] == [("0", 0.75), ("1", 0.75), ("2", 0.75)]
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM social_scores").fetchone() == (3,)


def test_an_answer_that_was_lost_moves_nothing_twice(
    one_server: None, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(3):
        add(redis_client, id=str(i))
    add(redis_client, id="bad", text="nice weather")
    lost: list[int] = []
    execute = Pipeline.execute

    def loses_its_answer(pipe: Any, *args: Any, **options: Any) -> Any:
        is_move = any(words[0] == "EVAL" for words, _ in pipe.command_stack)
        replies = execute(pipe, *args, **options)
        if is_move and len(lost) < 2:
            lost.append(sum(replies))
            raise redis.ConnectionError("gone")
        return replies

    monkeypatch.setattr(Pipeline, "execute", loses_its_answer)
    batch = [(keys.SOCIAL, entry_id, fields) for entry_id, fields in redis_client.xrange(keys.SOCIAL)]
    target = scorer(redis_client, Words())
    for _ in range(2):  # as two scorers that were given the same
        with pytest.raises(redis.ConnectionError):
            target.score_and_move(batch)
    assert lost == [4, 0]
    add(redis_client, id="3")
    drain(target, redis_client)
    assert [p.id for p in logged(redis_client, "BTCUSDT")] == ["0", "1", "2", "3"]
    assert [reason for reason, _ in letters(redis_client)] == ["no_symbol"]
    assert caplog.text.count("cannot go on") == 0


def test_the_scorer_waits_for_a_redis_that_is_away_and_says_so_once(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(5):
        add(redis_client, id=str(i))
    away = [True] * 3
    kind = type(redis_client.pipeline())
    execute = kind.execute

    def fails(*args: Any, **options: Any) -> Any:
        if away:
            away.pop()
            raise redis.ConnectionError("away")
        return execute(*args, **options)

    monkeypatch.setattr(kind, "execute", fails)
    drain(scorer(redis_client, Words()), redis_client)
    assert [p.id for p in logged(redis_client, "BTCUSDT")] == [str(i) for i in range(5)]
    assert caplog.text.count("the scorer cannot go on") == 1


def test_a_post_of_more_fields_than_any_has_is_refused(redis_client: redis.Redis) -> None:
    redis_client.xadd(keys.SOCIAL, {f"f{i}": "x" for i in range(20_000)})
    add(redis_client)
    drain(scorer(redis_client, Words()), redis_client)
    assert [reason for reason, _ in letters(redis_client)] == ["wrong_type"]
    assert len(logged(redis_client, "BTCUSDT")) == 1


def test_the_scorer_goes_on_without_its_database(redis_client: redis.Redis) -> None:
    history = History("postgresql://nobody:secret@127.0.0.1:1/none")
    add(redis_client)
    drain(scorer(redis_client, Words(), history=history), redis_client)
    assert len(logged(redis_client, "BTCUSDT")) == 1
    assert history.waiting == 1


def test_with_a_tape_a_post_is_kept_as_it_was_written_in_the_step_that_moves_it(redis_client: redis.Redis) -> None:
    add(redis_client, text="$BTC and Ethereum up", recorded=True)
    add(redis_client, id="2", text="about nothing")
    [(entry_id, written), (refused_id, _)] = redis_client.xrange(keys.SOCIAL)
    drain(scorer(redis_client, Words(), Settings(partitions=3, tape="/tape")), redis_client)
    [(_, kept)] = redis_client.xrange(keys.WRITTEN)  # once, though it is in two logs
    assert kept == {b"social_data": entry_id, **written}
    [(_, letter)] = redis_client.xrange(keys.DEAD_LETTER)  # the other one is whole among the letters
    assert letter[b"id"] == refused_id


def test_without_a_tape_no_post_is_kept(redis_client: redis.Redis) -> None:
    add(redis_client)
    drain(scorer(redis_client, Words()), redis_client)
    assert not redis_client.exists(keys.WRITTEN)


def test_a_post_that_its_feed_wrote_again_as_another_entry_enters_no_log_twice(redis_client: redis.Redis) -> None:
    def post(i: int, text: str) -> list[Any]:
        return [b"data", json.dumps({"timestamp": NOW_MS - 5000, "id": str(i), "text": text, "source": "x"})]

    producer = Producer(redis_client)
    producer.write(Batch({keys.SOCIAL: [post(1, "$BTC up"), post(2, "$BTC up")]}))
    past = {key: redis_client.dump(key) for key in (keys.SOCIAL, *redis_client.keys("moved:{social_data}*"))}
    for i, text in enumerate(["$BTC up", "nothing", "$BTC up"], 3):
        producer.write(Batch({keys.SOCIAL: [post(i, text)]}))
    drain(scorer(redis_client, Words()), redis_client)
    redis_client.delete(keys.SOCIAL)
    for key, value in past.items():  # the master of this stream alone comes back older
        redis_client.restore(key, 0, value, replace=True)  # type: ignore[arg-type]
    producer.write(Batch({}))
    assert redis_client.xlen(keys.SOCIAL) == 5
    drain(scorer(redis_client, Words(), Settings(partitions=3, tape="/tape")), redis_client)
    assert [p.id for p in logged(redis_client, "BTCUSDT")] == ["1", "2", "3", "5"]
    assert len(letters(redis_client)) == 1
    assert all(FROM not in fields for _, fields in redis_client.xrange(keys.WRITTEN))
    assert all(b"field:_from" not in fields for _, fields in redis_client.xrange(keys.DEAD_LETTER))

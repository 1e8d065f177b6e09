"""The number of partitions is raised while a worker runs: what each log and each new partition has afterwards, on a real Redis."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import Any

import pytest
import redis

from ingest.cli import main
from ingest.messages.decode import decode, encode
from ingest.messages.kinds import Clock, OrderBook, Tick, Trade
from ingest.publish import producer as producer_module
from ingest.publish.outlet import Outlet
from ingest.publish.placed import entries_of, words_of
from ingest.publish.producer import Producer
from ingest.publish.publisher import Publisher
from ingest.recordings.lines import Parsed
from ingest.router import Router
from ingest.settings import Settings
from ingest.streams import dead_letters, deployment, idle_state, keys, move, raised, read
from ingest.streams.move import Batch, PlacesError, Record, Step
from ingest.streams.outage import open_redis
from ingest.worker import commit, raising, rows
from ingest.worker import divide as dividing
from ingest.worker.divide import divide
from ingest.worker.worker import Worker

T0 = 1_700_000_000_000
CONF = Settings(partitions=2)
NAMES = [f"S{n}" for n in range(12)]
"""Symbols of all partitions of 2, of 4 and of 6."""


def books(first: int, n: int) -> list[Parsed]:
    return [
        Parsed(
            "book", OrderBook(T0 + 250 * i + k, name, [(99.0, 1.0 + i)], [(101.0 + k, 1.0)], received=T0 + 250 * i + k)
        )
        for i in range(first, first + n)
        for k, name in enumerate(NAMES)
    ]


def raise_to(client: redis.Redis, one: Worker, n: int, conf: Settings = CONF) -> Settings:
    """Let a worker raise the number, and return the settings that count then."""
    now = deployment.adopted(client, conf)
    raised.ask(client, now.partitions, n)
    for _ in range(200):
        one._member._beaten = 0.0
        one.step()
        if raised.number(client) == n:
            return deployment.adopted(client, conf)
    raise AssertionError([client.get(keys.number(p)) for p in range(n)])


def opened(client: redis.Redis, conf: Settings) -> Worker:
    one = Worker(client, conf, lambda: (T0 + 3_600_000) * 1000)
    one.open()
    return one


def work(one: Worker) -> None:
    while one.step():
        pass
    one.flush()


def stored_rows(client: redis.Redis, partitions: int) -> dict[tuple[str, str, int], bytes]:
    """All rows of the outboxes; each is there once."""
    found: dict[tuple[str, str, int], bytes] = {}
    for p in range(partitions):
        entries: Any = client.xrange(keys.outbox(p))
        for _, fields in entries:
            of = rows.decode(fields[b"rows"])
            for i, name in enumerate(of.symbols):
                key = of.view.name, name, int(of.event_us[i])
                assert key not in found, "a row is there twice"
                found[key] = of.values[i].tobytes()
    return found


@pytest.mark.parametrize("numbers", [(6,), (4, 8)])
def test_rows_are_those_of_a_worker_that_was_never_raised(redis_client: redis.Redis, numbers: tuple[int, ...]) -> None:
    def run(*steps: int) -> dict[tuple[str, str, int], bytes]:
        redis_client.flushall()
        conf, one = CONF, opened(redis_client, CONF)
        outlet = Outlet(redis_client, CONF)
        for n, number in enumerate((*steps, 0)):
            outlet.write(books(20 * n, 20))
            work(one)
            if number:
                conf = raise_to(redis_client, one, number)
                one.close()
                one = opened(redis_client, conf)
        outlet.write(books(20 * (len(steps) + 1), 0))
        work(one)
        one.close()
        return stored_rows(redis_client, conf.partitions)

    expected = run(*[0] * len(numbers))
    assert len(expected) > 100
    assert run(*numbers) == expected
    for p in range(numbers[-1]):
        states: Any = redis_client.hkeys(keys.checkpoint(p))
        names = {field.partition(b" ")[0].decode() for field in states if b" " in field}
        assert names == {name for name in NAMES if keys.partition_of(name, numbers[-1]) == p}


def test_a_closed_log_refuses_everybody_who_counts_other_partitions(redis_client: redis.Redis) -> None:
    one = opened(redis_client, CONF)
    conf = raise_to(redis_client, one, 4)
    one.close()
    assert (conf.partitions, conf.configured, conf.number) == (4, 2, "4")
    trade = {b"data": encode(Trade(T0, "S0", 1.0, 1.0))}
    redis_client.xadd("market_data", trade)  # type: ignore[arg-type]
    entries = read.entries_after(redis_client, {"market_data": read.START}, 10, None)
    with pytest.raises(PlacesError):
        Router(redis_client, 2).move(entries)
    assert redis_client.xlen("market_data") == 1, "it waits"
    assert Router(redis_client, 4, "4").move(entries) == 1
    late = Worker(redis_client, CONF)
    with pytest.raises(deployment.PartitionsError):
        late.open()
    p = keys.partition_of("S0", 2)
    with pytest.raises(PlacesError):
        move.append(redis_client, [Batch(p, [Record("x", (1, 0), ["kind", "trade", *trade, *trade.values()])])])


def test_a_feed_places_what_was_refused_anew_and_gives_it_once(redis_client: redis.Redis) -> None:
    one, producer = opened(redis_client, CONF), Producer(redis_client, settings=CONF)
    entries: dict[Any, Any] = {}
    for output in books(0, 1):
        for place, fields in entries_of(output.kind, output.message, 2):
            entries.setdefault(place, []).append(words_of(fields))
    for place, fields in entries_of("clock", Clock(T0, NAMES), 2):
        entries[place].append(words_of(fields))
    batch = producer_module.Batch(entries, {}, 2)
    redis_client.set(keys.number(1), "closed 6")  # so one log takes the batch and the other does not
    with pytest.raises(PlacesError):
        producer.write(batch)
    redis_client.delete(keys.number(1))
    assert [len(logged(redis_client, p)) for p in range(2)] == [len(entries[0]) - 1, 0]
    raise_to(redis_client, one, 6)
    one.close()
    with pytest.raises(PlacesError):  # then it looks, and places the batch anew
        producer.write(batch)
    producer.write(batch)
    assert producer.partitions == 6
    assert sorted(name for p in range(6) for name in logged(redis_client, p)) == sorted(NAMES)
    clocks = [
        name
        for p in range(6)
        for _, fields in redis_client.xrange(keys.events(p))
        if fields[b"kind"] == b"clock"  # type: ignore[union-attr]
        for name in decode(Clock, fields[b"data"]).symbols
    ]
    assert sorted(clocks) == sorted(NAMES)
    for p in range(2, 6):
        assert set(logged(redis_client, p)) <= {name for name in NAMES if keys.partition_of(name, 6) == p}
    producer.write(producer_module.Batch({}))


def logged(client: redis.Redis, p: int) -> list[str]:
    entries: Any = client.xrange(keys.events(p))
    return [decode(OrderBook, fields[b"data"]).symbol for _, fields in entries if fields[b"kind"] == b"book"]


def test_a_publisher_waits_and_goes_on(redis_client: redis.Redis, redis_url: str) -> None:
    one = opened(redis_client, CONF)
    raised.ask(redis_client, 2, 4)
    redis_client.set(keys.number(0), "closed 4")
    redis_client.set(keys.number(1), "closed 4")

    def publish() -> None:
        with open_redis(redis_url) as mine, Publisher(mine, 2) as publisher:
            for name in NAMES:
                publisher.publish("tick", Tick(T0, name), recorded=True)

    thread = threading.Thread(target=publish)
    thread.start()
    raise_to(redis_client, one, 4)
    one.close()
    thread.join(30)
    placed: Any = [redis_client.xrange(keys.events(p)) for p in range(4)]
    names = {p: [decode(Tick, fields[b"data"]).symbol for _, fields in entries] for p, entries in enumerate(placed)}
    assert names == {p: [name for name in NAMES if keys.partition_of(name, 4) == p] for p in range(4)}


def test_new_partitions_have_what_their_symbols_go_on_with(redis_client: redis.Redis) -> None:
    one, source = opened(redis_client, replace(CONF, forget_s=3600)), "feed:0123"
    Outlet(redis_client, CONF, feed="venue").write(
        [Parsed("trade", Trade(T0 + 10, name, 1.0, 1.0, "buy", 7, T0 + 10)) for name in NAMES]
    )
    work(one)
    redis_client.set(keys.moved(0, source), "5-0", px=3_600_000)
    redis_client.set(keys.moved(0, "order_book"), "6-0")
    redis_client.hset(keys.retried(0), "1-1@0", "events:{0} 2-2")
    idle = idle_state.pack(T0, T0 * 1000, {"x": b"y"})
    moving = next(name for name in NAMES if keys.partition_of(name, 4) == 2)
    redis_client.hset(keys.idle(0), moving, idle)
    redis_client.hset(keys.holes(0), mapping={f"{moving} holes": 3, "* holes": 2})
    raise_to(redis_client, one, 4)
    assert redis_client.get(keys.moved(2, source)) == b"5-0"
    assert 3_500_000 < redis_client.pttl(keys.moved(2, source)) <= 3_600_000
    assert redis_client.pttl(keys.moved(2, "order_book")) == -1
    assert redis_client.hget(keys.retried(2), "1-1@0") == b"events:{0} 2-2"
    assert redis_client.hget(keys.idle(2), moving) == idle
    assert redis_client.hgetall(keys.holes(2)) == {f"{moving} holes".encode(): b"3"}
    notes: Any = redis_client.hkeys(keys.last_trades(2, "venue"))
    assert {name.decode() for name in notes} == {name for name in NAMES if keys.partition_of(name, 4) == 2}
    last = redis_client.hget(keys.checkpoint(0), "last_id")
    about: Any = redis_client.xinfo_stream(keys.events(2))
    assert last == redis_client.hget(keys.checkpoint(2), "last_id") == about["last-generated-id"]
    one.close()
    opened(redis_client, deployment.adopted(redis_client, CONF)).close()
    assert redis_client.hgetall(keys.holes(0)) == {b"* holes": b"2"}


def test_a_new_partition_that_goes_on_takes_nothing_from_an_owner_that_wakes_up_late(redis_client: redis.Redis) -> None:
    one, outlet = opened(redis_client, CONF), Outlet(redis_client, CONF)
    outlet.write(books(0, 8))
    work(one)
    conf = raise_to(redis_client, one, 4)
    one.close()
    one = opened(redis_client, conf)
    outlet.write(books(8, 8))
    work(one)
    one.close()
    before = {p: redis_client.hgetall(keys.checkpoint(p)) for p in (2, 3)}
    for p in (0, 1):
        divide(redis_client, p, 2, 4, lambda: None)
    assert {p: redis_client.hgetall(keys.checkpoint(p)) for p in (2, 3)} == before


@pytest.mark.parametrize(
    "script", [raising._TURN, dividing._FILL, dividing._BEGIN, commit._COMMIT], ids=["turn", "fill", "begin", "commit"]
)
@pytest.mark.parametrize("calls", [0, 1, 3])
def test_the_next_owner_goes_on_wherever_one_dies(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, script: str, calls: int
) -> None:
    """A worker is cut off at one script or another, and forgotten; the next one goes on when its leases have ended."""
    one, outlet = opened(redis_client, CONF), Outlet(redis_client, CONF)
    outlet.write(books(0, 12))
    work(one)
    raised.ask(redis_client, 2, 6)
    left = [calls]

    class DiedError(Exception):
        pass

    def cut(real: Any) -> Any:
        def call(self: Any, *words: Any, **options: Any) -> Any:
            if words[:2] == ("EVAL", script):
                left[0] -= 1
                if left[0] < 0:
                    raise DiedError
            return real(self, *words, **options)

        return call

    with monkeypatch.context() as patch, contextlib.suppress(DiedError):
        for kind in (redis.Redis, redis.client.Pipeline):
            patch.setattr(kind, "execute_command", cut(kind.execute_command))
        for _ in range(60):
            one._member._beaten = 0.0
            one.step()
    assert left[0] < 0 or raised.number(redis_client) == 6
    for p in range(2):
        redis_client.delete(keys.owner(p))
    redis_client.delete(keys.members("worker"))
    if raised.number(redis_client) != 6:
        other = opened(redis_client, CONF)
        raise_to(redis_client, other, 6)
        other.close()
    conf = deployment.adopted(redis_client, CONF)
    redis_client.delete(*(keys.owner(p) for p in range(6)), keys.members("worker"))
    other = opened(redis_client, conf)
    outlet.write(books(12, 12))
    work(other)
    other.close()
    found = stored_rows(redis_client, 6)
    redis_client.flushall()
    one, outlet = opened(redis_client, CONF), Outlet(redis_client, CONF)
    outlet.write(books(0, 24))
    work(one)
    one.close()
    assert found == stored_rows(redis_client, 2)


def test_a_goal_that_a_failover_has_lost_is_asked_for_again_by_the_workers(redis_client: redis.Redis) -> None:
    """The command that asked may be gone, and the logs are closed: nothing would ever open them."""
    one = opened(redis_client, CONF)
    raised.ask(redis_client, 2, 4)
    one._member._beaten = 0.0
    one.step()
    assert [redis_client.get(keys.number(p)) for p in range(2)] == [b"closed 4"] * 2
    redis_client.delete(keys.GOAL)
    for _ in range(20):
        one._member._beaten = 0.0
        one.step()
    assert raised.number(redis_client) == 4
    one._member._beaten = 0.0
    redis_client.delete(keys.GOAL)
    one.step()
    assert not redis_client.exists(keys.GOAL), "it is reached"
    one.close()


def test_a_letter_is_put_back_into_the_log_of_its_symbol_and_once(redis_client: redis.Redis) -> None:
    one, outlet = opened(redis_client, CONF), Outlet(redis_client, CONF)
    name = next(name for name in NAMES if keys.partition_of(name, 4) == 3)
    outlet.write([Parsed("trade", Trade(T0, name, -1.0, 1.0, received=T0))])
    work(one)
    conf = raise_to(redis_client, one, 4)
    one.close()
    [letter] = dead_letters.oldest(redis_client, 4, number=conf.number)
    with pytest.raises(dead_letters.RetryError, match="being raised"):
        dead_letters.retry(redis_client, letter, 2)
    is_new, entry = dead_letters.retry(redis_client, letter, 4, conf.number)
    assert (is_new, entry.split()[0]) == (True, keys.events(3))
    [again] = dead_letters.oldest(redis_client, 4, number=conf.number)
    assert dead_letters.retry(redis_client, again, 4, conf.number) == (False, entry)


@pytest.mark.parametrize("goal", [1, 2, 3, 5000])
def test_only_a_multiple_is_possible(redis_client: redis.Redis, goal: int) -> None:
    deployment.fix_in_redis(redis_client, 2)
    with pytest.raises(raised.GoalError, match="possible are 4, 6, 8"):
        raised.ask(redis_client, 2, goal)
    assert not redis_client.exists(keys.GOAL)


def test_another_goal_waits_until_the_first_is_reached(redis_client: redis.Redis) -> None:
    raised.ask(redis_client, 2, 4)
    raised.ask(redis_client, 2, 4)
    with pytest.raises(raised.GoalError, match="being raised to 4"):
        raised.ask(redis_client, 2, 8)
    raised.ask(redis_client, 4, 8)


def test_settings_of_an_earlier_number_go_on_with_that_of_today_and_others_are_refused(
    redis_client: redis.Redis,
) -> None:
    deployment.fix_in_redis(redis_client, 2)
    for before, now in ((2, 4), (4, 12)):
        raised.ask(redis_client, before, now)
        raised.fix(redis_client, before, now)
    for configured in (2, 4, 12):
        conf = deployment.adopted(redis_client, Settings(partitions=configured))
        assert (conf.partitions, conf.number) == (12, "12")
        assert deployment.adopted(redis_client, conf) == conf
    with pytest.raises(deployment.PartitionsError):
        deployment.adopted(redis_client, Settings(partitions=6))


def test_a_part_begins_anew_when_another_number_counts_and_ends_when_it_is_stopped(redis_client: redis.Redis) -> None:
    stop, seen = threading.Event(), []
    for conf, until in raised.each_number(redis_client, CONF, stop):
        seen.append(conf.partitions)
        if len(seen) == 1:
            raised.fix(redis_client, 2, 4)
        else:
            threading.Timer(0.1, stop.set).start()
        while not until.is_set():
            until.wait(0.01)
    assert seen == [2, 4]


def test_the_command_tells_partitions_symbols_and_rates(
    redis_client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    monkeypatch.setenv("TFS_PARTITIONS", "2")
    one = opened(redis_client, CONF)
    Outlet(redis_client, CONF).write(books(0, 2))
    work(one)
    one.close()
    assert main(["partitions", "--over", "0.1"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "2 partitions"
    counts = [sum(keys.partition_of(name, 2) == p for name in NAMES) for p in range(2)]
    assert [int(line.split()[1]) for line in told[1:]] == counts
    assert main(["partitions", "--to", "3"]) == 2
    assert main(["partitions", "--to", "4", "--wait", "0.2"]) == 1, "no worker runs"
    assert "every partition needs a worker" not in capsys.readouterr().out
    assert redis_client.get(keys.GOAL) == b"4"


def test_the_command_waits_out_a_failover_on_the_way_as_long_as_it_waits_at_all(
    redis_client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    monkeypatch.setenv("TFS_PARTITIONS", "2")
    real, calls = raised.ask, list[int]()

    def ask(client: redis.Redis, now: int, goal: int) -> None:
        real(client, now, goal)
        calls.append(now)
        if len(calls) in (2, 3):
            raise redis.ConnectionError("a failover")
        if len(calls) == 4:
            raised.fix(client, now, goal)

    monkeypatch.setattr(raised, "ask", ask)
    assert main(["partitions", "--to", "4"]) == 0
    assert calls == [2] * 4
    calls[:] = [4]
    assert main(["partitions", "--to", "8", "--wait", "0"]) == 2, "Redis is away, and the time is over"


def test_steps_of_a_source_stay_with_its_markers(redis_client: redis.Redis) -> None:
    """A marker that a divided partition lost would let a batch in again; one that it has leaves it out."""
    one = opened(redis_client, CONF)
    batch = Batch(0, [Record("x", (3, 0), ["kind", "tick", "data", encode(Tick(T0, "S0"))])], [Step("x", (3, 0))])
    assert move.append(redis_client, [batch]) == [1]
    work(one)
    raise_to(redis_client, one, 4)
    one.close()
    assert move.append(redis_client, [batch._replace(place=2)], number="4") == [0]

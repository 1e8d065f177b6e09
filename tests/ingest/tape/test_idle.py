"""States of idle symbols go from Redis to the tape, and objects that nobody needs go away."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import redis

from ingest.settings import Settings
from ingest.streams import idle_state, keys
from ingest.tape import idle
from ingest.tape.idle import IdleStates
from ingest.tape.store import Store
from ingest.tape.table import StorageError

HOSTILE = "../../etc/passwd"
PARTS = {"order": b"1", "engine": bytes(range(256)) * 9}


@pytest.fixture(params=["folder", "S3"])
def conf(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    place = str(tmp_path / "tape") if request.param == "folder" else str(request.getfixturevalue("bucket"))
    return Settings(partitions=2, tape=place)


def store(conf: Settings) -> Store:
    return Store(conf.tape, idle.FOLDER)


def at_tape(client: redis.Redis, conf: Settings, name: str, p: int = 1) -> dict[str, bytes]:
    state = idle_state.unpack(client.hget(keys.idle(p), name))
    assert state.parts is None
    return idle_state.parts_of(store(conf).read(state.name(name)))


def test_a_state_is_at_the_tape_before_it_leaves_redis_and_no_name_is_in_a_path(redis_client, conf, tmp_path) -> None:
    redis_client.hset(keys.idle(1), HOSTILE, idle_state.pack(7, 8_000, PARTS))
    before = redis_client.memory_usage(keys.idle(1))
    states = IdleStates(redis_client, conf)
    assert (states.move(), states.move()) == (1, 0)
    state = idle_state.unpack(redis_client.hget(keys.idle(1), HOSTILE))
    assert (state.heard_ms, state.watermark_us, state.parts) == (7, 8_000, None)
    assert at_tape(redis_client, conf, HOSTILE) == PARTS
    (name,) = store(conf).names()
    assert set(name) <= set("0123456789abcdef-") and redis_client.memory_usage(keys.idle(1)) < before / 2


def test_a_symbol_that_is_heard_or_leaves_again_meanwhile_keeps_its_newer_state(
    redis_client, conf, monkeypatch
) -> None:
    value = idle_state.pack(7, 8_000, PARTS)
    for name in ("HEARD", "AGAIN"):
        redis_client.hset(keys.idle(1), name, value)
    again = idle_state.pack(9, 9_000, {"order": b"2"})
    write = Store.write

    def meanwhile(self: Store, name: str, data: bytes) -> None:
        write(self, name, data)
        redis_client.hdel(keys.idle(1), "HEARD")
        redis_client.hset(keys.idle(1), "AGAIN", again)

    states = IdleStates(redis_client, conf)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "write", meanwhile)
        assert states.move() == 0
    assert redis_client.hgetall(keys.idle(1)) == {b"AGAIN": again}
    assert states.move() == 1 and at_tape(redis_client, conf, "AGAIN") == {"order": b"2"}


def test_an_older_redis_finds_the_state_to_which_it_refers_for_a_day(redis_client, conf) -> None:
    now = [0.0]
    states = IdleStates(redis_client, conf, lambda: now[0])
    redis_client.hset(keys.idle(1), "A", idle_state.pack(7, 8_000, PARTS))
    states.move()
    older = redis_client.hget(keys.idle(1), "A")
    redis_client.hset(keys.idle(1), "A", idle_state.pack(9, 9_000, {"order": b"2"}))
    states.move()
    assert (states.sweep(), len(store(conf).names())) == (0, 2)
    now[0] = idle.KEPT_S - 1
    assert states.sweep() == 0
    newer = redis_client.hget(keys.idle(1), "A")
    redis_client.hset(keys.idle(1), "A", older)  # Redis came back
    now[0] += 2
    assert states.sweep() == 0 and at_tape(redis_client, conf, "A") == PARTS
    redis_client.hset(keys.idle(1), "A", newer)
    states.sweep()
    now[0] += idle.KEPT_S
    assert states.sweep() == 1 and at_tape(redis_client, conf, "A") == {"order": b"2"}


def test_a_storage_that_is_away_leaves_the_states_in_redis(redis_client, tmp_path, caplog) -> None:
    (tmp_path / "file").touch()
    states = IdleStates(redis_client, Settings(partitions=2, tape=str(tmp_path / "file")))
    value = idle_state.pack(7, 8_000, PARTS)
    redis_client.hset(keys.idle(1), "A", value)
    with pytest.raises(StorageError):
        states.move()
    states.look()
    assert states._thread is not None
    states._thread.join()
    assert redis_client.hget(keys.idle(1), "A") == value and "stay in Redis for now" in caplog.text


def test_a_state_of_an_earlier_release_stays_in_redis_and_can_be_read(redis_client, tmp_path) -> None:
    parts = idle_state.unpack(idle_state.pack(7, 8_000, PARTS)).parts
    redis_client.hset(keys.idle(1), "A", msgspec.msgpack.encode([7, parts]))
    assert IdleStates(redis_client, Settings(partitions=2, tape=str(tmp_path))).move() == 0
    found = idle_state.unpack(redis_client.hget(keys.idle(1), "A"))
    assert (found.heard_ms, found.watermark_us) == (7, None) and idle_state.parts_of(found.parts) == PARTS

"""The log of what was served: what a file holds, which reads are in it, and that nothing of it can fail a read."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.stores import endpoints
from feature_repo.stores.online import served, served_file
from feature_repo.stores.online.format import feature_field, time_field
from feature_repo.stores.online.served import ServedLog
from feature_repo.stores.online.write import OnlineWriter
from feature_repo.stores.redis import RedisOnlineStore
from tests.feature_repo.stores.feast_rows import entity, key_of, rows_of
from transforms.catalog import MICROSTRUCTURE, SOCIAL
from transforms.times import datetime_of_us

REFS = ["social:author_ratio_1h", "social:social_volume_1h"]
A_SECOND = 1_000_000


@pytest.fixture
def logged(stores: Any, tmp_path: Path) -> Iterator[Any]:
    """The stores of a test; every answer of ours is logged, and written when the test says so."""
    stores.online.served = ServedLog(tmp_path / "served", 1.0)
    yield stores
    stores.online.served.close()
    stores.online.served = None


def entries(stores: Any) -> list[dict[str, Any]]:
    """What waits, written and read again."""
    log = stores.online.served
    log.write()
    paths = served_file.files(log._folder, date.min, date.max)
    batches = [batch for path in paths for batch in served_file.read_file(path, 100, lambda counts: None)]
    return [row for batch in batches for row in batch.to_pylist()]


def counts(stores: Any) -> list[dict[str, float]]:
    log = stores.online.served
    paths = served_file.files(log._folder, date.min, date.max)
    return [json.loads(pq.read_schema(path).metadata[served_file.COUNTS]) for path in paths]


def write(stores: Any, client: redis.Redis, symbol: str, values: dict[str, float], **times: Any) -> None:
    """Write a row of `SOCIAL`, packed, with nulls where no value is given."""
    row = np.array([[values.get(name, np.nan) for name in SOCIAL.names]])
    event_us = times.pop("event_us", stores.now_us - A_SECOND)
    given = {name: np.array([us]) for name, us in times.items()}
    OnlineWriter(client, stores.project, SOCIAL).write([symbol], np.array([event_us]), row, **given)


def test_an_entry_holds_the_read_the_row_and_the_values_as_they_were_served(
    logged: Any, redis_client: redis.Redis
) -> None:
    created_us = logged.now_us - 900_000
    write(logged, redis_client, "A", {"author_ratio_1h": -0.0}, created_us=created_us, silent_us=2_500_000)
    write(logged, redis_client, "OLD", {"author_ratio_1h": 0.5}, event_us=logged.now_us - (SOCIAL.ttl_s + 1) * A_SECOND)
    silent_us = SOCIAL.ttl_s * A_SECOND
    write(logged, redis_client, "SILENT", {"author_ratio_1h": 0.5}, silent_us=silent_us, created_us=created_us)
    logged.read("ours", REFS, rows_of("A", "OLD", "A", "SILENT", "NONE"))
    made = entries(logged)
    assert [(e["entity"], e["status"]) for e in made] == [
        ("A", "PRESENT"),
        ("OLD", "OUTSIDE_MAX_AGE"),
        ("SILENT", "OUTSIDE_MAX_AGE"),
        ("NONE", "NOT_FOUND"),
    ]
    for e in made:
        assert (e["time"], e["view"], e["join_key"]) == (datetime_of_us(logged.now_us), "social", "symbol")
        assert (e["service"], e["features"], e["others"]) == ("", ["author_ratio_1h", "social_volume_1h"], None)
    assert str(made[0]["values"]) == "[-0.0, None]"
    assert [e["values"] for e in made[1:]] == [[None, None]] * 3
    event = datetime_of_us(logged.now_us - A_SECOND)
    old = datetime_of_us(logged.now_us) - timedelta(seconds=SOCIAL.ttl_s + 1)
    assert [e["event_timestamp"] for e in made] == [event, old, event, None]
    created = datetime_of_us(created_us)
    assert [e["created_timestamp"] for e in made] == [created, None, created, None]


def test_values_of_every_kind_of_row_are_logged_as_they_were_served(logged: Any, redis_client: redis.Redis) -> None:
    write(logged, redis_client, "PACKED", {"author_ratio_1h": 0.1, "social_volume_1h": 3})
    plain = {
        "NAN": (Value(double_val=float("nan")), Value(int64_val=2**53)),
        "LONG": (Value(), Value(int64_val=2**60)),
        "TEXT": (Value(string_val="0.1"), Value(int64_val=-3)),
        "SAYS_LESS": (Value(double_val=0.25), None),
    }
    event, created = (datetime_of_us(logged.now_us - us) for us in (2 * A_SECOND, A_SECOND))
    view = logged.ours.get_feature_view("social")
    for symbol, values in plain.items():
        named = {
            name: value for name, value in zip(("author_ratio_1h", "social_volume_1h"), values, strict=True) if value
        }
        logged.online.online_write_batch(logged.ours.config, view, [(entity(symbol), named, event, created)], None)
    redis_client.hset(
        key_of("LONG"), feature_field("every_type", "a_text"), Value(string_val="x\n").SerializeToString()
    )
    redis_client.hset(key_of("LONG"), time_field("every_type"), redis_client.hget(key_of("LONG"), time_field("social")))
    logged.read("ours", REFS, rows_of("PACKED", *plain))
    logged.read("ours", ["every_type:a_text"], rows_of("LONG", "PACKED"))
    *made, text, absent = entries(logged)
    found = {e["entity"]: (e["values"], e["others"]) for e in made}
    assert str(found["NAN"]) == f"([nan, {2.0**53}], None)"
    assert found["PACKED"] == ([0.1, 3.0], None)
    assert found["SAYS_LESS"] == ([0.25, None], None)
    assert found["LONG"] == (
        [None, None],
        [{"feature": "social_volume_1h", "value": plain["LONG"][1].SerializeToString()}],
    )
    assert found["TEXT"][0] == [None, -3.0]
    assert Value.FromString(found["TEXT"][1][0]["value"]).string_val == "0.1"
    assert {e["entity"]: e["created_timestamp"] for e in made} == dict.fromkeys(plain, created) | {"PACKED": None}
    assert {e["event_timestamp"] for e in made if e["entity"] != "PACKED"} == {event}
    assert Value.FromString(text["others"][0]["value"]).string_val == "x\n" and text["values"] == [None]
    assert (text["event_timestamp"], text["created_timestamp"], absent["status"]) == (event, created, "NOT_FOUND")


def test_the_service_and_every_kind_of_entity_are_named(logged: Any, redis_client: redis.Redis) -> None:
    for features in ("chosen", "with_demand", "renamed"):
        logged.read("ours", features, rows_of("A", "A"))
    logged.read("ours", "of_the_pair", [{"symbol": "A", "hedge": "B"}])
    logged.read("ours", ["fees:tier"], [{"symbol": "A", "venue": "X,Y"}])
    logged.read("ours", ["limits:leverage"], [{"account": -7}])
    assert {(e["service"], e["view"], e["join_key"], e["entity"]) for e in entries(logged)} == {
        ("chosen", "order_flow", "symbol", "A"),
        ("chosen", "microstructure", "symbol", "A"),
        ("with_demand", "microstructure", "symbol", "A"),
        ("renamed", "social", "symbol", "A"),
        ("of_the_pair", "social", "symbol", "B"),
        ("of_the_pair", "sentiment", "symbol", "A"),
        ("", "fees", "symbol,venue", '["A", "X,Y"]'),
        ("", "limits", "account", "-7"),
    }


def test_the_asynchronous_read_and_that_of_kept_replies_are_logged_as_the_blocking_one(
    logged: Any, caching: Any, redis_client: redis.Redis
) -> None:
    write(logged, redis_client, "A", {"author_ratio_1h": 0.1}, created_us=logged.now_us - 500_000)

    async def later() -> None:
        await logged.ours.get_online_features_async(REFS, rows_of("A", "NONE"))
        await logged.online.close()

    logged.read("ours", REFS, rows_of("A", "NONE"))
    logged.read("ours", REFS, rows_of("A", "NONE"))  # kept
    asyncio.run(later())
    caching.ours.config.online_store.client_cache = 0
    asyncio.run(later())
    made = entries(logged)
    assert len(made) == 8 and made[:2] * 4 == made
    assert made[0]["created_timestamp"] == datetime_of_us(logged.now_us - 500_000)


def test_without_enforcement_the_log_says_when_an_old_value_was_read(logged: Any, redis_client: redis.Redis) -> None:
    write(logged, redis_client, "A", {"author_ratio_1h": 0.5}, event_us=1_000_000)
    logged.ours.config.online_store.enforce_ttl = False
    logged.read("ours", REFS, rows_of("A"))
    (made,) = entries(logged)
    assert (made["time"], made["status"]) == (datetime_of_us(logged.now_us), "PRESENT")
    assert made["values"] == [0.5, None]


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("callers", [1, 2, 100])
def test_the_share_is_that_of_every_caller_that_takes_turns_with_others(
    tmp_path: Path, share: float, callers: int
) -> None:
    class Answered:
        def answers(self, tables: Any) -> list[Any]:
            taken.append(tables)
            return []

    log, taken = ServedLog(tmp_path, share), []  # type: ignore[var-annotated]
    log._stopped = True  # no thread
    n = 100_000
    for i in range(n):
        log.offer(Answered(), i % callers, 0)  # type: ignore[arg-type]
    for caller in range(callers):
        assert abs(taken.count(caller) - share * n / callers) <= 4


def test_processes_that_read_once_are_sampled_by_the_share(tmp_path: Path) -> None:
    class Answered:
        def answers(self, tables: Any) -> list[Any]:
            taken.append(1)
            return []

    taken: list[int] = []
    for _ in range(1_000):
        log = ServedLog(tmp_path, 0.3)
        log._stopped = True  # no thread
        log.offer(Answered(), [], 0)  # type: ignore[arg-type]
    assert 200 < len(taken) < 400  # six standard deviations


def test_what_does_not_fit_is_dropped_counted_and_told_once(
    logged: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(served, "MOST_BYTES", 5_000)
    monkeypatch.setattr(served, "WRITE_S", 3_600.0)
    for _ in range(10):
        assert logged.read("ours", REFS, rows_of("A")).to_dict()["social_volume_1h"] == [None]
    n = len(entries(logged))
    assert 1 <= n <= 4
    assert counts(logged) == [{"share": 1.0, "reads": 10, "sampled": n, "dropped": 10 - n}]
    for _ in range(10):  # a small answer fits where a large one did not
        logged.read("ours", REFS, rows_of("X" * 6_000))
        logged.read("ours", REFS, rows_of("A"))
        logged.online.served.write()
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == [
        "the log of what was served drops answers: they come faster than they are written"
    ]


def test_a_folder_that_cannot_be_written_fails_no_read_and_is_told_once(
    logged: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "served").write_text("a file in place of the folder")
    for _ in range(3):
        logged.read("ours", REFS, rows_of("A"))
        logged.online.served.write()
    assert [r.levelname for r in caplog.records if r.name == served.__name__] == ["WARNING"]
    (tmp_path / "served").unlink()
    logged.read("ours", REFS, rows_of("A"))
    assert len(entries(logged)) == 1
    assert counts(logged) == [{"share": 1.0, "reads": 4, "sampled": 1, "dropped": 3}]


def test_a_disk_that_is_full_leaves_whole_files_alone_and_fails_no_read(
    logged: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logged.read("ours", REFS, rows_of("A"))
    logged.online.served.write()
    logged.read("ours", REFS, rows_of("A"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # what a write beyond it meets is as when the disk is full
    try:
        logged.online.served.write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (told,) = (r for r in caplog.records if r.name == served.__name__)
    assert told.exc_info is not None and isinstance(told.exc_info[1], OSError)
    assert told.exc_info[1].errno == errno.EFBIG
    assert len(entries(logged)) == 1
    assert len([path for path in (tmp_path / "served").rglob("*") if path.is_file()]) == 1


def test_a_fault_of_the_log_itself_fails_no_read(logged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(served, "_size", fails)
    logged.read("ours", REFS, rows_of("A"))
    monkeypatch.undo()
    logged.read("ours", REFS, rows_of("A"))
    assert len(entries(logged)) == 1 and counts(logged)[0]["dropped"] == 1


def test_a_forked_process_that_is_killed_leaves_whole_files_with_its_own_reads_alone(
    logged: Any, tmp_path: Path
) -> None:
    logged.read("ours", REFS, rows_of("OF_THE_PARENT"))

    def child() -> None:
        logged.read("ours", REFS, rows_of("OF_THE_CHILD"))
        logged.online.served.write()
        logged.read("ours", REFS, rows_of("LOST"))
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    (path,) = served_file.files(tmp_path / "served", date.min, date.max)
    path.with_name(".of-a-write-that-was-killed.part").write_bytes(path.read_bytes()[:100])
    assert {e["entity"] for e in entries(logged)} == {"OF_THE_CHILD", "OF_THE_PARENT"}


def test_a_child_of_multiprocessing_writes_what_waits_when_it_ends(logged: Any, tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=lambda: logged.read("ours", REFS, rows_of("A")))
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert [e["entity"] for e in entries(logged)] == ["A"]


def test_a_thread_that_cannot_start_fails_no_read_and_is_tried_again(
    logged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fails)
        logged.read("ours", REFS, rows_of("A"))
        logged.online.served.close()
        logged.online.served._stopped = False
    logged.read("ours", REFS, rows_of("B"))
    logged.online.served.close()
    assert [e["entity"] for e in entries(logged)] == ["B"] and counts(logged)[0]["dropped"] == 1


def test_what_the_disk_does_not_take_before_the_process_ends_is_told(
    logged: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(served, "write_file", lambda *_: answers.wait(20))
    monkeypatch.setattr(served, "STOP_S", 0.01)
    logged.read("ours", REFS, rows_of("A"))
    logged.online.served.close()
    answers.set()
    assert [r.message for r in caplog.records if r.name == served.__name__] == [
        "the log of what was served loses answers: they were not written within 0.01 s"
    ]


def test_a_large_file_is_made_in_parts_of_bounded_memory(logged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_file, "VALUES", 5)  # each row has two
    for symbols in ("AB", "C", "D", "EFGH", "I"):
        logged.read("ours", REFS, rows_of(*symbols))
    assert "".join(e["entity"] for e in entries(logged)) == "ABCDEFGHI"
    (path,) = served_file.files(logged.online.served._folder, date.min, date.max)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [3, 5, 1]


def test_the_thread_writes_by_itself_and_at_the_end(
    tmp_path: Path, stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "WRITE_S", 0.01)
    log = stores.online.served = ServedLog(tmp_path, 1.0)
    try:
        stores.read("ours", REFS, rows_of("A"))
        while not served_file.files(tmp_path, date.min, date.max):
            assert log._thread is not None and log._thread.is_alive()
        monkeypatch.setattr(served, "WRITE_S", 3_600.0)
        stores.read("ours", REFS, rows_of("B"))
        log.close()
        assert not log._thread.is_alive()
        assert sorted(e["entity"] for e in entries(stores)) == ["A", "B"]
    finally:
        stores.online.served = None


def test_no_name_that_a_request_gives_is_part_of_a_path(logged: Any, tmp_path: Path) -> None:
    hostile = [
        "../../../escaped",
        "/etc/passwd",
        "a\nb\x1b[31m",
        "NUL\0",
        "\N{GRINNING FACE}" * 20,
        "X" * 100_000,
        "%s{}'\";--",
    ]
    logged.read("ours", REFS, rows_of(*hostile))
    assert [e["entity"] for e in entries(logged)] == hostile
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.parent == tmp_path / "served" / f"day={datetime_of_us(logged.now_us):%Y-%m-%d}"
    assert set(path.stem) <= {*"0123456789abcdefT-"}


def test_files_of_the_wanted_days_are_found_and_others_are_refused(logged: Any, tmp_path: Path) -> None:
    log, day = tmp_path / "served", datetime_of_us(logged.now_us).date()
    logged.read("ours", REFS, rows_of("A"))
    logged.online.served.write()
    (path,) = served_file.files(log, day, day)
    assert served_file.files(log, day + timedelta(1), day + timedelta(9)) == [path]  # it may end after midnight
    assert not served_file.files(log, day + timedelta(2), date.max)
    assert not served_file.files(log, date.min, day - timedelta(1))
    path.write_bytes(b"PAR1")
    with pytest.raises(served_file.ServedFileError, match="cannot be read"):
        list(served_file.read_file(path, 1, lambda counts: None))
    with pytest.raises(served_file.ServedFileError, match="is no folder: set TFS_SERVED_LOG"):
        served_file.files(tmp_path / "nothing", day, day)


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "day=2026-11-29").mkdir()
    tmp_path.chmod(0o700)
    if is_root := os.geteuid() == 0:
        os.seteuid(65_534)  # root may read everything
    else:
        tmp_path.chmod(0)
    try:
        with pytest.raises(served_file.ServedFileError, match="cannot be read by this user"):
            served_file.files(tmp_path, date.min, date.max)
    finally:
        if is_root:
            os.seteuid(0)
        tmp_path.chmod(0o700)


def test_the_variables_turn_the_log_on_for_all_stores_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RedisOnlineStore().served is None
    monkeypatch.setenv("TFS_SERVED_LOG", str(tmp_path))
    one, other = RedisOnlineStore(), RedisOnlineStore()
    assert one.served is other.served is not None
    assert (one.served.share, one.served._folder) == (0.01, tmp_path)
    monkeypatch.setenv("TFS_SERVED_SHARE", "1")
    assert endpoints.served_log() == (tmp_path, 1.0)
    for text in ("0", "1.01", "-1", "nan", "all"):
        monkeypatch.setenv("TFS_SERVED_SHARE", text)
        with pytest.raises(endpoints.ServedLogError, match=r"TFS_SERVED_SHARE=.*above 0 and up to 1"):
            RedisOnlineStore()
    monkeypatch.setenv("TFS_SERVED_LOG", "s3://key:secret@bucket/served")
    with pytest.raises(endpoints.ServedLogError, match="must be a folder") as error:
        RedisOnlineStore()
    assert "secret" not in str(error.value)


def test_a_read_of_many_views_is_put_together_with_others_of_the_same_features(logged: Any, filled: Any) -> None:
    symbols = [f"SYM{i}USDT" for i in range(3)]
    first = logged.read("ours", "signal_v1", rows_of(*symbols)).to_dict()
    logged.read("ours", "signal_v1", rows_of(*reversed(symbols)))
    made = [e for e in entries(logged) if e["view"] == "microstructure"]
    assert [e["entity"] for e in made] == [*symbols, *reversed(symbols)]
    assert {e["service"] for e in made} == {"signal_v1"}
    names = list(MICROSTRUCTURE.names)
    for e in made:
        assert e["features"] == names
        assert e["values"] == [first[name][symbols.index(e["entity"])] for name in names]

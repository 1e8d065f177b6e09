"""Work that fails is begun again until it goes on; what cannot pass is raised."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest
import redis
from redis import exceptions

from ingest.streams import outage


def test_each_trouble_is_logged_once_and_the_work_is_begun_again_until_it_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles = [
        redis.ConnectionError("refused\nport 1"),
        redis.ConnectionError("refused"),
        exceptions.ReadOnlyError("x"),
    ]

    def work(well: Callable[[], None]) -> None:
        well()
        if troubles:
            raise troubles.pop(0)

    outage.ride_out("the part", work, threading.Event())
    assert troubles == []
    assert [record.getMessage().partition("can: ")[2] for record in caplog.records] == [
        "ConnectionError: refused",
        "ReadOnlyError: x",
    ]


def test_work_that_goes_on_is_said_to_be_well_again_and_a_new_trouble_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(outage, "STEADY_S", 0.0)
    begun = []

    def work(well: Callable[[], None]) -> None:
        begun.append(1)
        if len(begun) == 1:
            raise redis.TimeoutError("slow")
        well()
        if len(begun) == 2:
            raise redis.TimeoutError("slow")

    outage.ride_out("the part", work, threading.Event())
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "ERROR", "WARNING"]
    assert "works again" in caplog.records[1].getMessage()


def test_a_stop_ends_the_waiting() -> None:
    stop = threading.Event()

    def work(well: Callable[[], None]) -> None:
        stop.set()
        raise redis.ConnectionError

    outage.ride_out("the part", work, stop)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        exceptions.OutOfMemoryError("command not allowed"),
        exceptions.MaxConnectionsError("Too many connections"),
        redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
        redis.ResponseError(
            "NOGROUP No such key 'social_data' or consumer group 'tfs' in XREADGROUP with GROUP option"
        ),
        redis.ResponseError("no such key"),
        redis.ResponseError("Command # 2 (EVAL ...) of pipeline caused error: NOREPLICAS Not enough good replicas"),
    ],
)
def test_a_server_that_is_loading_full_or_alone_may_take_it_later(error: Exception) -> None:
    assert outage.is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        redis.AuthenticationError("wrong password"),
        redis.ResponseError("WRONGTYPE MISCONF"),
        ValueError("a fault of ours"),
    ],
)
def test_a_wrong_password_and_a_fault_of_ours_are_raised(error: Exception) -> None:
    def work(well: Callable[[], None]) -> None:
        raise error

    with pytest.raises(type(error)):
        outage.ride_out("the part", work, threading.Event())

"""A worker takes partitions over from one with other kernels: no row is lost or doubled, and every value is that of an undisturbed worker.

Here the version of kernels is another one, and the formulas are the same. So what was rebuilt must be what the other worker had.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from ingest.streams import keys, membership
from ingest.worker import versions
from ingest.worker.worker import Worker
from tests.ingest.warm.test_warm import CUT, LATER, LIFE, Deployment, here, undisturbed
from transforms import kernels

__all__ = ["here"]
CHANGED = ("book_flow", "session", "bars", "posts", "volatility", "relative_volume", "spread_pct_z")


@contextlib.contextmanager
def before() -> Iterator[None]:
    """Let the code that runs in the block be of the version before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "VERSIONS", tuple((name, v - (name in CHANGED)) for name, v in kernels.VERSIONS))
        yield


class Fleet:
    """A worker of the version before, and one that takes over."""

    def __init__(self, here: Deployment, how: str = "rebuild") -> None:
        self.here = here
        self.how = how
        with before():
            self.old = here.worker()
        self.new: Worker | None = None

    def start_new(self) -> Worker:
        self.new = Worker(self.here.client, self.here.conf, lambda: 10**18, lambda: 0, self.how, started_ms=1)
        self.new.open()
        return self.new

    def turn(self) -> None:
        with before():
            self.old.step()
        if self.new is not None:
            self.new.step()

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline
            self.turn()

    def owner(self) -> Worker | None:
        return next((one for one in (self.old, self.new) if one is not None and one.holds()), None)

    def last_id(self) -> bytes | None:
        return self.here.client.hget(keys.checkpoint(0), "last_id")  # type: ignore[return-value]


@pytest.fixture
def fleet(here: Deployment) -> Fleet:
    """The old worker serves; the tape has less than the log."""
    fleet = Fleet(here)
    here.append(LIFE[: CUT - 100])
    with before():
        here.work(fleet.old)
    here.follow()
    here.append(LIFE[CUT - 100 : CUT])
    return fleet


def finish(fleet: Fleet) -> None:
    """Let everything be heard, and compare the rows with those of an undisturbed worker."""
    fleet.here.append(LIFE[LATER:])
    fleet.until(lambda: fleet.last_id() == LIFE[-1][0])
    assert fleet.here.rows() == undisturbed(LIFE, fleet.here.conf, 0)


def test_a_partition_is_handed_over_at_one_entry_and_every_row_is_that_of_an_undisturbed_worker(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    new = fleet.start_new()
    fleet.until(lambda: bool(new._hand_over._job))
    assert fleet.old.holds() == [0] and new.holds() == []
    fleet.here.append(LIFE[CUT:LATER])
    fleet.until(lambda: new.holds() == [0])
    assert fleet.old.holds() == [] and "was handed over" in caplog.text and "begin anew" not in caplog.text
    finish(fleet)
    assert fleet.here.client.hget(keys.checkpoint(0), "kernels") == versions.code()
    fleet.until(lambda: new._member.is_in)
    assert fleet.old.holds() == []
    assert not fleet.here.client.exists(keys.kept(0), keys.heir(0))


def test_a_worker_whose_partitions_were_handed_over_does_not_take_them_back_from_one_that_died(fleet: Fleet) -> None:
    new = fleet.start_new()
    fleet.until(lambda: new.holds() == [0])
    fleet.here.append(LIFE[CUT:LATER])
    fleet.until(lambda: fleet.last_id() == LIFE[LATER - 1][0])
    new.flush()
    fleet.here.client.delete(keys.owner(0))  # it was killed, and its lease has ended
    fleet.new = None
    for _ in range(5):
        time.sleep(membership.BEAT_S)
        fleet.turn()
    assert fleet.old.holds() == []
    fleet.start_new()
    finish(fleet)


def test_an_owner_that_died_is_not_asked(fleet: Fleet) -> None:
    new = fleet.start_new()
    fleet.here.append(LIFE[CUT:LATER])
    fleet.until(lambda: fleet.last_id() == LIFE[LATER - 1][0])
    fleet.old._partitions.clear()  # it dies with a state in Redis that is behind what it committed
    fleet.old = Worker(fleet.here.client, fleet.here.conf)  # it does not open anything
    fleet.here.client.delete(keys.owner(0))
    deadline = time.monotonic() + 60
    while new.holds() != [0]:
        assert time.monotonic() < deadline
        new.step()
    fleet.here.append(LIFE[LATER:])
    while new.step() or fleet.last_id() != LIFE[-1][0]:
        new.flush()
    assert fleet.here.rows() == undisturbed(LIFE, fleet.here.conf, 0)


def test_going_back_is_the_same(fleet: Fleet) -> None:
    new = fleet.start_new()
    fleet.until(lambda: new.holds() == [0])
    fleet.here.append(LIFE[CUT:LATER])
    fleet.until(lambda: fleet.last_id() == LIFE[LATER - 1][0])
    with before():
        fleet.old.close()
        other = Worker(fleet.here.client, fleet.here.conf, lambda: 10**18, lambda: 0, "cold", started_ms=2)
        other.open()
    fleet.old = other
    fleet.until(lambda: other.holds() == [0])
    assert new.holds() == []


def test_an_owner_takes_a_partition_again_where_the_one_that_asked_for_it_has_died(
    fleet: Fleet, redis_client: redis.Redis
) -> None:
    redis_client.set(keys.heir(0), "somebody", px=10_000)
    fleet.until(lambda: fleet.old.holds() == [])
    assert redis_client.get(keys.owner(0)).startswith(b"2:somebody:")  # type: ignore[union-attr]
    fleet.until(lambda: fleet.old.holds() == [0])
    fleet.here.append(LIFE[CUT:LATER])
    finish(fleet)


def test_a_lease_is_not_given_to_one_that_does_not_ask_any_more(fleet: Fleet, redis_client: redis.Redis) -> None:
    fleet.old._give(0, "somebody")
    assert fleet.old.holds() == [0] and str(redis_client.get(keys.owner(0))).startswith("b'1:")

"""The queue between the loop of a feed and its outlet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from ingest.feeds import pump
from ingest.feeds.pump import Pump
from ingest.publish.outlet import Outlet


class Written:
    """An outlet that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Any]] = []

    def write(self, outputs: Sequence[Any]) -> None:
        self.batches.append(outputs)

    def look(self) -> None:
        self.batches.append("look")


def test_what_was_put_before_the_close_is_written_in_order_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "BATCH", 2)
    written = Written()
    after: list[list[int]] = []

    async def note(items: Sequence[int]) -> None:
        after.append(list(items))

    async def feed() -> None:
        one = Pump[int](lambda items: cast("Any", [-item for item in items]), cast("Outlet", written), note)
        for item in range(5):
            await one.put(item)
        await one.close()
        await one.run()
        await one.put(9)  # dropped: nothing would ever read it

    asyncio.run(feed())
    assert written.batches == [[0, -1], [-2, -3], [-4]]
    assert after == [[0, 1], [2, 3], [4]]


def test_while_nothing_comes_the_outlet_looks_at_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "LOOK_S", 0.001)
    written = Written()

    async def feed() -> None:
        one = Pump[int](lambda items: cast("Any", list(items)), cast("Outlet", written))
        running = asyncio.create_task(one.run())
        while len(written.batches) < 2:
            await asyncio.sleep(0)
        await one.put(7)
        await one.close()
        await running

    asyncio.run(feed())
    assert written.batches[:2] == ["look", "look"]
    assert [7] in written.batches


def test_a_full_queue_holds_the_feed_back_and_an_error_of_the_outlet_lets_it_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pump, "QUEUED_MAX", 1)

    def fail(items: Sequence[int]) -> Any:
        raise OSError("no outlet")

    async def feed() -> None:
        one = Pump[int](fail, cast("Outlet", Written()))
        await one.put(0)
        waiting = asyncio.create_task(one.put(1))
        await asyncio.sleep(0)
        assert not waiting.done()
        with pytest.raises(OSError, match="no outlet"):
            await one.run()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(feed())

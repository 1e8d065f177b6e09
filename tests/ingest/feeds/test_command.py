"""How a live feed ends by signals."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from typing import Any

import pytest
import redis

from ingest.cli import ExitCode
from ingest.feeds import command
from ingest.publish.outlet import Outlet
from ingest.settings import Settings


class Ends(Exception):
    """The process would end here."""


class Stuck:
    """A feed that is told to stop and cannot."""

    stopped = 0

    async def run(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(20)

    def stop(self) -> None:
        self.stopped += 1


def test_a_second_ctrl_c_ends_a_feed_at_once_and_closes_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    feed, record = Stuck(), io.BytesIO()

    async def main() -> None:
        running = asyncio.ensure_future(command._until_stopped(lambda: feed, Outlet(redis.Redis(), Settings()), record))
        monkeypatch.setattr(command.os, "_exit", lambda code: (codes.append(code), running.cancel()))
        with pytest.raises(asyncio.CancelledError):
            await running

    before: Any = signal.getsignal(signal.SIGTERM)
    asyncio.run(main())
    signal.signal(signal.SIGTERM, before)
    assert codes == [ExitCode.INTERRUPTED]
    assert record.closed

"""Requests to a venue: their pace, their order, and pauses that the venue asks for. No time is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the extra `feeds` is not installed")

from ingest.feeds.binance_addresses import Allowance
from ingest.feeds.binance_rest import Rest
from ingest.feeds.binance_venue import RestrictedError, StatusError
from tests.acceptance.lossy_venue import run


class Body:
    def __init__(self, data: bytes) -> None:
        self.data = data

    async def read(self, n: int) -> bytes:
        return self.data[:n]

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        yield self.data


class Answer:
    def __init__(self, status: int, retry_after: str | None = None) -> None:
        self.status = status
        self.headers = {} if retry_after is None else {"Retry-After": retry_after}
        self.content = Body(b" [] ")
        self.url = self
        self.host = "venue"


class Http:
    """Notes when which address is asked for; ``answers`` are given in turn, and 200 after them."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[float, str]] = []

    @contextlib.asynccontextmanager
    async def get(self, address: str, **_: Any) -> AsyncIterator[Answer]:
        self.asked.append((asyncio.get_running_loop().time(), address))
        yield self.answers.pop(0) if self.answers else Answer(200)


def play(
    http: Http, scene: Callable[[Rest], Coroutine[Any, Any, None]], a_minute: int = 3000
) -> list[tuple[float, str]]:
    async def go() -> None:
        clock = asyncio.get_running_loop().time
        rest = Rest(http, Allowance(a_minute, clock), clock)  # type: ignore[arg-type]
        await scene(rest)
        await rest.close()

    run(go())
    return http.asked


def test_a_hundred_symbols_at_once_stay_under_the_weight_and_the_nearest_deadline_is_first() -> None:
    async def scene(rest: Rest) -> None:
        snapshots = [rest.get(f"depth {i}", {}, 50) for i in range(100)]
        trades = [rest.get(f"trades {i}", {}, 25, due_s=20.0 - i / 100) for i in range(100)]
        await asyncio.gather(*snapshots, *trades)

    asked = play(Http(), scene)
    assert [address for _, address in asked[:100]] == [f"trades {i}" for i in reversed(range(100))]
    weights = [(at, 25 if "trades" in address else 50) for at, address in asked]
    for at, _ in weights:
        assert sum(weight for t, weight in weights if at - 60 < t <= at) <= 2 * 3000, "what the venue allows"
    assert asked[99][0] == 0.0, "a minute's weight may be taken at once"
    assert asked[-1][0] == pytest.approx(60 * (7500 - 3000) / 3000, abs=1)


@pytest.mark.parametrize(
    ("status", "retry_after", "pause_s"),
    [(429, "7", 7), (418, "300", 300), (429, None, 10), (418, None, 120), (429, "soon", 10), (429, "-5", 10), (418, "9" * 30, 259_200)],
)  # fmt: skip
def test_nothing_is_asked_for_as_long_as_the_venue_says(status: int, retry_after: str | None, pause_s: float) -> None:
    async def scene(rest: Rest) -> None:
        with pytest.raises(StatusError, match=str(status)) as error:
            await rest.get("a", {}, 25)
        assert error.value.status == status
        await asyncio.gather(rest.get("b", {}, 25), rest.get("c", {}, 1, due_s=0.0))

    asked = play(Http(Answer(status, retry_after)), scene)
    assert [address for _, address in asked] == ["a", "c", "b"]
    assert asked[1][0] == pytest.approx(pause_s, abs=0.3) and asked[1][0] >= pause_s


def test_a_request_that_is_cancelled_while_it_waits_takes_no_weight() -> None:
    async def scene(rest: Rest) -> None:
        await rest.get("a", {}, 60)
        waiting = [asyncio.create_task(rest.get(name, {}, 60)) for name in "bc"]
        await asyncio.sleep(1)
        waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asked = play(Http(), scene, a_minute=60)
    assert [address for _, address in asked] == ["a", "c"]
    assert asked[1][0] == pytest.approx(60, abs=0.3)


def test_a_location_that_is_not_served_is_told_as_such() -> None:
    async def scene(rest: Rest) -> None:
        with pytest.raises(RestrictedError):
            await rest.get("a", {}, 25, math.inf)

    play(Http(Answer(451)), scene)

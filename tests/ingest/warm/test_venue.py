"""``warm --from-venue``: trades from before the feed began, asked for by REST of a server on the loopback that answers as Binance does."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import redis

pytest.importorskip("aiohttp", reason="the extra `feeds` is not installed")

from aiohttp import web

from feature_repo.stores.endpoints import REDIS_VARIABLE
from ingest import settings
from ingest.cli import main
from ingest.feeds import binance_addresses
from ingest.messages.decode import decode, encode
from ingest.messages.kinds import Trade
from ingest.settings import Settings
from ingest.streams import keys
from ingest.tape.columns import IMPORT, entries_of
from ingest.tape.read import rows
from ingest.tape.table import open_tape
from ingest.warm import venue as asking
from ingest.worker.worker import Worker
from tests.ingest.worker.long_life import Entry, tape_of

NAME = "NEWUSDT"
FIRST = 7_000
"""The id of the first trade that the feed heard."""
NOW_MS = 1_700_006_400_000 + 7 * 3_600_000
MINUTE = 60_000


def old(number: int) -> dict[str, Any]:
    """A trade as the venue's documentation shows it; one in ten seconds."""
    return {
        "id": number, "price": f"{100 + number % 7}.50000000", "qty": "0.25000000", "quoteQty": "25.12500000",
        "time": NOW_MS - (FIRST - number) * 10_000, "isBuyerMaker": number % 3 == 0, "isBestMatch": True,
    }  # fmt: skip


@dataclass
class Venue:
    """Answers for old trades: a page from an id on. ``answer`` may change or refuse one."""

    ids: Callable[[int], bool] = lambda _: True
    answer: Callable[[int, list[dict[str, Any]]], web.Response | None] = lambda *_: None
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    async def _old_trades(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        first, limit = int(request.query["fromId"]), int(request.query["limit"])
        known = [
            old(number) for number in range(first, min(first + limit, FIRST + 100)) if number >= 0 and self.ids(number)
        ]
        return self.answer(len(self.asked), known) or web.json_response(known)

    def serve(self, ready: threading.Event, stop: threading.Event) -> None:
        async def work() -> None:
            app = web.Application()
            app.router.add_get("/historicalTrades", self._old_trades)
            runner = web.AppRunner(app, shutdown_timeout=1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/depth"
            ready.set()
            while not stop.is_set():
                await asyncio.sleep(0.02)
            await runner.cleanup()

        asyncio.run(work())


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Venue]:
    there = Venue()
    ready, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=there.serve, args=(ready, stop))
    thread.start()
    assert ready.wait(10)
    monkeypatch.setitem(
        binance_addresses.VENUES, "binance", replace(binance_addresses.VENUES["binance"], rest=there.url)
    )
    monkeypatch.setattr(asking, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("ingest.warm.command.time.time_ns", lambda: NOW_MS * 1_000_000)
    yield there
    stop.set()
    thread.join()


@pytest.fixture
def conf(redis_client: redis.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A deployment whose feed has just begun."""
    environ = {
        "TFS_PARTITIONS": "1",
        "TFS_EMIT_INTERVAL_MS": "60000",
        "TFS_TAPE": str(tmp_path / "tape"),
        "TFS_RECOVER_S": "0",
    }
    for name, value in {**environ, REDIS_VARIABLE: redis_url}.items():
        monkeypatch.setenv(name, value)
    conf = settings.load(environ)
    tape_of(tmp_path / "tape", [live(number) for number in range(FIRST, FIRST + 4)], conf)
    return conf


def live(number: int) -> Entry:
    """A trade as the feed wrote it, with its time in microseconds as its stream gives it."""
    told = old(number)
    side = "sell" if told["isBuyerMaker"] else "buy"
    at = told["time"]
    trade = Trade(at, NAME, float(told["price"]), 0.25, side, number, received=at + 40)
    return b"%d-0" % (at + 41), {b"kind": b"trade", b"data": encode(trade)}


def imported(conf: Settings) -> list[int]:
    """The ids of the trades that the tape has of the venue."""
    windows = rows(open_tape(conf), 0, source=IMPORT)
    return [decode(Trade, fields[b"data"]).trade_id for window in windows for _, fields in entries_of(window)]  # type: ignore[misc]


def warm(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["warm", NAME, "--from-venue", "binance", "--json", *args]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_new_symbol_goes_on_as_if_its_feed_had_begun_earlier(
    venue: Venue, conf: Settings, redis_client: redis.Redis, capsys
) -> None:
    found = warm(capsys, "--hours", "2")
    ids = imported(conf)
    assert ids == list(range(ids[0], FIRST)) and len(ids) == 2 * 360 + 1
    assert "721 earlier trades of binance since 2023-11-15 04:59:50" in found["fetched"]
    assert [query["fromId"] for query in venue.asked] == [str(FIRST - 999)]
    assert not {"trade_volume", "volatility", "roll", "amihud"} & found["missing"].keys()
    assert found["missing"].keys() >= {"vpin", "rsi", "relative_volume"}
    worker = Worker(redis_client, conf, lambda: NOW_MS * 1000, lambda: 0)
    worker.open()
    (partition,) = worker._partitions.values()
    ours = partition.symbols[NAME].save()
    other = type(partition)(0, conf)
    other.replay([*(replayed(number) for number in ids), *(live(number) for number in range(FIRST, FIRST + 4))])
    assert other.symbols[NAME].save() == ours
    worker.close()


def replayed(number: int) -> Entry:
    entry_id, fields = live(number)
    return entry_id, {**fields, b"recorded": b"1"}


def test_to_ask_again_adds_what_is_older_and_nothing_twice(venue: Venue, conf: Settings, capsys) -> None:
    warm(capsys, "--hours", "1")
    again = warm(capsys, "--hours", "1")
    assert "0 of them new" in again["fetched"]
    further = warm(capsys, "--hours", "4")
    ids = imported(conf)
    assert ids == list(range(ids[0], FIRST)) and len(ids) == 4 * 360 + 1
    assert f"{3 * 360:,} of them new" in further["fetched"]


def test_the_first_trade_of_all_is_reached_and_then_no_kernel_of_trades_lacks_anything(
    venue: Venue, conf: Settings, capsys
) -> None:
    found = warm(capsys, "--hours", "1000")
    assert imported(conf) == list(range(FIRST)) and "it is the first trade of the symbol" in found["fetched"]
    assert len(venue.asked) == 8  # pages of 1,000, of which one is known
    assert not {"vpin", "rsi", "session", "relative_volume", "trades"} & found["missing"].keys()


def test_a_symbol_that_counts_from_one_is_read_to_its_first_trade(venue: Venue, conf: Settings, capsys) -> None:
    venue.ids = lambda number: number >= 1
    found = warm(capsys, "--hours", "1000")
    assert imported(conf) == list(range(1, FIRST)) and "it is the first trade of the symbol" in found["fetched"]


def test_errors_that_pass_are_asked_again_and_the_pace_is_kept(venue: Venue, conf: Settings, capsys) -> None:
    def now_and_then(n: int, _: list[dict[str, Any]]) -> web.Response | None:
        return (
            web.Response(status=429 if n % 2 else 503, headers={"Retry-After": "0"}, text="too many") if n % 3 else None
        )

    venue.answer = now_and_then
    warm(capsys, "--hours", "5")
    assert len(imported(conf)) == 5 * 360 + 1 and len(venue.asked) == 6


def test_behind_a_hole_nothing_older_is_taken(venue: Venue, conf: Settings, capsys) -> None:
    venue.ids = lambda number: number != FIRST - 500
    found = warm(capsys, "--hours", "5")
    assert imported(conf) == list(range(FIRST - 499, FIRST))
    assert f"the venue lacks trades before {FIRST - 499}" in found["fetched"]


def test_most_bounds_what_is_asked_for_and_what_no_longer_comes_is_said(venue: Venue, conf: Settings, capsys) -> None:
    found = warm(capsys, "--hours", "1000", "--most", "1500")
    assert len(imported(conf)) == 2 * 999 and "--most 1500 was reached" in found["fetched"]
    venue.answer = lambda n, _: web.Response(status=503)
    assert "no earlier trade of binance: the venue gave no more" in warm(capsys)["fetched"]


def test_another_symbol_or_market_than_was_heard_is_an_error_and_nothing_is_imported(
    venue: Venue, conf: Settings, capsys
) -> None:
    venue.answer = lambda n, known: web.json_response([{**trade, "price": "3.5"} for trade in known])
    assert main(["warm", NAME, "--from-venue", "binance"]) == 2
    assert "is another one at the venue than was heard" in capsys.readouterr().err and not imported(conf)
    assert main(["warm", NAME, "--from-venue", "binance-us"]) == 2
    assert "is not of binance-us" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "said"), [(451, "serves nobody at this location"), (401, "gives no old trades of NEWUSDT")]
)
def test_a_venue_that_refuses_is_told(venue: Venue, conf: Settings, capsys, status: int, said: str) -> None:
    venue.answer = lambda n, _: web.Response(status=status)
    assert main(["warm", NAME, "--from-venue", "binance"]) == 2
    assert said in capsys.readouterr().err and len(venue.asked) == 1


def test_a_symbol_whose_feed_has_not_begun_is_refused(venue: Venue, conf: Settings, capsys) -> None:
    assert main(["warm", "OTHERUSDT", "--from-venue", "binance"]) == 2
    assert "start the feed" in capsys.readouterr().err and not venue.asked
    assert main(["warm", "--from-venue", "binance"]) == 2
    assert "name the symbols" in capsys.readouterr().err


def test_the_text_says_what_is_warm(venue: Venue, conf: Settings, redis_client: redis.Redis, capsys) -> None:
    assert not redis_client.exists(keys.events(0))
    assert main(["warm", NAME, "--from-venue", "binance", "--hours", "2"]) == 0
    said = capsys.readouterr().out
    assert "721 earlier trades of binance since" in said
    (line,) = [line for line in said.splitlines() if line.startswith("  warm of trades: ")]
    assert {"trade_volume", "volatility"} <= set(line.removeprefix("  warm of trades: ").split(", "))
    assert "rsi" not in line and "the tape lacks" in said

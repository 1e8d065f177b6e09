"""A capture played through a venue on the loopback into the live feed, against the replay of the same capture: row by row, bit by bit."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from ingest.feeds import binance_addresses
from ingest.feeds.binance_live import BinanceFeed
from ingest.messages.decode import decode
from ingest.messages.kinds import Gap, OrderBook, Tick, time_us
from ingest.publish.outlet import Outlet
from ingest.publish.publisher import Publisher
from ingest.recordings.venue_clock import Pace
from ingest.replay import replay
from ingest.settings import Settings, load
from ingest.streams import keys
from ingest.worker.partition import Partition
from tests.acceptance.test_lost_trades import OF_BOOKS
from tests.integration.mortal import MortalRedis
from tests.integration.venue import T0, A, B, Disconnect, Snapshot, Step, Venue, simulated, snapshot_of
from transforms.catalog import ORDER_FLOW, TECHNICAL

pytest.importorskip("aiohttp", reason="the extra `feeds` is not installed")

PARTITIONS = 2
SETTINGS: Settings = load({"TFS_PARTITIONS": str(PARTITIONS), "TFS_MAX_AGE_MS": str(3650 * 86_400_000)})
Rows = dict[tuple[str, str, int], bytes]
"""The values of each row by view, symbol and event time, as bytes."""


class Tape:
    """The lines of a capture, what a venue plays of them, and the capture that a recorder beside it would have kept.

    ``cut`` loses lines, as a broken connection does; the books at each diff are kept to answer /depth with.
    """

    def __init__(self, lines: Iterable[tuple[int, dict[str, Any]]]) -> None:
        self.script: list[Step] = []
        self.trades: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.kept: list[bytes] = []
        self._sides: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        self._last: dict[str, int] = {}
        self._lines = list(lines)
        self._ns = 0

    def play(self, first: int, last: int, *, snapshots: Sequence[str] = ()) -> None:
        """Send the lines from ``first`` until before ``last``; the next diff of each of ``snapshots`` is followed by one."""
        wanted = set(snapshots)
        for ns, message in self._lines[first:last]:
            self._ns = ns
            symbol, before = self._apply(message)
            if "lastUpdateId" in message:
                continue  # the venue gives it by REST, when it is asked
            self._send(message)
            if symbol in wanted and before is not None:
                wanted.remove(symbol)
                bids, asks = before
                self._snapshot(symbol, message["data"]["E"], snapshot_of(bids, asks, message["data"]["U"] - 1))
        assert not wanted

    def lose(self, first: int, last: int) -> None:
        """Lines that nobody hears."""
        for _, message in self._lines[first:last]:
            self._apply(message)

    def disconnect(self, *symbols: str) -> None:
        """The connection breaks here."""
        self.script.append(Disconnect())
        self.end(*symbols)

    def end(self, *symbols: str) -> None:
        """What the recorder writes of the end of a connection."""
        self._keep({"e": "disconnect", "s": list(symbols)})

    def _apply(self, message: dict[str, Any]) -> tuple[str | None, tuple[dict[str, str], dict[str, str]] | None]:
        """Keep the venue's own book; for a diff its symbol, and the book before it where that is known."""
        if "lastUpdateId" in message:
            self._sides[message["symbol"]] = (dict(message["bids"]), dict(message["asks"]))
            self._last[message["symbol"]] = message["lastUpdateId"]
            return None, None
        if message.get("stream", "").endswith("@trade"):
            data = message["data"]
            trade = {
                "id": data["t"],
                "price": data["p"],
                "qty": data["q"],
                "time": data["T"],
                "isBuyerMaker": data["m"],
            }
            self.trades.setdefault(data["s"], []).append((len(self.script), trade))
        if not message.get("stream", "").partition("@")[2].startswith("depth"):
            return None, None
        data = message["data"]
        sides = self._sides.get(data["s"])
        if sides is None or data["u"] <= self._last[data["s"]]:
            return data["s"], None
        before = (dict(sides[0]), dict(sides[1]))
        for side, changes in zip(sides, (data["b"], data["a"]), strict=True):
            for price, size in changes:
                if float(size):
                    side[price] = size
                else:
                    side.pop(price, None)
        self._last[data["s"]] = data["u"]
        return data["s"], before

    def _send(self, message: dict[str, Any]) -> None:
        self.script.append(json.dumps(message).encode())
        self._keep(message)

    def _snapshot(self, symbol: str, event_ms: int, answer: bytes) -> None:
        self.script.append(Snapshot(symbol, event_ms, answer))
        self._keep({"symbol": symbol, **json.loads(answer)})

    def _keep(self, message: dict[str, Any]) -> None:
        self.kept.append(b"%d " % self._ns + json.dumps(message).encode() + b"\n")


def entries(client: redis.Redis) -> list[list[tuple[bytes, dict[bytes, bytes]]]]:
    found: Any = [client.xrange(keys.events(p)) for p in range(PARTITIONS)]
    return found  # type: ignore[no-any-return]


def rows(client: redis.Redis) -> Rows:
    """The rows that the logs give, by the worker's own partitions."""
    out: Rows = {}
    for p, found in enumerate(entries(client)):
        partition = Partition(p, SETTINGS)
        for entry_id, fields in found:
            partition.process(entry_id, fields, now_us=0)
        pending = partition.take_pending()
        for batch in pending.batches.values():
            if len(batch):
                columns = batch.columns()
                for i, (symbol, t) in enumerate(zip(columns.symbols, columns.event_us.tolist(), strict=True)):
                    out[columns.view.name, symbol, t] = columns.values[i].tobytes()
    return out


def replayed(client: redis.Redis, path: Path) -> Rows:
    client.flushall()
    replay([path], client, SETTINGS)
    return rows(client)


def live(
    client: redis.Redis,
    tape: Tape,
    symbols: Sequence[str],
    record: Path,
    hold_ms: int = 0,
    meanwhile: Callable[[], None] | None = None,
) -> Rows:
    """Play the tape through a venue into the feed; the rows, after a tick that ends each symbol, as a replay ends.

    ``meanwhile`` is done before the venue gives the first trade that was missed.
    """
    client.flushall()

    def arrived(step: Snapshot) -> bool:
        try:
            found: Any = client.xrevrange(keys.events(keys.partition_of(step.symbol, PARTITIONS)), count=20)
        except redis.ConnectionError:
            return False  # it is being killed
        books = (decode(OrderBook, f[b"data"]) for _, f in found if f[b"kind"] == b"book")
        return any(b.symbol == step.symbol and b.timestamp == step.event_ms for b in books)

    async def play(file: Any) -> Outlet:
        outlet = Outlet(client, SETTINGS)
        frames = sum(isinstance(step, bytes) for step in tape.script)
        async with Venue(tape.script, arrived, tape.trades, meanwhile) as venue:
            here = binance_addresses.Venue(f"ws://{venue.url}", f"http://{venue.url}/depth")
            pace = Pace.of(SETTINGS)
            feed = BinanceFeed(
                here, symbols, outlet, SETTINGS.max_future_ms, record=file, pace=pace, first_pause_s=0.02, hold_ms=hold_ms, lateness_ms=250
            )  # fmt: skip
            running = asyncio.create_task(feed.run())
            await asyncio.wait_for(venue.done.wait(), 120)
            deadline = time.monotonic() + 60
            while outlet.counts.lines < frames + len(tape.kept) - len(tape.script) and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            while hold_ms and feed._parser.wanted():
                await asyncio.sleep(0.01)
            feed.stop()
            await asyncio.wait_for(running, 30)
            assert venue.wrong == []
            assert venue.connections == 1 + sum(isinstance(step, Disconnect) for step in tape.script)
        return outlet

    with record.open("wb") as file:
        outlet = asyncio.run(play(file))
    with Publisher(client, PARTITIONS) as publisher:
        for symbol, last in outlet.counts.last_event.items():
            publisher.publish("tick", Tick(-(-last // 1000) * 1000, symbol))
    return rows(client)


def index(lines: Sequence[tuple[int, dict[str, Any]]], second: int) -> int:
    """The first line received in that second of the tape or later."""
    return next(i for i, (ns, _) in enumerate(lines) if ns >= lines[0][0] + second * 1_000_000_000)


def unknown_seconds(found: Rows, symbol: str) -> list[int]:
    """Seconds of the tape at whose boundary the book is not valid."""
    import numpy as np

    from transforms.catalog import MICROSTRUCTURE

    slot = MICROSTRUCTURE.index["book_valid"]
    out = []
    for (view, name, t), values in found.items():
        if view == "microstructure" and name == symbol and np.frombuffer(values)[slot] == 0.0:
            assert np.isnan(np.frombuffer(values)[MICROSTRUCTURE.index["mid_price"]])
            out.append(t // 1_000_000 - T0 // 1000)
    return sorted(out)


def test_a_capture_with_lost_connections_and_lost_frames_gives_the_rows_of_its_replay(redis_client, tmp_path):
    lines = simulated(40)
    tape = Tape(lines)
    at = [index(lines, second) for second in (10, 15, 22, 24, 30)]
    tape.play(0, at[0], snapshots=(A, B))
    tape.disconnect(A, B)  # five seconds are lost, and both books
    tape.lose(at[0], at[1])
    tape.play(at[1], at[2], snapshots=(A, B))
    tape.lose(at[2], at[3])  # two seconds are lost on a connection that stays
    tape.play(at[3], at[4], snapshots=(A, B))
    tape.disconnect(A, B)  # nothing is lost: the next diff follows
    tape.play(at[4], len(lines))
    tape.end(A, B)
    kept, recorded = tmp_path / "kept.jsonl", tmp_path / "recorded.jsonl"
    kept.write_bytes(b"".join(tape.kept))

    got = live(redis_client, tape, (A, B), recorded)
    expected = replayed(redis_client, kept)
    assert got == expected
    assert got == replayed(redis_client, recorded), "what the feed recorded gives the same rows once more"
    whole = tmp_path / "whole.jsonl"
    whole.write_bytes(b"".join(b"%d %s\n" % (ns, json.dumps(m).encode()) for ns, m in lines))
    assert set(replayed(redis_client, whole)) - set(got) <= {k for k in expected if k[2] > (T0 + 40_000) * 1000}
    for symbol in (A, B):
        unknown = unknown_seconds(got, symbol)
        assert set(range(11, 15)) <= set(unknown) <= set(range(10, 17)) | set(range(24, 26)) | {30, 31, 40}, unknown


def cut_of_six_seconds(lines: Sequence[tuple[int, dict[str, Any]]]) -> Tape:
    tape = Tape(lines)
    at = [index(lines, second) for second in (8, 14)]
    tape.play(0, at[0], snapshots=(A, B))
    tape.disconnect(A, B)
    tape.lose(at[0], at[1])
    tape.play(at[1], len(lines), snapshots=(A, B))
    tape.end(A, B)
    return tape


def test_trades_that_were_lost_with_a_connection_come_back_and_the_recording_replays_to_the_same(
    redis_client, tmp_path
):
    lines = simulated(30)
    whole, recorded = tmp_path / "whole.jsonl", tmp_path / "recorded.jsonl"
    whole.write_bytes(b"".join(b"%d %s\n" % (ns, json.dumps(m).encode()) for ns, m in lines))

    got = live(redis_client, cut_of_six_seconds(lines), (A, B), recorded, hold_ms=20_000)
    assert got == replayed(redis_client, recorded)
    expected = replayed(redis_client, whole)
    views = {view.name: [feature.name not in OF_BOOKS for feature in view.features] for view in (ORDER_FLOW, TECHNICAL)}
    for key in [key for key in expected if key[0] in views]:
        columns = views[key[0]]
        assert np.frombuffer(got[key])[columns].tobytes() == np.frombuffer(expected[key])[columns].tobytes(), key


def test_a_redis_that_is_killed_while_lost_trades_are_asked_for_and_comes_back_whole_or_older_changes_nothing(
    mortal: MortalRedis, tmp_path
):
    def kill() -> None:
        mortal.kill()
        mortal.start()

    def kill_and_cut() -> None:
        mortal.kill()
        mortal.cut(size)
        mortal.start()

    lines = simulated(30)
    with redis.Redis.from_url(mortal.url) as client:
        expected = live(client, cut_of_six_seconds(lines), (A, B), tmp_path / "calm.jsonl", hold_ms=20_000)
        for act in (kill, kill_and_cut):
            before, size, recorded = mortal.process.pid, mortal.written(), tmp_path / f"{act.__name__}.jsonl"
            got = live(client, cut_of_six_seconds(lines), (A, B), recorded, hold_ms=20_000, meanwhile=act)
            assert mortal.process.pid != before
            assert got == expected
            assert got == replayed(client, recorded)


@pytest.mark.parametrize("name", ["btcusdt", "ethusdt"])
def test_a_recorded_capture_through_the_feed_gives_the_rows_of_its_replay(recordings, redis_client, tmp_path, name):
    source = recordings / "ws_binance_hftbacktest" / f"spot_{name}_20240808.jsonl.gz"
    symbol = name.upper()
    lines: list[tuple[int, dict[str, Any]]] = []
    for raw in gzip.decompress(source.read_bytes()).splitlines():
        stamp, _, body = raw.partition(b" ")
        message = json.loads(body)
        lines.append((int(stamp), {"symbol": symbol, **message} if "lastUpdateId" in message else message))
    lines.sort(key=lambda line: "lastUpdateId" not in line[1])  # the venue has its book from the start
    tape = Tape(lines)
    at = [index(lines[1:], second) for second in (100, 112)]
    tape.play(0, at[0], snapshots=(symbol,))
    tape.disconnect(symbol)
    tape.lose(*at)
    tape.play(at[1], len(lines), snapshots=(symbol,))
    tape.end(symbol)
    kept, recorded = tmp_path / "kept.jsonl", tmp_path / "recorded.jsonl.gz"
    kept.write_bytes(b"".join(tape.kept))

    got = live(redis_client, tape, (symbol,), recorded)
    assert got == replayed(redis_client, kept)
    assert len(got) > 1000
    assert len([1 for key in got if key[0] == "microstructure"]) > 300


def test_the_command_listens_until_it_is_stopped_and_then_says_that_the_book_is_unknown(
    redis_client, redis_url, tmp_path
):
    lines = [(ns, m) for ns, m in simulated(5) if A in (m.get("symbol"), m.get("data", {}).get("s"))]
    tape = Tape(lines)
    tape.play(0, len(lines), snapshots=(A,))
    newest = max(m["data"]["E"] for _, m in lines if m.get("data", {}).get("e") == "depthUpdate")
    captured = tmp_path / "capture.jsonl.gz"

    def books() -> list[OrderBook]:
        found = entries(redis_client)[keys.partition_of(A, PARTITIONS)]
        return [decode(OrderBook, f[b"data"]) for _, f in found if f[b"kind"] == b"book"]

    async def play() -> tuple[int, str, str]:
        async with Venue(tape.script, lambda step: any(b.timestamp == step.event_ms for b in books())) as venue:
            addresses = ("--stream-url", f"ws://{venue.url}", "--rest-url", f"http://{venue.url}/depth")
            feed = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "ingest",
                    "feed",
                    "binance",
                    A,
                    "--record",
                    str(captured),
                    "--json",
                    *addresses,
                ),
                env={**os.environ, "TFS_REDIS_URL": redis_url, "TFS_PARTITIONS": str(PARTITIONS)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            await asyncio.wait_for(venue.done.wait(), 60)
            deadline = time.monotonic() + 60
            while books()[-1].timestamp < newest and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            feed.send_signal(signal.SIGTERM)
            out, err = await asyncio.wait_for(feed.communicate(), 30)
            assert feed.returncode is not None
            return feed.returncode, out.decode(), err.decode()

    code, out, err = asyncio.run(play())
    assert code == 0, err
    counts = json.loads(out)
    assert counts["published"]["book"] == len(books())
    assert counts["published"]["gap"] == 1
    ends = [fields for _, fields in entries(redis_client)[keys.partition_of(A, PARTITIONS)][-2:]]
    assert [fields[b"kind"] for fields in ends] == [b"gap", b"hold"], "time is held for a feed that comes back"
    assert time_us(decode(Gap, ends[0][b"data"])) > time_us(books()[-1])
    with gzip.open(captured) as file:
        notes = [json.loads(line.partition(b" ")[2])["e"] for line in file.read().splitlines()[-2:]]
        assert notes == ["disconnect", "stopped"]

"""A venue that loses connections and answers badly, and our feed's parser and its questions, played by the venue's own clock.

No time is waited for: the event loop's clock jumps to the next timer. The parser, `Recovery` and the worker's partition are the real ones;
the websocket and the HTTP client are not.
"""

from __future__ import annotations

import asyncio
import json
import selectors
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import numpy as np

from ingest.feeds.binance_addresses import VENUES
from ingest.feeds.binance_recovery import Recovery
from ingest.messages.kinds import OrderBook, Tick
from ingest.publish.last_trades import LastTrades
from ingest.publish.placed import entries_of
from ingest.recordings.binance import Binance
from ingest.recordings.lines import Line, Output, Parsed, Rejected
from ingest.recordings.venue_clock import Pace
from ingest.settings import Settings, load
from ingest.simulate import history
from ingest.worker.partition import Partition

T0 = 1_700_006_400_000  # midnight, so that sessions are whole
SYMBOL = "BTCUSDT"
SETTINGS: Settings = load({"TFS_PARTITIONS": "1", "TFS_MAX_AGE_MS": str(3650 * 86_400_000)})
Rows = dict[tuple[str, int], np.ndarray[Any, Any]]
"""The values of each row by view and event time."""
Result = TypeVar("Result")


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing: the time of a wait passes at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits for nothing"
        self.now += max(0.0, timeout)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop without waiting."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(play: Coroutine[Any, Any, Result]) -> Result:
    """Run without waiting."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(play)


@dataclass(frozen=True)
class Market:
    """Frames by the time at which the venue sends them, milliseconds after `T0`; its trades; and its book at each diff."""

    frames: Sequence[tuple[int, dict[str, Any]]]
    trades: Mapping[int, dict[str, Any]]
    books: Sequence[tuple[int, int, dict[str, Any]]]  # time, last update, the snapshot

    @classmethod
    def simulated(cls, seconds: int, seed: int) -> Market:
        """One symbol of spot, with a diff every two seconds and some trades a second."""
        frames: list[tuple[int, dict[str, Any]]] = []
        trades: dict[int, dict[str, Any]] = {}
        books: list[tuple[int, int, dict[str, Any]]] = []
        last: tuple[dict[float, float], dict[float, float]] | None = None
        update, number = 1000, 70
        for _, message in history(T0, T0 + seconds * 1000, symbols=(SYMBOL,), seed=seed, kinds=("book", "trade")):
            at = (message.received or 0) - T0
            if isinstance(message, OrderBook) and message.timestamp % 2000 >= 500:
                continue
            if isinstance(message, OrderBook):
                now = dict(message.bids), dict(message.asks)
                if last is not None:
                    changes = [
                        [[str(p), str(new.get(p, 0))] for p in {**old, **new} if old.get(p) != new.get(p)]
                        for old, new in zip(last, now, strict=True)
                    ]
                    first, update = update + 1, update + 1 + sum(map(len, changes))
                    data = {"e": "depthUpdate", "E": message.timestamp, "s": SYMBOL, "U": first, "u": update}
                    frames.append((at, {**data, "b": changes[0], "a": changes[1]}))
                last = now
                sides = [[[str(p), str(q)] for p, q in side.items()] for side in now]
                books.append((at, update, {"lastUpdateId": update, "bids": sides[0], "asks": sides[1]}))
            else:
                trade = {"id": number, "price": str(message.price), "qty": str(message.size), "time": message.timestamp}
                trades[number] = {**trade, "isBuyerMaker": message.side == "sell", "at": at}
                data = {"e": "trade", "s": SYMBOL, "t": number, "p": trade["price"], "q": trade["qty"]}
                frames.append((at, {**data, "T": message.timestamp, "m": message.side == "sell", "M": True}))
                number += 1
        return cls(frames, trades, books)


@dataclass
class Answers:
    """The venue's ``/historicalTrades``: it answers rightly after at most ``bad`` wrong answers in a row.

    ``lost`` are the ids of trades that it never gives.
    """

    market: Market
    random: Random
    bad: int = 3
    lost: frozenset[int] = frozenset()
    given: list[str] = field(default_factory=list)
    _in_a_row: int = 0
    _banned_until: float = 0.0

    async def get(self, address: str, query: Mapping[str, str], *_: Any) -> bytes:
        assert address.endswith("/historicalTrades") and query["limit"] == "1000" and query["symbol"] == SYMBOL
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.random.uniform(0.02, 0.4))
        kinds = ["right", "slow", "fails", "429", "few", "none", "another symbol", "disorder", "negative", "cut off"]
        kind = self.random.choice(kinds) if self._in_a_row < self.bad else "right"
        self._in_a_row = 0 if kind == "right" else self._in_a_row + 1
        self.given.append(kind)
        if loop.time() < self._banned_until:
            raise ValueError("HTTP 418")
        now = loop.time() * 1000
        first = int(query["fromId"])
        ids = [number for number in range(first, first + 1000) if number in self.market.trades]
        found = [self.market.trades[n] for n in ids if self.market.trades[n]["at"] <= now and n not in self.lost]
        if kind == "slow":
            await asyncio.sleep(self.random.uniform(1, 4))
        elif kind == "fails":
            raise ValueError("HTTP 500")
        elif kind == "429":
            self._banned_until = loop.time() + 1
            raise ValueError("HTTP 429")
        elif kind == "few":
            found = found[: self.random.randint(1, 5)]
        elif kind == "none":
            found = []
        elif kind == "another symbol":
            found = [{**trade, "price": "0.5"} for trade in found]
        elif kind == "disorder":
            found = found[::-1]
        elif kind == "negative":
            found = [{**trade, "price": "-" + trade["price"]} for trade in found]
        text = json.dumps(found).encode()
        return text[:-2] if kind == "cut off" else text


class Feed:
    """Our feed without its sockets; what it gives are the entries of a log."""

    def __init__(self, market: Market, answers: Answers, *, hold_s: int) -> None:
        self.market, self.answers, self.hold_s = market, answers, hold_s
        self.is_open, self.open_since = False, 0.0
        self.lines: list[Line] = []
        self.outputs: list[Output] = []
        self.entries: list[tuple[bytes, dict[bytes, bytes]]] = []
        self._stored: dict[str, bytes] = {}
        self._asked_book = False
        self._begin()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._clock_ns = lambda: T0 * 1_000_000 + round(loop.time() * 1e9)
        self._parser = Binance(5000, pace=Pace.of(SETTINGS))
        self._last_trades = LastTrades(self, "test", 1, self._clock_ns)  # type: ignore[arg-type]  # of a client it needs `hmget`
        self._recovery = Recovery(
            VENUES["binance"], [SYMBOL], self, self.answers, self._put,  # type: ignore[arg-type]  # the same, without sockets
            hold_ms=self.hold_s * 1000, lateness_ms=SETTINGS.allowed_lateness_ms, clock_ns=self._clock_ns, first_pause_s=0.2,
        )  # fmt: skip

    def hmget(self, key: str, names: Sequence[str]) -> list[bytes | None]:
        """Return what is stored, as Redis does."""
        return [self._stored.get(name) for name in names]

    async def start(self) -> None:
        await self._recovery.start(self._last_trades.read([SYMBOL]))
        self._asking = asyncio.create_task(self._recovery.run())

    async def restart(self) -> None:
        """Start again with what is stored."""
        self._begin()
        await self.start()

    async def leave(self, *, killed: bool) -> None:
        """End; a feed that is killed says nothing."""
        self._asking.cancel()
        if killed:
            for task in self._recovery._asking.values():
                task.cancel()
        else:
            if self.is_open:
                self.is_open = False
                await self.tell()
            await self._recovery.end()
        self.is_open = False

    def miss(self, now_ms: int) -> None:
        """What the worker appends while it misses the feed: time passes, and the feed is lost."""
        for _, fields in entries_of("tick", Tick(T0 + now_ms - SETTINGS.idle_after_ms, SYMBOL, lost=True), 1):
            self.entries.append((b"%d-%d" % (T0 + now_ms, len(self.entries)), fields))

    async def tell(self) -> None:
        note = {"e": "connections", "n": 1} if self.is_open else {"e": "disconnect"}
        await self._put(json.dumps({**note, "s": [SYMBOL]}).encode())

    async def turn(self, *, on: bool) -> None:
        """Open the connection, or lose it."""
        self.is_open = on
        if on:
            self.open_since = asyncio.get_running_loop().time()
        await self.tell()

    async def hear(self, frame: dict[str, Any]) -> None:
        if self.is_open:
            await self._put(json.dumps(frame).encode())

    async def _put(self, payload: bytes, symbol: str = "") -> None:
        ns = self._clock_ns()
        line = Line("live", len(self.lines) + 1, ns, b"%d " % ns + payload, True)
        self.lines.append(line)
        outputs = list(self._parser.parse(line))
        self.outputs += outputs
        for notes in self._last_trades.notes(outputs).values():
            self._stored.update(notes.texts)
        for output in outputs:
            if not isinstance(output, Rejected):
                for _, fields in entries_of(output.kind, output.message, 1):
                    self.entries.append((b"%d-%d" % (ns // 1_000_000, len(self.entries)), fields))
        self._recovery.note(self._parser.wanted(), [symbol] if symbol else [])
        if self.is_open and not self._asked_book and self._parser.missing():
            self._asked_book = True
            asyncio.get_running_loop().call_later(0.2, lambda: asyncio.ensure_future(self._snapshot()))

    async def _snapshot(self) -> None:
        self._asked_book = False
        now = asyncio.get_running_loop().time() * 1000
        known = [book for at, _, book in self.market.books if at <= now]
        if self.is_open and known:
            await self._put(json.dumps({"symbol": SYMBOL, **known[-1]}).encode())

    def trades(self) -> list[int]:
        """The ids of the trades that were given, in their order."""
        return [o.message.trade_id for o in self.outputs if isinstance(o, Parsed) and o.kind == "trade"]  # type: ignore[union-attr,misc]

    async def end(self, seconds: int) -> None:
        """Let what is still asked for come, and end."""
        await asyncio.sleep(0.5)
        self._asking.cancel()
        await self._recovery.end()
        for _, fields in entries_of("tick", Tick(T0 + seconds * 1000, SYMBOL), 1):
            self.entries.append((b"%d-%d" % (T0 + seconds * 1000 + 10_000, len(self.entries)), fields))


@dataclass(frozen=True)
class Cut:
    """The connection is lost from ``at`` on for ``lasts``, milliseconds."""

    at: int
    lasts: int


def cuts(random: Random, n: int) -> list[Cut]:
    """``n`` cuts of 0.2 to 120 s, one after the other: as many of each order of magnitude."""
    found, at = [], 30_000
    for _ in range(n):
        lasts = round(1000 * 0.2 * 600 ** random.random())
        found.append(Cut(at, lasts))
        at += lasts + round(1000 * random.uniform(1, 12))
    return found


async def play(
    market: Market,
    answers: Answers,
    seconds: int,
    lost: Iterable[Cut] = (),
    *,
    hold_s: int = 60,
    restarts: Mapping[int, bool] | None = None,
    away_ms: int = 0,
) -> Feed:
    """Play the market until its end into a feed; ``restarts`` says when the feed is ended (True: killed) and started again.

    It is started again ``away_ms`` later. The worker waits ``TFS_RECOVER_S`` for it.
    """
    feed = Feed(market, answers, hold_s=hold_s)
    loop = asyncio.get_running_loop()
    await feed.start()
    await feed.turn(on=True)
    acts: list[tuple[float, int, str, Any]] = [(at, i, "frame", frame) for i, (at, frame) in enumerate(market.frames)]
    for i, cut in enumerate(lost):
        acts += [(cut.at, -1 - i, "cut", None), (cut.at + cut.lasts, -1 - i, "open", None)]
    for at, killed in (restarts or {}).items():
        waits_ms = SETTINGS.recover_s * 1000 + SETTINGS.idle_after_ms
        acts += [(at, 0, "leave", killed), (at + away_ms, 1, "restart", None)]
        acts += [(missed, 0, "miss", missed) for missed in range(at + waits_ms, at + away_ms, 1000)]
    for at, _, act, what in sorted(acts, key=lambda one: one[:2]):
        await asyncio.sleep(max(0.0, at / 1000 - loop.time()))
        if act == "frame":
            await feed.hear(what)
        elif act == "leave":
            await feed.leave(killed=what)
        elif act == "miss":
            feed.miss(what)
        elif act == "restart":
            await feed.restart()
            await asyncio.sleep(1)
            await feed.turn(on=True)
        elif feed.is_open != (act == "open"):
            await feed.turn(on=act == "open")
    await feed.end(seconds)
    return feed


def rows(entries: Iterable[tuple[bytes, dict[bytes, bytes]]], *, saved_every: int = 0) -> Rows:
    """The rows that a log gives; with ``saved_every`` another worker goes on with the saved state after so many entries."""
    out: Rows = {}
    partition = Partition(0, SETTINGS)
    checkpoint: dict[bytes, bytes] = {}

    def take() -> None:
        for batch in partition.take_pending().batches.values():
            if len(batch):
                columns = batch.columns()
                for i, t_us in enumerate(columns.event_us.tolist()):
                    assert (columns.view.name, t_us) not in out, "a row is given twice"
                    out[columns.view.name, t_us] = columns.values[i].copy()

    for number, (entry_id, fields) in enumerate(entries, 1):
        partition.process(entry_id, fields, now_us=0)
        if saved_every and number % saved_every == 0:
            take()
            checkpoint.update(partition.save())
            partition = Partition(0, SETTINGS)
            assert partition.restore(checkpoint) == {}
    take()
    return out

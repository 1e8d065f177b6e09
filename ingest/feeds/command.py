"""``python -m ingest feed``: live markets and posts into the streams."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import difflib
import gzip
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Protocol, cast

import msgspec

from feature_repo.stores.errors import UserError
from ingest.cli import needs_extra
from ingest.cli.arguments import address, make_parser
from ingest.feeds.binance_addresses import VENUES
from ingest.feeds.binance_live import BinanceFeed
from ingest.feeds.ending import Ending
from ingest.feeds.kafka import command
from ingest.feeds.sole_feed import SoleFeed
from ingest.messages.check import is_symbol
from ingest.publish import report
from ingest.publish.outlet import Outlet
from ingest.recordings.venue_clock import Pace
from ingest.settings import Settings, load
from ingest.streams import deployment

_EXAMPLE = """\
example:
  python -m ingest feed binance BTCUSDT ETHUSDT                        until Ctrl-C
  python -m ingest feed binance BTCUSDT --connections 2                what one connection loses, the other has
  python -m ingest feed binance-coinm BTCUSD_PERP                      as BINANCE-COINM:BTCUSD_PERP
  python -m ingest feed binance BTCUSDT --record btcusdt.jsonl.gz      and keep what came, for `replay`
  python -m ingest feed kraken BTC-USD ETH-USD                         as KRAKEN:BTC-USD and KRAKEN:ETH-USD
  TFS_WEBHOOK_TOKEN=... python -m ingest feed posts --listen 127.0.0.1:8800
  tail -F messages.jsonl | python -m ingest feed jsonl -
  python -m ingest feed kafka --brokers a:9092,b:9092                  topics of the names of the plain streams
  python -m ingest feed kafka order_book=books.v1 --brokers a:9092     another name, and this topic alone

sources: binance, binance-us, binance-futures, binance-coinm; any other venue of cryptofeed by its name; posts (by HTTP); jsonl; kafka
a connection that is lost is made anew, and the books are unknown meanwhile; venues need the extra `feeds`
symbols are compared with the venue's list at the start; Ctrl-C ends a feed within two seconds, a second one at once
exit codes: 0 stopped or at the end of its input, 2 an option, a file, a library, a server or an address is wrong, 130 ended at once
"""
OTHER_SOURCES = ("posts", "jsonl", "kafka")
NEAR = 0.7  # how like a known name a mistyped one is, by difflib


class Feed(Protocol):
    """A feed that runs in an event loop."""

    async def run(self) -> None:
        """Listen until stopped."""

    def stop(self) -> None:
        """Make ``run`` return after what was read is written."""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = "Publish what a venue, a webhook or a pipe says, as it comes."
    parser = make_parser(subparsers, "feed", run, about, _EXAMPLE)
    add = parser.add_argument
    add(
        "source",
        help="binance, binance-us, binance-futures, binance-coinm, a venue of cryptofeed, posts, jsonl or kafka",
    )
    names = "symbols as the venue writes them; the file of jsonl, - for a pipe; of kafka, STREAM=TOPIC"
    add("names", nargs="*", metavar="NAME", help=names)
    record = "append what a Binance venue sends, as a capture; .gz packs it"
    add("--record", type=Path, metavar="FILE", help=record)
    add("--stream-url", metavar="URL", help="of a Binance venue: another address of its streams")
    add(
        "--rest-url",
        metavar="URL",
        help="of a Binance venue: another address of its /depth; its old trades lie beside that",
    )
    connections = (
        "of a Binance venue: connections to keep to each of its addresses (default 1); the messages of all are merged"
    )
    add("--connections", type=int, choices=range(1, 5), default=1, metavar="N", help=connections)
    listen = "of posts (default 127.0.0.1:8800)"
    add("--listen", type=address, default="127.0.0.1:8800", metavar="HOST:PORT", help=listen)
    command.add_arguments(parser)
    add("--json", action="store_true", help="print the counts as one JSON object at the end")


def run(args: argparse.Namespace) -> None:
    """Run one feed until it is stopped or its input ends."""
    settings = load()
    if args.source == "kafka":
        command.run(args, settings)
        return
    with deployment.opened(settings) as (client, settings), report.live("feed", quiet=args.json) as progress:
        prefix = VENUES[args.source].prefix if args.source in VENUES else ""
        attempts = 2 if args.source == "posts" else None
        feed = VENUES[args.source].name if args.source in VENUES else ""
        outlet = Outlet(client, settings, prefix=prefix, progress=progress, attempts=attempts, feed=feed)
        if args.source == "posts":
            _posts(args, settings, outlet)
        elif args.source == "jsonl":
            _jsonl(args, settings, outlet)
        else:
            with _recorder(args.record, args.source, prefix) as record:
                _run_until_stopped(lambda: _market(args, settings, outlet, record), _stored_names(args), outlet, record)
    report.finish(outlet.counts, as_json=args.json)


def _market(args: argparse.Namespace, settings: Settings, outlet: Outlet, record: IO[bytes] | None) -> Feed:
    if not args.names:
        raise UserError(f"name the symbols: python -m ingest feed {args.source} BTCUSDT")
    venue = VENUES.get(args.source)
    if venue is None:
        _check_venue(args.source)
    with needs_extra("feeds"):
        if venue is not None:
            import aiohttp  # noqa: F401  # fail here if it is missing, not at the first connection

            here = replace(venue, stream=args.stream_url or venue.stream, rest=args.rest_url or venue.rest)
            return BinanceFeed(
                here,
                args.names,
                outlet,
                settings.max_future_ms,
                record=record,
                instrument=settings.instrument,
                pace=Pace.of(settings),
                connections=args.connections,
                hold_ms=settings.recover_s * 1000,
                lateness_ms=settings.allowed_lateness_ms,
            )
        if args.record or args.stream_url or args.rest_url or args.connections != 1:
            raise UserError("--record, --stream-url, --rest-url and --connections are for Binance venues")
        from ingest.feeds.cryptofeed_live import CryptofeedFeed

        return CryptofeedFeed(args.source, args.names, outlet, instrument=settings.instrument)


def _check_venue(name: str) -> None:
    """Raise an error for a name that is no venue, with the names that are near: also without cryptofeed, where it is near to a name."""
    known = {*VENUES, *OTHER_SOURCES}
    try:
        from ingest.feeds.cryptofeed_live import venues

        known.update(venues())
    except ImportError:
        if not difflib.get_close_matches(name.lower(), known, cutoff=NEAR):
            return  # it may be a venue of cryptofeed, whose extra is asked for next
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=NEAR)
        advice = f"did you mean {' or '.join(near)}?" if near else "`python -m ingest feed --help` names the sources"
        raise UserError(f"unknown venue {name!r:.60}: {advice}")


def _stored_names(args: argparse.Namespace) -> list[str]:
    """Return the symbols of a feed as they are in the store, without those that the feed will refuse."""
    venue = VENUES.get(args.source)
    prefix = venue.prefix if venue is not None else args.source.upper() + ":"
    return [name for name in (prefix + one.upper() for one in args.names) if is_symbol(name)]


def _run_until_stopped(
    make: Callable[[], Feed], names: Sequence[str], outlet: Outlet, record: IO[bytes] | None
) -> None:
    """Run a feed of an event loop until SIGTERM or Ctrl-C, or until another feed has taken a symbol."""
    stop = threading.Event()

    async def run_feed(ending: Ending, sole: SoleFeed) -> None:
        loop = asyncio.get_running_loop()
        feed = make()
        ending.on_signal(lambda: loop.call_soon_threadsafe(feed.stop))
        sole.on_lost(lambda: loop.call_soon_threadsafe(feed.stop))
        await feed.run()

    with Ending(outlet.give_up, record) as ending:
        ending.on_signal(stop.set)
        with SoleFeed(outlet.client, names, stop) as sole:
            if not stop.is_set():
                asyncio.run(run_feed(ending, sole))


@contextlib.contextmanager
def _recorder(path: Path | None, venue: str, prefix: str) -> Iterator[IO[bytes] | None]:
    """Open the file that keeps what comes; its first line says the venue, so that a replay gives the symbols their live names."""
    if path is None:
        yield None
        return
    with cast("IO[bytes]", gzip.open(path, "ab")) if path.suffix == ".gz" else path.open("ab") as record:
        header = msgspec.json.encode({"e": "recording", "venue": venue, "prefix": prefix})
        record.write(b"%d %s\n" % (time.time_ns(), header))
        yield record


def _jsonl(args: argparse.Namespace, settings: Settings, outlet: Outlet) -> None:
    from ingest.feeds import jsonl

    if len(args.names) != 1:
        raise UserError("name one file, or - for standard input")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    path = Path(args.names[0])
    with contextlib.suppress(KeyboardInterrupt):
        if args.names[0] == "-":
            jsonl.publish_lines(cast("BufferedReader", sys.stdin.buffer), "stdin", outlet, settings.max_future_ms)
            return
        with path.open("rb") as file:
            jsonl.publish_lines(file, path.name, outlet, settings.max_future_ms)


def _posts(args: argparse.Namespace, settings: Settings, outlet: Outlet) -> None:
    from ingest.feeds.webhook import Webhook

    if args.names:
        raise UserError("posts takes no names; --listen says where")
    if not settings.webhook_token:
        raise UserError("set TFS_WEBHOOK_TOKEN to what callers must send as `Authorization: Bearer ...`")
    with Webhook(args.listen, settings.webhook_token, outlet, settings.max_future_ms) as server:
        print(f"listening on {server.server_address[0]!s}:{server.server_address[1]}", flush=True)
        with Ending(outlet.give_up) as ending:
            # in another thread, because shutdown waits for the loop that the signal interrupts
            ending.on_signal(threading.Thread(target=server.shutdown).start)
            server.serve_forever(poll_interval=0.1)

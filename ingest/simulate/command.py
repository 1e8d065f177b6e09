"""``python -m ingest simulate``: a made-up market into the streams."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

from feature_repo.stores.endpoints import redis_url
from ingest.messages.check import is_symbol
from ingest.publish import report
from ingest.publish.counts import Counts
from ingest.publish.sink import NotReadError
from ingest.settings import load
from ingest.simulate.history import SYMBOLS
from ingest.simulate.run import simulate
from ingest.streams.outage import open_redis

if TYPE_CHECKING:
    SubParsers = argparse._SubParsersAction[argparse.ArgumentParser]

_EXAMPLE = """\
example:
  python -m ingest simulate                                    in real time until Ctrl-C
  python -m ingest simulate --history 4h30m --seconds 60       the past first, fast, then a minute live
  python -m ingest simulate --history 2h --seconds 0 --seed 7 --symbols SIM-BTC,SIM-ETH

the same seed gives the same market at the same time, on every machine, and a second run goes on where the first stopped
exit codes: 0 done, 1 it could not go on, 130 interrupted
"""
_UNITS_S = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s?)?\Z")


def add_parser(subparsers: SubParsers) -> argparse.ArgumentParser:
    """Add ``simulate``; it sets ``run``, a function of the parsed arguments to an exit code."""
    parser = subparsers.add_parser(
        "simulate",
        help="a made-up market into the streams",
        description="Publish a seeded, simulated market: books, trades, and posts about them.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--symbols", type=_symbols, default=SYMBOLS, metavar="A,B", help=f"names (default: {','.join(SYMBOLS)})"
    )
    parser.add_argument(
        "--seconds", type=_seconds, metavar="N", help="length of the live part; 0 is none (default: until Ctrl-C)"
    )
    parser.add_argument(
        "--history",
        type=duration_s,
        default=0,
        metavar="TIME",
        help="past to begin with, such as 4h30m (default: none)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed is another market (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")
    parser.set_defaults(run=_run)
    return parser


def _run(args: argparse.Namespace) -> int:
    settings = load()
    with open_redis(redis_url()) as client, report.live("simulate", quiet=args.json) as progress:
        try:
            counts: Counts = simulate(
                client,
                settings,
                symbols=args.symbols,
                seconds=args.seconds,
                history_ms=args.history * 1000,
                seed=args.seed,
                progress=progress,
            )
        except NotReadError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    report.finish(counts, as_json=args.json)
    return 0


def duration_s(text: str) -> int:
    """Seconds of a text such as ``4h30m``, ``90s`` or ``1d``; a bare number is seconds.

    >>> duration_s("4h30m"), duration_s("90")
    (16200, 90)
    """
    match = _DURATION.match(text)
    if not text or match is None:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is no time such as 4h30m, 90s or 1d")
    return sum(int(part or 0) * unit for part, unit in zip(match.groups(), _UNITS_S.values(), strict=True))


def _symbols(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if not is_symbol(name):
            raise argparse.ArgumentTypeError(f"{name!r:.40} is not 1 to 64 letters, digits and : . _ / -")
    return names


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError("must be 0 or more")
    return seconds

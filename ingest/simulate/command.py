"""``python -m ingest simulate``: publish a simulated market to the streams."""

from __future__ import annotations

import argparse
from typing import Any

from ingest.cli.arguments import duration_or_seconds_ms, make_parser, non_negative
from ingest.messages.check import is_symbol
from ingest.publish import report
from ingest.settings import load
from ingest.simulate.history import SYMBOLS
from ingest.simulate.run import simulate
from ingest.streams import deployment

_EXAMPLE = """\
example:
  python -m ingest simulate                                    in real time until Ctrl-C
  python -m ingest simulate --history 4h30m --seconds 60       the past first, fast, then a minute live
  python -m ingest simulate --history 2h --seconds 0 --seed 7 --symbols SIM-BTC,SIM-ETH

the same seed gives the same market at the same time on every machine; a second run continues where the first stopped
exit codes: 0 done, 2 an option or a server is wrong, or nothing reads the streams, 130 interrupted
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = "Publish a seeded, simulated market: books, trades, what venues tell of perpetuals, and posts about them."
    add = make_parser(subparsers, "simulate", run, about, _EXAMPLE).add_argument
    add("--symbols", type=_symbols, default=SYMBOLS, metavar="A,B", help=f"names (default: {','.join(SYMBOLS)})")
    live = "length of the live part; 0 is none (default: until Ctrl-C)"
    add("--seconds", type=non_negative, metavar="N", help=live)
    past = "past to begin with, such as 4h30m (default: none)"
    add("--history", type=duration_or_seconds_ms, default=0, metavar="TIME", help=past)
    add("--seed", type=int, default=0, metavar="S", help="another seed is another market (default: 0)")
    add("--json", action="store_true", help="print the counts as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Simulate until the time is over or Ctrl-C."""
    settings = load()
    with deployment.opened(settings) as (client, settings), report.live("simulate", quiet=args.json) as progress:
        counts = simulate(
            client,
            settings,
            symbols=args.symbols,
            seconds=args.seconds,
            history_ms=args.history,
            seed=args.seed,
            progress=progress,
        )
    report.finish(counts, as_json=args.json)


def _symbols(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if not is_symbol(name):
            raise argparse.ArgumentTypeError(f"{name!r:.40} is not 1 to 64 letters, digits and : . _ / -")
    return names

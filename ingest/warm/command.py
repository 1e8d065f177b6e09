"""``python -m ingest warm``: states of symbols rebuilt from the tape, for the workers that run or start later."""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import redis
from rich.console import Console
from rich.status import Status

from feature_repo.stores.errors import UserError
from ingest import settings
from ingest.cli import ExitCode, needs_extra
from ingest.cli.arguments import count, make_parser
from ingest.feeds.binance_addresses import VENUES
from ingest.messages.check import is_symbol
from ingest.messages.kinds import time_us
from ingest.settings import Settings
from ingest.streams import deployment, keys
from ingest.streams.read import id_numbers
from ingest.tape.columns import NO_PARTITION
from ingest.tape.table import Tape, of_tape
from ingest.warm import leaving, venue
from ingest.warm.known import lacks_past, on_tape, saved
from ingest.warm.leaving import Warmed
from ingest.worker.idle_load import IdleLoad, reader
from transforms.catalog import NORMALIZED
from transforms.history import needs
from transforms.instrument import Instrument
from transforms.kernel import HOUR_US
from transforms.kernels import KERNEL
from transforms.times import datetime_of_ms, datetime_of_us

_SCORES = frozenset(name for name in NORMALIZED.names if name.endswith("_z"))
_OF_TRADES = frozenset(name for name in KERNEL if "trade" in needs(name, 0, Instrument()))
DAYS = 32
"""The longest memory of a feature; a symbol that was not heard for so long has little to be rebuilt."""
HOURS = 26
"""So far back trades of a venue are asked for: a z-score looks at 25 hours, and at the window of its feature."""
MOST = 500_000
"""Trades of a symbol to ask a venue for: four minutes of requests at Binance."""
_EXAMPLE = """\
examples:
  python -m ingest warm
  python -m ingest warm NEWUSDT ETHUSDT
  python -m ingest warm --all
  python -m ingest warm BTCUSDT --take-all
  python -m ingest warm NEWUSDT --from-venue binance --hours 26

Without symbols it rebuilds those that the tape has and the workers do not, or know for a shorter time, as after Redis was emptied.
With symbols it rebuilds these, for example after history was imported or TFS_INSTRUMENTS changed; with --all every symbol of the tape,
after an upgrade for which kernels began anew.
Where the tape lacks what a kernel needs, and the worker has heard the symbol for longer, that kernel stays as the worker has it.
With --from-venue the trades before the first one of the symbol's feed, which runs already, are asked for by REST first and put on the tape.
Set the variables TFS_... as the workers have them. Workers may run meanwhile.
exit codes: 0 done, 1 a symbol is not on the tape or its worker refused the state, 2 a server, the tape or an option is wrong
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = "Rebuild the states of symbols from the tape; their workers go on with them, and no row is lost or doubled."
    add = make_parser(subparsers, "warm", run, about, _EXAMPLE).add_argument
    add("symbols", nargs="*", metavar="SYMBOL", help="which (default: all that lack what the tape has)")
    add("--all", action="store_true", help="every symbol that the tape has heard in the last days")
    add("--days", type=count, default=DAYS, metavar="N", help=f"without symbols: of the last N days ({DAYS})")
    add(
        "--from-venue",
        choices=sorted(VENUES),
        metavar="VENUE",
        help=f"first ask {', '.join(VENUES)} for earlier trades",
    )
    add("--hours", type=count, default=HOURS, metavar="N", help=f"of the venue: so far back ({HOURS})")
    add("--most", type=count, default=MOST, metavar="N", help=f"of the venue: so many trades of a symbol ({MOST:,})")
    add("--take-all", action="store_true", help="take every kernel from the tape, also where it lacks something")
    add("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Rebuild states; return the exit code."""
    if wrong := [name for name in args.symbols if not is_symbol(name)]:
        raise UserError(f"{wrong[0]!r:.80} is no symbol")
    conf = settings.load()
    if args.all and args.symbols:
        raise UserError("give symbols, or --all, not both")
    if args.from_venue and not args.symbols:
        raise UserError("name the symbols for which the venue is to be asked")
    if outside := sorted(set(args.symbols) - conf.symbols if conf.symbols else ()):
        raise UserError(f"{outside[0]} is not in TFS_SYMBOLS, so no worker takes it")
    console = Console(stderr=True)
    with deployment.opened(conf) as (client, conf), console.status("looking at the tape") as status:
        tape = leaving.opened(client, conf)
        names = sorted(set(args.symbols)) or _wanted(client, tape, conf, args.days, every=args.all)
        fetched = {name: _fetched(tape, conf, name, args, status) for name in names} if args.from_venue else {}
        every, left = list[Warmed](), dict[bytes, Warmed]()
        n_done = 0

        def told(n: int) -> None:
            nonlocal n_done
            n_done += n
            status.update(f"{n_done:,} of {len(names):,} symbols are rebuilt")

        how = {"take_all": args.take_all, "were_new": not args.from_venue, "told": told}
        for p, some in sorted(_by_partition(names, conf.partitions).items()):
            for state, about in leaving.rebuild_all(client, conf, p, some, **how):
                about.fetched, is_all = fetched.get(about.symbol, ("", False))
                if is_all:  # there was nothing before that a kernel could lack
                    about.missing = {
                        k: lack
                        for k, lack in about.missing.items()
                        if not lack.removeprefix("all ").startswith("trades")
                    }
                every.append(about)
                if state:
                    left[state] = about
        status.update("waiting for the workers")
        leaving.wait(client, left)
        for p in {about.partition for about in every}:
            leaving.release(client, p)
    for about in every:
        print(json.dumps(asdict(about)) if args.json else _text(about))
    if not args.json:
        _sum_up(every, left)
    return ExitCode.DONE if all(about.outcome in ("taken over", "waits") for about in every) else ExitCode.NO


def _fetched(tape: Tape, conf: Settings, name: str, args: argparse.Namespace, status: Status) -> tuple[str, bool]:
    """Ask the venue for the trades of a symbol; return what it gave, as a sentence, and whether these are all that there ever were."""

    def told(n: int) -> None:
        status.update(f"{n:,} trades of {name} from {args.from_venue}")

    since_us = (time.time_ns() // 1000) - args.hours * HOUR_US
    with needs_extra("feeds"):
        found = venue.fetch(tape, conf, args.from_venue, name, since_us, args.most, told)
    if not found.trades:
        return f"no earlier trade of {args.from_venue}: {found.ended}", found.is_all
    since = datetime_of_us(time_us(found.trades[0])).isoformat(" ", "seconds")
    told_of = f"{len(found.trades):,} earlier trades of {args.from_venue} since {since}, {found.new:,} of them new on the tape"
    return f"{told_of}; {found.ended}", found.is_all


def _wanted(client: redis.Redis, tape: Tape, conf: Settings, days: int, *, every: bool) -> list[str]:
    """Return the symbols that the tape has heard in the last days: every one, or those of which the workers lack the past."""
    newest = max((day for p, day in tape.days() if p != NO_PARTITION), default=None)
    if newest is None:
        return []
    idle = IdleLoad(client, reader(conf.tape))
    found = []
    for of in range(of_tape(tape, conf).partitions):
        for name, first_ms in on_tape(tape, of, newest - timedelta(days - 1), lambda: None).items():
            p = keys.partition_of(name, conf.partitions)
            is_wanted = not conf.symbols or name in conf.symbols
            if is_wanted and (every or lacks_past(saved(client, conf, idle, p, name), first_ms, conf)):
                found.append(name)
    return sorted(found)


def _by_partition(names: Iterable[str], partitions: int) -> dict[int, set[str]]:
    found = defaultdict(set)
    for name in names:
        found[keys.partition_of(name, partitions)].add(name)
    return found


def _text(about: Warmed) -> str:
    if not about.position:
        return f"{about.symbol}: {about.outcome}"
    at = datetime_of_ms(id_numbers(about.position.encode())[0]).isoformat(" ", "seconds")
    lines = [f"{about.symbol}: rebuilt up to {at} ({about.position}), {about.outcome}"]
    if about.fetched:
        warm = sorted(_OF_TRADES - about.missing.keys() - _SCORES)
        lines += [f"  {about.fetched}", f"  warm of trades: {', '.join(warm)}"]
    by_lack = defaultdict(list)
    for kernel, lack in about.missing.items():
        by_lack["some of the 25 hours before" if kernel in _SCORES else lack].append(kernel)
    lines += [f"  the tape lacks {lack}: {', '.join(kernels)}" for lack, kernels in by_lack.items()]
    if about.kept:
        lines.append("  the worker has heard the symbol for longer than the tape, and keeps these as they are")
    elif not about.missing:
        lines.append("  as if it had been heard for ever")
    return "\n".join(lines)


def _sum_up(every: list[Warmed], left: dict[bytes, Warmed]) -> None:
    if not every:
        print("nothing to do: no symbol lacks what the tape has")
        return
    n_taken = sum(about.outcome == "taken over" for about in every)
    print(f"{n_taken} of {len(every)} symbols are taken over by their workers")
    if left:
        print(f"{len(left)} wait in Redis; a worker takes them over when it runs and has come so far")

"""``python -m ingest symbols``: list the symbols that the workers know, and forget one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import redis

from feature_repo.stores.errors import UserError
from ingest import settings
from ingest.cli import ExitCode, printable
from ingest.cli.arguments import make_parser
from ingest.messages.check import is_symbol
from ingest.messages.kinds import Leave
from ingest.publish.publisher import Publisher
from ingest.publish.report import utc
from ingest.settings import Settings
from ingest.streams import deployment, keys
from ingest.streams.idle_state import unpack
from ingest.worker.saved import heard_ms

PAGE = 500  # idle symbols read in one round trip

_EXAMPLE = """\
examples:
  python -m ingest symbols
  python -m ingest symbols --json
  python -m ingest symbols forget OLDUSDT INVENTED1

An open symbol is in the memory of a worker. An idle one was not heard for TFS_FORGET_S; its state is kept at the tape
(TFS_TAPE), without one in Redis, and comes back when the symbol is heard again.
The list shows what was saved last, which is a few seconds old.
forget asks the worker to drop a symbol with its state. Rows that are written stay; a symbol that is heard again begins anew.
exit codes: 0 done, 1 a symbol is not known, 2 a server is away or an option is wrong
"""


class Known(NamedTuple):
    """A symbol as the list shows it; ``heard_ms`` is when its newest message was received, 0 where that is not known."""

    symbol: str
    state: str  # open, idle
    partition: int
    heard_ms: int
    bytes: int


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = make_parser(subparsers, "symbols", run, "Symbols that the workers know: list (default), forget.", _EXAMPLE)
    parser.add_argument("what", nargs="?", choices=("list", "forget"), default="list")
    parser.add_argument("names", nargs="*", metavar="NAME", help="symbols to forget")
    parser.add_argument("--json", action="store_true", help="list: one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """List symbols or forget some; return the exit code."""
    if args.what == "list" and args.names:
        raise UserError("list takes no NAME")
    if args.what == "forget" and (not args.names or not all(map(is_symbol, args.names))):
        raise UserError("forget needs the names of symbols, as `python -m ingest symbols` lists them")
    with deployment.opened(settings.load(), fix=False) as (client, conf):
        found = sorted(known(client, conf.partitions))
        if args.what == "forget":
            return _forget(client, conf, args.names, {one.symbol for one in found})
    for one in found:
        if args.json:
            print(json.dumps(one._asdict()))
        else:
            heard = utc(one.heard_ms) if one.heard_ms else "never"
            print(
                f"{one.symbol:<24} {one.state:<5} partition {one.partition:<4} heard {heard:<24} {one.bytes:>10,} bytes"
            )
    for sentence in conf.unheard({one.symbol for one in found}):
        print(printable(sentence), file=sys.stderr)
    if not found:
        print("no symbol is known yet", file=sys.stderr)
    return ExitCode.DONE


def known(client: redis.Redis, partitions: int) -> Iterator[Known]:
    """Yield the open and the idle symbols of all partitions, as they were saved last."""
    for p in range(partitions):
        yield from _open(client, p)
        found: Any = client.hscan_iter(keys.idle(p), count=PAGE)
        for name, packed in found:
            state = unpack(packed)
            yield Known(name.decode(), "idle", p, state.heard_ms, state.size or len(packed))


def _open(client: redis.Redis, p: int) -> Iterator[Known]:
    fields: Any = client.hkeys(keys.checkpoint(p))
    parts: dict[bytes, list[bytes]] = {}
    for key in fields:
        name, space, _ = key.partition(b" ")
        if space:
            parts.setdefault(name, []).append(key)
    for name, keys_of_symbol in parts.items():
        pipe: Any = client.pipeline(transaction=False)
        for key in keys_of_symbol:
            pipe.hstrlen(keys.checkpoint(p), key)
        pipe.hget(keys.checkpoint(p), name + b" order")
        *sizes, order = pipe.execute()
        yield Known(name.decode(), "open", p, heard_ms(order), sum(sizes))


def _forget(client: redis.Redis, conf: Settings, names: list[str], there: set[str]) -> int:
    with Publisher(client, conf.partitions, configured=conf.configured) as publisher:
        for name in names:
            if name in there:
                server_s, _ = client.time()  # type: ignore[misc]
                publisher.publish("leave", Leave(server_s * 1000, name, forget=True))
                print(f"{name} is dropped by its worker within seconds, or when one runs again")
            else:
                print(f"error: {name} is not known", file=sys.stderr)
    return ExitCode.DONE if there.issuperset(names) else ExitCode.NO

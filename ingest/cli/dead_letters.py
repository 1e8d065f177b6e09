"""``python -m ingest dead-letters``: refused messages, newest last."""

from __future__ import annotations

import argparse
import json
from typing import Any

import redis

from feature_repo.stores.endpoints import redis_url
from ingest.log import DEAD_LETTER

SHOWN = 160
"""Characters shown of a message, unless all are asked for."""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "dead-letters",
        help="refused messages, with their reasons",
        epilog="example:\n  python -m ingest dead-letters --reason crossed_book --count 5 --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=20, help="the newest so many (default 20)")
    parser.add_argument("--reason", help="only those refused for this reason")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, the message whole")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the letters."""
    with redis.Redis.from_url(redis_url()) as client:
        for entry_id, fields in reversed(list(_newest(client, args.reason, args.count))):
            letter = {
                name.decode(errors="replace"): value.decode(errors="backslashreplace") for name, value in fields.items()
            }
            if args.json:
                print(json.dumps({"entry": entry_id.decode(), **letter}))
            else:
                message = " ".join(f"{k[6:]}={v}" for k, v in letter.items() if k.startswith("field:"))
                print(entry_id.decode(), letter["reason"], letter["source"], letter["id"], letter["detail"])
                print("   ", ascii(message[:SHOWN]))
    return 0


def _newest(client: redis.Redis, reason: str | None, count: int) -> Any:
    """The newest letters, newest first, read in pages."""
    last, found = "+", 0
    while found < count:
        page: Any = client.xrevrange(DEAD_LETTER, max=last, count=500)
        if not page:
            return
        for entry_id, fields in page:
            if reason is None or fields[b"reason"].decode() == reason:
                yield entry_id, fields
                found += 1
                if found == count:
                    return
        last = "(" + page[-1][0].decode()

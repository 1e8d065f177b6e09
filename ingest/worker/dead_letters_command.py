"""``python -m ingest dead-letters``: list, show, retry and export refused messages."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import redis

from feature_repo.stores.errors import UserError
from ingest import settings
from ingest.cli import ExitCode
from ingest.cli.arguments import make_parser
from ingest.messages.check import is_symbol
from ingest.messages.decode import decode_entry
from ingest.messages.kinds import PLAIN_STREAM, Gap, time_us
from ingest.messages.refusal import Refused
from ingest.publish.report import utc
from ingest.settings import Settings
from ingest.streams import dead_letters, deployment
from ingest.streams.dead_letters import Letter, RetryError, shown
from ingest.worker import saved
from ingest.worker.contract import BEHIND_US

SHOWN = 160  # characters shown of a message in the list
WHOLE = 20_000  # characters shown of each field of one letter

_EXAMPLE = """\
examples:
  python -m ingest dead-letters --reason crossed_book --count 5 --json
  python -m ingest dead-letters show 1700000000000-0
  python -m ingest dead-letters retry 1700000000000-0@3     after its cause is mended
  python -m ingest dead-letters retry --reason unknown_symbol
  python -m ingest dead-letters export --output letters.jsonl

retry puts the message back into its stream as it came, once: a second retry of a letter does nothing. A book or trade
that is behind its symbol's watermark stays where it is, because it would be refused again as late: rows of later times are
written and are never changed.
export writes one JSON object a line, oldest first; a field that is not text becomes {"base64": ...}
exit codes: 0 done, 1 a letter is not there or cannot be put back, 2 a server is away or an option is wrong
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = make_parser(
        subparsers, "dead-letters", run, "Refused messages: list (default), show, retry, export.", _EXAMPLE
    )
    parser.add_argument("what", nargs="?", choices=("list", "show", "retry", "export"), default="list")
    parser.add_argument("ids", nargs="*", metavar="ID", help="letters to show or to retry")
    parser.add_argument("--count", type=int, default=20, help="list: the newest so many (default 20)")
    parser.add_argument("--reason", help="only those refused for this reason")
    parser.add_argument("--json", action="store_true", help="list, show: one JSON object a line, the message whole")
    parser.add_argument("--output", type=Path, metavar="FILE", help="export: the file (default: standard output)")


def run(args: argparse.Namespace) -> int:
    """List, show, retry or export letters; return the exit code."""
    if args.ids and args.what not in ("show", "retry"):
        raise UserError(f"{args.what} takes no ID")
    if args.what == "show" and not args.ids:
        raise UserError("show needs an ID")
    if args.what == "retry" and not args.ids and args.reason is None:
        raise UserError("retry needs an ID, or --reason for all letters of that reason")
    with deployment.opened(settings.load(), fix=False) as (client, conf):
        if args.what == "list":
            letters = list(
                dead_letters.newest(client, conf.partitions, count=args.count, reason=args.reason, number=conf.number)
            )
            for letter in reversed(letters):
                _print(letter, whole=False, as_json=args.json)
            if not letters:
                print(
                    "no dead letters" + (f" of the reason {shown(args.reason.encode(), 60)}" if args.reason else ""),
                    file=sys.stderr,
                )
            return ExitCode.DONE
        if args.what == "export":
            return _export(client, conf, args.output, args.reason)
        if args.what == "retry":
            return _retry(client, conf, args.ids, args.reason)
        found = [dead_letters.one(client, letter_id, conf.number) for letter_id in args.ids]
        for letter_id, letter_or_none in zip(args.ids, found, strict=True):
            if letter_or_none is None:
                print(f"error: no letter {shown(letter_id, 60)}", file=sys.stderr)
            else:
                _print(letter_or_none, whole=True, as_json=args.json)
    return ExitCode.NO if None in found else ExitCode.DONE


def _print(letter: Letter, *, whole: bool, as_json: bool) -> None:
    if as_json:
        fields = {f"field:{_replaced(name)}": _replaced(value) for name, value in letter.fields}
        retried = {"retried": letter.retried} if letter.retried else {}
        print(json.dumps({**_head(letter, _replaced), **fields, **retried}))
        return
    about = [shown(raw, 200) for raw in (letter.reason, letter.source, letter.origin, letter.detail)]
    print(letter.id, *about, *([f"[retried: {shown(letter.retried, 80)}]"] if letter.retried else []))
    if whole:
        for name, value in letter.fields:
            print(f"    {shown(name, SHOWN)} ({len(value):,} bytes): {shown(value, WHOLE)}")
    else:
        message = b" ".join(name[:SHOWN] + b"=" + value[:SHOWN] for name, value in letter.fields)
        print("   ", shown(message, SHOWN))


def _head(letter: Letter, text: Callable[[bytes], Any]) -> dict[str, Any]:
    return {
        "entry": letter.id,
        "reason": letter.reason,
        "detail": text(letter.detail),
        "source": text(letter.source),
        "id": text(letter.origin),
    }


def _replaced(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


def _retry(client: redis.Redis, conf: Settings, ids: list[str], reason: str | None) -> int:
    done = failed = 0
    if ids:
        found = [(letter_id, dead_letters.one(client, letter_id, conf.number)) for letter_id in ids]
    else:
        letters = dead_letters.oldest(client, conf.partitions, reason=reason, number=conf.number)
        found = [(letter.id, letter) for letter in letters]
    for letter_id, letter in found:
        try:
            if letter is None:
                raise RetryError(f"no letter {shown(letter_id, 60)}")
            if not letter.retried:
                _check_not_late(client, letter, conf.partitions)
            new, entry = dead_letters.retry(client, letter, conf.partitions, conf.number)
            done += new
            print(f"{letter_id} {'put back as' if new else 'was put back before, as'} {shown(entry, 80)}")
        except RetryError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
    print(f"{done:,} put back, {len(found) - done - failed:,} had been before, {failed:,} cannot be")
    return ExitCode.NO if failed else ExitCode.DONE


def _check_not_late(client: redis.Redis, letter: Letter, partitions: int) -> None:
    """Raise ``RetryError`` if the message is behind its symbol's watermark as it was saved last: the worker would refuse it again."""
    fields = dict(letter.fields)
    source = letter.source.decode(errors="replace")
    kind = PLAIN_STREAM.get(source, fields.get(b"kind", b"").decode(errors="replace"))
    if kind not in ("book", "trade", "derivatives", "liquidation"):
        return  # the others are never late
    try:
        message = decode_entry(Gap, fields)  # symbol and time, which both have
    except Refused:
        return  # then the worker says what is wrong with it
    if time_us(message) < 0 or not is_symbol(message.symbol):
        return
    watermark_us = saved.watermark_us(client, partitions, message.symbol)
    behind_us = 0 if kind in ("book", "trade") else BEHIND_US
    if time_us(message) < watermark_us - behind_us:
        raise RetryError(
            f"{letter.id} is of {utc(time_us(message) // 1000)} and would be refused again as late: "
            f"rows of {shown(message.symbol, 64)} are written up to {utc(watermark_us // 1000)}"
        )


def _export(client: redis.Redis, conf: Settings, output: Path | None, reason: str | None) -> int:
    n = 0
    with nullcontext(sys.stdout) if output is None else output.open("x", encoding="ascii") as file:
        for letter in dead_letters.oldest(client, conf.partitions, reason=reason, number=conf.number):
            fields = [[_exact(name), _exact(value)] for name, value in letter.fields]
            print(json.dumps({**_head(letter, _exact), "retried": letter.retried, "fields": fields}), file=file)
            n += 1
    if output is not None:
        print(f"{n:,} letters in {output}", file=sys.stderr)
    return ExitCode.DONE


def _exact(raw: bytes) -> str | dict[str, str]:
    """Return text where the bytes are UTF-8, else their base64, so that the bytes can be restored either way."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}

"""Raw captures and JSON lines of this project's own messages, as `replay` reads them, and exports of a tape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ingest.imports.formats.form import UNNAMED, Arrived, Context, Format, Head, Market
from ingest.messages.decode import decode_entry
from ingest.messages.kinds import KIND
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.columns import GivenColumns
from ingest.recordings.files import is_parquet
from ingest.recordings.lines import POST, Output, Parsed, Rejected, read_lines
from ingest.recordings.markets import FUTURES, SPOT, Signs, note_lines
from ingest.recordings.own import KIND_OF_STREAM
from ingest.recordings.recording import Recording
from ingest.streams.read import id_numbers
from ingest.tape.lines import LineError, entry_of

_OURS = {"timestamp", "timestamp_us"}
_OF_MARKET = frozenset({"book", "trade", "gap"})
_STAMP = 13  # the fewest digits of a receive time in nanoseconds that is told from a line of numbers


def _is_stamped(line: str) -> bool:
    stamp, space, rest = line.partition(" ")
    return bool(space) and stamp.isdecimal() and len(stamp) >= _STAMP and rest.startswith("{")


def _is_ours(line: str) -> bool:
    try:
        told = msgspec.json.decode(line.encode(errors="replace"))
    except msgspec.DecodeError:
        return False
    if not isinstance(told, dict) or not _OURS & told.keys():
        return False
    if told.get("stream") in KIND_OF_STREAM or told.get("kind") == "gap":
        return True
    return "datetime" not in told and bool({"bids", "asks", "price", "size", "text"} & told.keys())


def _is_export(head: Head) -> bool:
    return bool(head.lines) and head.lines[0].startswith('{"tape":')


def _is_capture(head: Head) -> bool:
    return not is_parquet(head.path) and bool(head.lines) and _is_stamped(head.lines[0])


def _are_lines(head: Head) -> bool:
    if is_parquet(head.path) or _is_export(head) or _is_capture(head):
        return False
    return any(map(_is_ours, head.lines[:3]))


def _market(head: Head) -> Market:
    """Return the market of a capture of Binance by the signs of its first lines; its own lines name its prefix."""
    signs: dict[str, Signs] = {}
    prefix = note_lines(signs, (line.encode(errors="replace") for line in head.lines), "", is_given=False)
    kinds = {kind for of_symbol in signs.values() for kind in of_symbol.kinds}
    if prefix:
        return Market(prefix.rstrip(":").lower())
    return Market({SPOT: "binance", FUTURES: "binance-futures"}[kinds.pop()] if len(kinds) == 1 else UNNAMED)


def _read(path: Path, context: Context) -> Iterator[Output | Arrived]:
    """Yield books, trades and gaps of recordings, all files together, as a replay publishes them."""
    given = context.columns
    if context.prefix:
        given = GivenColumns(prefixes=(("*", context.prefix),))
    recording = Recording(
        [path, *context.others], columns=given, instrument=context.instrument, passed_over=context.passed_over
    )
    context.passed_over["post"] += sum(isinstance(one, Parsed) for one in recording.posts())
    if context.passed_over["post"]:
        context.note("Posts are not imported, because they are scored first: give the file to backfill or replay.")
    yield from recording.market()


def _read_export(path: Path, context: Context) -> Iterator[Output | Arrived]:
    """Yield the messages of an export that say something of a market; what only made time pass is passed over."""
    for line in read_lines(path):
        try:
            entry_id, _, fields = entry_of(line.data)
        except LineError as error:
            if line.number > 1:
                yield Rejected(line, Reason.UNDECODABLE, str(error))
            continue
        kind = fields.get(b"kind", b"").decode(errors="replace")
        if kind not in _OF_MARKET:
            context.passed_over[kind if kind in KIND or kind == POST else "other"] += 1
            continue
        try:
            message = decode_entry(KIND[kind], fields)
            if context.prefix:
                message.symbol = context.prefix + message.symbol
            yield Arrived(kind, message, id_numbers(entry_id)[0])
        except (Refused, ValueError) as error:
            told = error if isinstance(error, Refused) else Refused(Reason.UNDECODABLE, str(error))
            yield Rejected(line, told.reason, told.detail)


FORMATS = (
    Format("an export of a tape", "It has what was exported.", _is_export, _read_export, keeps_order=True),
    Format(
        "a raw capture",
        "It has what was recorded.",
        _is_capture,
        _read,
        market=_market,
        keeps_order=True,
        reads_together=True,
    ),
    Format("our own JSON lines", "It has what was recorded.", _are_lines, _read),
)

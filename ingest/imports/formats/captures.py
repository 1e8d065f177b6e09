"""Raw captures and JSON lines of this project's own messages, as `replay` reads them, and exports of a tape."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ingest.imports.formats import binance
from ingest.imports.formats.form import Arrived, Context, Format, Head, Market, refusing
from ingest.messages.decode import decode_entry
from ingest.messages.kinds import KIND
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.columns import ANY_FILE, GivenColumns, given_prefix
from ingest.recordings.files import is_parquet
from ingest.recordings.lines import POST, Output, Parsed, Rejected, read_lines, stamp_of
from ingest.recordings.markets import FUTURES, SPOT, Signs, note_lines
from ingest.recordings.own import KIND_OF_STREAM
from ingest.recordings.recording import Recording
from ingest.streams.read import id_numbers
from ingest.tape.lines import LineError, entry_of

_OURS = {"timestamp", "timestamp_us"}
_OF_MARKET = frozenset({"book", "trade", "derivatives", "liquidation", "gap"})
_OF_BINANCE = frozenset({"stream", "e"})
# of Hyperliquid, Bybit, OKX, Kraken, Deribit, Coinbase
_OF_OTHERS = frozenset({"channel", "topic", "arg", "event", "method", "jsonrpc", "type"})
_STAMP = 10**18  # 2001 in nanoseconds: what is smaller is no receive time, but a number in a line of numbers
_CONNECTION = re.compile(r"(?:wss?|https?)://\S+ (?:<->?|->) \d+\.\d+(?:$|: \{)")


def _is_stamped(line: str) -> bool:
    is_json = line.partition(" ")[2].startswith(("{", "["))
    return is_json and stamp_of(line.encode(errors="replace")) >= _STAMP


def _is_ours(line: str) -> bool:
    try:
        told = msgspec.json.decode(line.encode(errors="replace"))
    except msgspec.DecodeError:
        return False
    if not isinstance(told, dict) or not _OURS & told.keys():
        return False
    if told.get("stream") in KIND_OF_STREAM or told.get("kind") == "gap":
        return True
    told_of = {"bids", "asks", "price", "size", "text", "mark", "index", "funding_rate", "open_interest"}
    return "datetime" not in told and bool(told_of & told.keys())


def _is_export(head: Head) -> bool:
    return bool(head.lines) and head.lines[0].startswith('{"tape":')


def _is_capture(head: Head) -> bool:
    if not head.lines or _is_of_another_venue(head):
        return False
    return _is_stamped(head.lines[0]) or _CONNECTION.match(head.lines[0]) is not None


def _is_of_another_venue(head: Head) -> bool:
    """Return whether lines are those of a raw capture with messages that Binance does not send."""
    keys = set[str]()
    for line in filter(_is_stamped, head.lines):
        try:
            told = msgspec.json.decode(line.partition(" ")[2].encode(errors="replace"))
        except msgspec.DecodeError:
            continue  # the last line of the begin may be cut
        keys.update(*(one for one in (told if isinstance(told, list) else [told]) if isinstance(one, dict)))
    return bool(_OF_OTHERS & keys) and not _OF_BINANCE & keys


def _are_lines(head: Head) -> bool:
    if is_parquet(head.path) or _is_export(head) or _is_capture(head) or _is_of_another_venue(head):
        return False
    return any(map(_is_ours, head.lines[:3]))


def _market(head: Head) -> Market:
    """Return the market of a capture of Binance by the signs of its first lines; its own lines name its prefix."""
    signs: dict[str, Signs] = {}
    prefix = note_lines(signs, (line.encode(errors="replace") for line in head.lines), "", is_given=False)
    kinds = {kind for of_symbol in signs.values() for kind in of_symbol.kinds}
    if prefix:
        return Market(prefix.rstrip(":").lower())
    if len(kinds) != 1:
        return Market()
    futures = binance.COIN_M if all(map(binance.OF_COIN_M.search, signs)) else binance.USD_M
    return Market({SPOT: binance.SPOT, FUTURES: futures}[kinds.pop()].name)


def _read(path: Path, context: Context) -> Iterator[Output | Arrived]:
    """Yield books, trades and gaps of recordings, all files together, as a replay publishes them."""
    prefix = context.prefix or given_prefix(context.columns, path)
    given = GivenColumns(prefixes=() if prefix is None else ((ANY_FILE, prefix),))
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
    refusing(
        "a raw capture of another venue",
        "raw messages of a venue other than Binance: write a row of each trade, or of each book, as CSV or Parquet",
        _is_of_another_venue,
    ),
    Format("our own JSON lines", "It has what was recorded.", _are_lines, _read),
)

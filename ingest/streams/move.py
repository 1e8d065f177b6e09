"""Move records into streams: one script a batch, ``move.lua``, which does all of it or nothing.

The router moves entries of the plain streams, the scorer moves posts, the Kafka feed moves records of topics, and live feeds append
messages.

A full Redis refuses the first write of a script if that needs memory, and lets the later ones through. Deleting needs none, so router and
scorer go on and make room. Writing offsets needs some, so the records of Kafka and of live feeds, which are new input, are refused whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import redis

from feature_repo.stores.scripts import read_script
from ingest.messages.check import is_symbol
from ingest.messages.decode import decode_entry
from ingest.messages.refusal import Reason, Refused
from ingest.streams import keys, membership
from ingest.streams.dead_letters import FIELDS_MAX, dead_letter
from ingest.streams.membership import FencedError

_MOVE = read_script(__file__, "move.lua")


class OffsetsChangedError(RuntimeError):
    """The offsets in Redis are not those that the batch begins at: Redis was restored, or another process changed them."""


class _Numbers(dict[str, bytes]):
    """The number of each key of the script, given at its first use; bytes, because the client sends them as they are."""

    def __missing__(self, key: str) -> bytes:
        number = self[key] = b"%d" % (len(self) + 1)
        return number


class Record(NamedTuple):
    """What becomes of a record.

    Attributes
    ----------
    copies : sequence of (str, sequence)
        The streams that it enters, each with fields and values in turn.
    source, entry_id : str, bytes
        The stream and entry to delete; empty where the record came from elsewhere.
    """

    copies: Sequence[tuple[str, Sequence[Any]]]
    source: str = ""
    entry_id: bytes = b""

    @property
    def reason(self) -> str:
        """Why the record was refused; empty where it was not."""
        target, words = self.copies[0]
        return str(words[1]) if target == keys.DEAD_LETTER else ""


class Offsets(NamedTuple):
    """Offsets in the hash ``key``: of each its name, its value before the batch, and its value after."""

    key: str
    steps: Sequence[tuple[str, int, int]]


class Notes(NamedTuple):
    """What a producer must know after a restart, in the hash ``key``; stored with the batch that it is of."""

    key: str
    texts: Mapping[str, bytes]


class Header(msgspec.Struct, gc=False):
    """All that is decoded of a message before it is in its log; the worker checks the rest."""

    symbol: str


def log_of(fields: Mapping[bytes, bytes], partitions: int) -> str:
    """Return the log of the symbol that a message names.

    Raise ``Refused`` if the message has too many fields, cannot be decoded, or names no symbol.
    """
    if len(fields) > FIELDS_MAX:
        raise Refused(Reason.WRONG_TYPE, f"{len(fields)} fields")
    symbol = decode_entry(Header, fields).symbol
    if not is_symbol(symbol):
        raise Refused(Reason.BAD_SYMBOL, repr(symbol[:64]))
    return keys.events(keys.partition_of(symbol, partitions))


def refused(
    source: str, entry_id: bytes | str, fields: Mapping[bytes, bytes], error: Exception, *, delete: bool = True
) -> Record:
    """Return the record that keeps a message among the dead letters.

    Parameters
    ----------
    source, entry_id, fields : str, bytes or str, mapping
        Where the message came from, and the message.
    error : Exception
        ``Refused``; any other error is the fault of our code, and the reason is ``failed``.
    delete : bool
        Whether ``source`` is a stream that still holds the message.
    """
    why = error if isinstance(error, Refused) else Refused(Reason.FAILED, f"{type(error).__name__}: {error}")
    letter = dead_letter(source, entry_id, fields, why.reason, why.detail)
    origin: tuple[Any, Any] = (source, entry_id) if delete else ("", b"")
    return Record([(keys.DEAD_LETTER, letter)], *origin)


def move_records(
    client: redis.Redis,
    records: Iterable[Record],
    *,
    seat: str = "",
    token: str = "",
    server: str = "",
    offsets: Offsets | None = None,
    acknowledge: bool = False,
    facts: Mapping[str, int | str] | None = None,
    notes: Notes | None = None,
) -> int:
    """Move records into their streams, in their order; return how many were moved now.

    Parameters
    ----------
    records : iterable of Record
    seat, token : str
        The seat of this process and its fencing token; without a token no lease is checked.
    server : str
        The id of the Redis that the records were read from (``membership.server_id``), where no token tells it.
    offsets : Offsets, optional
        What to check and to write; needs a seat, also without a token.
    acknowledge : bool
        Acknowledge each entry to the consumer group, also one that is gone.
    facts : mapping, optional
        Of the work, for the counters of the edge: a number is added, a text is stored.
    notes : Notes, optional
        What to store with the batch; needs offsets.

    Raises
    ------
    FencedError
        Another process holds the seat, or this is another Redis than the records were read from; nothing has changed.
    OffsetsChangedError
        The offsets in Redis are not those before the batch; nothing has changed.
    """
    numbers = _Numbers({keys.counters(keys.EDGE): b"1", keys.DEAD_LETTER: b"2"})
    group = keys.GROUP if acknowledge else ""
    words: list[Any] = [
        token,
        server or membership.server_of(token),
        group,
        len(offsets.steps) if offsets else 0,
        len(facts or ()),
        len(notes.texts) if notes else 0,
    ]
    if seat:
        numbers[keys.owner(seat)] = b"3"
    if offsets:
        numbers[offsets.key] = b"4"
        words += (word for step in offsets.steps for word in step)
    words += (word for fact in (facts or {}).items() for word in fact)
    if notes:
        numbers[notes.key] = b"5"
        words += (word for note in notes.texts.items() for word in note)
    for copies, source, entry_id in records:
        words += (numbers[source] if source else b"0", entry_id, len(copies))
        for target, entry in copies:
            words += (numbers[target], len(entry), *entry)
    try:
        moved: Any = client.eval(_MOVE, len(numbers), *numbers, *words)
    except redis.ResponseError as error:
        if "FENCED" in str(error):
            raise FencedError(f"another process holds the seat {seat}, or Redis was replaced") from None
        if "OFFSETS CHANGED" in str(error):
            raise OffsetsChangedError(offsets.key if offsets else "") from None
        raise
    return int(moved)

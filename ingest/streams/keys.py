"""The names of all keys in Redis, and nothing else.

The keys of a partition share a hash tag, so that one script may touch them all on Redis Cluster. A stream without a hash tag has the slot
of its name; what a script writes together with it has that name as its hash tag. Such streams and the partitions are called places.
"""

from __future__ import annotations

import zlib

SOCIAL = "social_data"  # posts as written; the scorer reads them
WRITTEN = "posts_written"
"""Copies of the posts that the scorer has moved, on their way to the tape; only where there is one."""
DEAD_LETTER = "dead_letter"  # messages that were refused before any log, byte for byte, with the reason
EDGE = DEAD_LETTER
"""The place of refusals before any log: of the router, the scorer, the feeds and the replay."""
SILENT_CHANNELS = "silent_channels"
"""A hash: since when, in milliseconds, a channel of a live feed is silent, by ``<symbol> <channel>``; only while it is."""
GROUP = "tfs"
CONSUMER = "owner"
"""The one consumer of ``social_data``: the next scorer uses the same name, and so rereads what is pending, in order."""


DEPLOYMENT = "tfs:deployment"  # the id
PARTITIONS = f"tfs:{{{DEPLOYMENT}}}:partitions"  # their number, in the slot of the id
RAISED = f"tfs:{{{DEPLOYMENT}}}:raised"
"""A hash, where their number was raised: all ``numbers`` in order, and when that was last (``at_ms``)."""


def events(p: int) -> str:
    """Return the log of partition ``p``: a stream with every kind of message of its symbols, in the order of arrival.

    An entry has the fields ``kind`` (see ``messages.kinds.KIND``) and ``data`` (or the message flat), and ``recorded`` if it comes from
    a recording: then its own receive time counts as the clock's, and no wall clock makes time pass for its symbol.
    """
    return f"events:{{{p}}}"


def number(place: int | str) -> str:
    """Return the number of partitions for which a log takes entries, as text; absent where it was never raised (``streams.raised``).

    While it is raised, ``closed `` or ``quiet `` stands before the new number: the log takes no entries then.
    """
    return f"number:{{{place}}}"


def checkpoint(p: int | str) -> str:
    """Return the hash of a partition's position in its log and the saved state of its symbols."""
    return f"checkpoint:{{{p}}}"


def holes(p: int) -> str:
    """Return the hash of what was heard of missing trades, by ``<symbol> <what>`` (``worker.missing``), of a bounded number of symbols."""
    return f"holes:{{{p}}}"


def idle(p: int) -> str:
    """Return the hash of the states of symbols that were not heard for a time, one packed value a symbol."""
    return f"idle:{{{p}}}"


def taped(p: int) -> str:
    """Return the id of the last entry of a log that is on the tape; the log is not trimmed past it (``ingest.tape``)."""
    return f"taped:{{{p}}}"


def lost(p: int) -> str:
    """Return what was counted of a log's newest loss: how many entries came back, and up to which one the lost ones are counted."""
    return f"lost:{{{p}}}"


def rebuilt(p: int) -> str:
    """Return the hash of states that were rebuilt for symbols of a partition, until its owner takes them over (``worker.rebuilt``)."""
    return f"rebuilt:{{{p}}}"


def kept(p: int) -> str:
    """Return the entry behind which a log is not trimmed, because a rebuilt state stands there; it expires."""
    return f"kept:{{{p}}}"


def told(log: str) -> str:
    """Return the hash of how far a log has the rows of other logs' symbols, which its own follow (``worker.neighbours``)."""
    return log.replace("events", "told")


def outbox(p: int) -> str:
    """Return the stream of rows on their way to the offline store."""
    return f"outbox:{{{p}}}"


def features(p: int) -> str:
    """Return the stream of normalised vectors, for the signal service."""
    return f"features:{{{p}}}"


def owner(seat: int | str) -> str:
    """Return the lease of a partition, or of a role with one seat; its value is the fencing token."""
    return f"own:{{{seat}}}"


def fence(seat: int | str) -> str:
    """Return the counter from which the fencing tokens of a seat are made."""
    return f"fence:{{{seat}}}"


def heir(seat: int | str) -> str:
    """Return the process that asks the owner of a seat to hand it over; it expires with that process."""
    return f"heir:{{{seat}}}"


HAND_OVER = "hand_over"
"""The code of the kernels to which partitions are handed over, and when, in milliseconds, the command was started that wants it."""

KERNELS = "kernels"
"""A hash: the versions of kernels, as JSON, by the code that workers name them with (``worker.versions``)."""

SIGNS_OF_LIFE = "signs_of_life"
"""A hash: when any process gave a sign of life last, and since when there was no pause between two, both in milliseconds."""


GOAL = f"goal:{{{SIGNS_OF_LIFE}}}"
"""The number that the number of partitions is raised to; in the slot of ``SIGNS_OF_LIFE``, with which workers read it."""


def members(role: str) -> str:
    """Return the sorted set of a role's processes, by the time of their last sign of life; in the slot of ``SIGNS_OF_LIFE``."""
    return f"members:{{{SIGNS_OF_LIFE}}}:{role}"


def waiting(role: str) -> str:
    """Return the same of processes that wait until those of other code are gone."""
    return f"waiting:{{{SIGNS_OF_LIFE}}}:{role}"


def stream(place: int | str) -> str:
    """Return the stream of a place: the log of a partition, or the stream that the place is named by."""
    return events(place) if isinstance(place, int) else place


def place_of(key: str) -> int | str:
    """Return the place that a stream is of: the partition that its hash tag names, or the stream itself.

    >>> place_of("outbox:{3}"), place_of("market_data")
    (3, 'market_data')
    """
    _, _, tag = key.rstrip("}").partition(":{")
    return int(tag) if tag.isdecimal() else key


def letters(place: int | str) -> str:
    """Return the stream of the messages that the worker of a partition refused, or that were refused at the ``EDGE``."""
    return f"{DEAD_LETTER}:{{{place}}}" if isinstance(place, int) else DEAD_LETTER


def letter_streams(partitions: int) -> list[str]:
    """Return the streams of all dead letters."""
    return [letters(place) for place in (EDGE, *range(partitions))]


def retried(place: int | str) -> str:
    """Return the hash of the dead letters that were put back into the stream of a place: what each became, by the id of the letter."""
    return f"retried:{{{place}}}"


def moved(place: int | str, source: str) -> str:
    """Return the position up to which the records of a source are in the stream of a place (``streams.move``)."""
    return f"moved:{{{place}}}:{source}"


def waited(place: int | str) -> str:
    """Return the key that is written before a wait for the replicas of a place's server (``streams.replicas``); its value says nothing."""
    return f"waited:{{{place}}}"


def last_trades(p: int, feed: str) -> str:
    """Return the hash of the last trade of each symbol of a partition that a live feed wrote, so that its next run knows what it missed."""
    return f"last_trades:{{{p}}}:{feed}"


def counters(place: int | str) -> str:
    """Return the hash of counts of accepted, refused and emitted messages: of a partition, or of the ``EDGE``.

    The edge also holds ``scorer.batches``, ``scorer.texts``, ``scorer.tokens`` (that the model read), ``scorer.ms`` (that it took) and,
    as a name, ``scorer.model``.
    """
    return f"counters:{{{place}}}"


def partition_of(symbol: str, partitions: int) -> int:
    """Return the partition of a symbol: the CRC-32 of its name modulo the number of partitions.

    >>> partition_of("BTCUSDT", 4)
    3
    """
    return zlib.crc32(symbol.encode()) % partitions

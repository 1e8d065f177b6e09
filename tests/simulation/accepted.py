"""What must hold for each message: it is in one log of each of its symbols, once, and not late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ingest.messages.decode import decode, encode
from ingest.messages.kinds import Clock, ScoredPost, SocialPost, WithdrawnPost
from ingest.streams import keys
from tests.simulation import parts
from tests.simulation.schedule import PLAIN, Sent
from tests.simulation.site import Site


def messages(site: Site) -> Iterator[str]:
    """Each message that was accepted is in exactly one log of each of its symbols, once; a failover loses at most its tail.

    A feed that wrote something afterwards has written that again.
    """
    seen: Counter[Any] = Counter()
    back = _put_back(site)
    first = site.plan.settings.partitions
    for p in range(site.plan.partitions):
        log = site.server.get(keys.events(p).encode())
        for entry_id, words in log.history if log else ():
            if f"{keys.events(p)} {entry_id.decode()}" not in back:
                seen[_identity(p % first, words)] += 1
    refused = {words[words.index(b"field:data") + 1] for _, words in letters(site)}
    lost = {data for words in site.watch.lost_entries for data in words}
    acknowledged = {id(one) for one in site.acknowledged}
    n_restored = site.watch.n_restored
    again = {id(one) for run in site.written if run.n_restored == n_restored for one in run.messages}
    has_other_symbols = any(fault.kind == "settings" and "symbols" in fault.about[2] for fault in site.plan.faults)
    for one in site.plan.sent:
        data = encode(one.message)
        is_known = id(one) in acknowledged
        for identity in _identities(site, one, data):
            n = seen[identity]
            most = 1  # a withdrawn post that is scored after a partition was divided is in each of the new logs
            if one.kind == "social" and one.message.deleted:
                most = max(site.plan.partitions // first, 1)
            if n > most and one not in site.unsure:
                yield f"{one.source}'s {one.kind} {one.message} is {n} times in the log"
            elif (
                is_known
                and n == 0
                and (data not in lost or id(one) in again)
                and not (one.kind == "social" and (data in refused or lost or has_other_symbols))
            ):
                yield f"{one.source}'s {one.kind} {one.message} was accepted and is in no log"


def _put_back(site: Site) -> set[str]:
    """Return the entries that letters became, each as its stream and id."""
    places = (*parts.KIND_STREAM.values(), *range(site.plan.partitions))
    marks = [site.server.get(keys.retried(place).encode()) or {} for place in places]
    return {mark.decode() for of_place in marks for mark in of_place.values()}


def letters(site: Site) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield all dead letters, each with its id."""
    for place in (keys.EDGE, *range(site.plan.partitions)):
        found = site.server.get(keys.letters(place).encode())
        yield from found.entries if found else ()


def _identity(p: int, words: list[bytes]) -> Any:
    fields = dict(zip(words[::2], words[1::2], strict=True))
    if fields[b"kind"] == b"post":
        post = decode(ScoredPost, fields[b"data"])
        return p, post.symbol, post.id, post.likes
    if fields[b"kind"] == b"withdrawal":
        gone = decode(WithdrawnPost, fields[b"data"])
        return p, "-", gone.id, gone.received
    return p, fields[b"data"]


def _identities(site: Site, one: Sent, data: bytes) -> list[Any]:
    n, message = site.plan.settings.partitions, one.message
    if not isinstance(message, SocialPost):
        [symbol] = message.symbols if isinstance(message, Clock) else [message.symbol]
        return [(keys.partition_of(symbol, n), data)]
    if message.deleted:
        return [(p, "-", message.id, message.received) for p in range(n)]
    return [(keys.partition_of(symbol, n), symbol, message.id, message.likes) for symbol in message.symbols or ()]


def lateness(site: Site) -> Iterator[str]:
    """No sound message is refused as late, unless its own source was slow.

    A message that was put back is late where rows of later times are written. A server whose clock was set back finds that messages are
    from the future; and the ids of each plain stream then stand still where they were, so they do not tell the order between two. Its
    letters do not tell when they were written, so each counts as written after the source was slow.
    """
    reasons = (b"late",) if site.watch.clock_back_us else (b"late", b"future_time")
    back = _put_back(site)
    late: dict[bytes, int] = {}
    for name, words in letters(site):
        letter = dict(zip(words[::2], words[1::2], strict=True))
        if letter[b"reason"] in reasons and (letter[b"source"] + b" " + letter[b"id"]).decode() not in back:
            late[letter[b"field:data"]] = int(name.partition(b"-")[0]) * 1000
    for one in site.plan.sent if late else ():
        if not one.is_sound or isinstance(one.message, SocialPost):
            continue
        refused_us = late.get(encode(one.message))
        if refused_us is None or (one.source == PLAIN and site.watch.clock_back_us):
            continue
        disturbed = site.disturbed.get(one.source, [])
        if any((begin <= refused_us or site.watch.clock_back_us) and end >= one.at_us for begin, end in disturbed):
            continue
        yield f"{one.source}'s {one.kind} {one.message} is sound and was refused as late"

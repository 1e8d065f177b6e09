"""How the fields of a post are read, the same from a stream, the webhook, JSON lines and files.

- ``id`` and ``author`` are text or whole numbers. An empty ``author`` is none.
- Times are whole milliseconds since the epoch, or ISO 8601 text (UTC if it names no zone); ``timestamp_us`` in place of ``timestamp`` is
  whole microseconds. Files may use other units (``recordings.rows``).
- Counts are whole numbers, as numbers or as text. An empty one is unknown.
- ``symbols`` is a list, or text with commas or spaces between.
- ``{"id", "source", "deleted": true}`` withdraws a post. It needs neither text nor time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ingest.messages.decode import decode_entry
from ingest.messages.kinds import MAX_INTEGER, NO_TIME, TWO_TIMES, ScoredPost, SocialPost, post_identity, time_us
from ingest.messages.refusal import Reason, Refused
from transforms.sentiment.state import Post
from transforms.times import us_of_iso

_FLAGS = {"true": True, "1": True, "false": False, "0": False, "": False}


class PostFields(msgspec.Struct, gc=False):
    """The fields of a post as they come; UNSET is a field that is not there."""

    timestamp: Any = msgspec.UNSET
    timestamp_us: Any = None
    id: Any = msgspec.UNSET
    text: Any = msgspec.UNSET
    source: Any = msgspec.UNSET
    author: Any = None
    likes: Any = None
    reposts: Any = None
    replies: Any = None
    followers: Any = None
    observed_at: Any = None
    symbols: Any = None
    received: Any = None
    deleted: Any = False


def decode_post(fields: Mapping[bytes, bytes], known_ms: int | None = None) -> SocialPost:
    """Decode a post of ``social_data``, or its withdrawal; raise ``Refused`` as ``decode_entry``.

    A withdrawal that says no time counts from its receive time, or without that from ``known_ms``.
    """
    return read_post(decode_entry(PostFields, fields), known_ms)


def read_post(told: PostFields, known_ms: int | None = None) -> SocialPost:
    """Return the post that these fields describe; raise ``Refused`` if a field is missing or has an impossible value."""
    source, post_id = _name("source", told.source), _name("id", told.id)
    if source is None:
        raise Refused(Reason.MISSING_FIELD, "the source is empty")
    if post_id is None:
        raise Refused(Reason.WRONG_TYPE, "the id is empty")
    received, deleted = _time("received", told.received), flag("deleted", told.deleted)
    if deleted:
        at_ms, at_us = _written(told, received or known_ms or 0)
        return SocialPost(at_ms, post_id, "", source, received=received, deleted=True, timestamp_us=at_us)
    if told.text is msgspec.UNSET:
        raise Refused(Reason.MISSING_FIELD, "text is missing")
    if not isinstance(told.text, str):
        raise Refused(Reason.WRONG_TYPE, f"text is {type(told.text).__name__}")
    at_ms, at_us = _written(told)
    return SocialPost(
        at_ms,
        post_id,
        told.text,
        source,
        _name("author", told.author),
        likes=_count("likes", told.likes),
        reposts=_count("reposts", told.reposts),
        replies=_count("replies", told.replies),
        followers=_count("followers", told.followers),
        observed_at=_time("observed_at", told.observed_at),
        symbols=_symbols(told.symbols),
        received=received,
        timestamp_us=at_us,
    )


def _written(told: PostFields, other_ms: int | None = None) -> tuple[int, int | None]:
    """Return ``timestamp`` and ``timestamp_us`` of a post that gives one of them; ``other_ms`` is used where it gives none."""
    ms = None if told.timestamp is msgspec.UNSET else _time("timestamp", told.timestamp)
    us = None if told.timestamp_us in (None, "") else _whole("timestamp_us", told.timestamp_us)
    if us is not None:
        if ms:
            raise Refused(Reason.WRONG_TYPE, TWO_TIMES)
        return 0, us
    if ms is None:
        ms = other_ms
    if ms is None:
        raise Refused(Reason.MISSING_FIELD, NO_TIME)
    return ms, None


def _name(field: str, value: Any) -> str | None:
    """Return an id or a name as text, None where it is empty; 17.0, as a column with gaps writes 17, is ``17``."""
    if value is msgspec.UNSET:
        raise Refused(Reason.MISSING_FIELD, f"{field} is missing")
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise Refused(Reason.WRONG_TYPE, f"{field} {value!s:.40} is neither text nor a whole number")
    return str(value)


def _time(field: str, value: Any) -> int | None:
    if value is None or value is msgspec.UNSET or value == "":
        return None
    if isinstance(value, str) and not _is_number(value):
        try:
            return us_of_iso(value) // 1000
        except (ValueError, OverflowError):
            raise Refused(Reason.WRONG_TYPE, f"{field} {value:.40} is no time") from None
    return _whole(field, value)


def _count(field: str, value: Any) -> int | None:
    return None if value is None or value == "" or value != value else _whole(field, value)


def _whole(field: str, value: Any) -> int:
    """Return a whole number that was written as a number or as text; large ones keep every digit."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Refused(Reason.WRONG_TYPE, f"{field} {value!s:.40} is not a number")
    try:
        digits = isinstance(value, str) and value.strip().lstrip("+-").isdecimal()
        number = int(value) if digits else float(value) if isinstance(value, str) else value
    except ValueError:
        raise Refused(Reason.WRONG_TYPE, f"{field} {value!s:.40} is not a number") from None
    if not abs(number) < MAX_INTEGER or number != int(number):
        raise Refused(Reason.OUT_OF_RANGE, f"{field} {value!s:.40} is not a whole number below 2**63")
    return int(number)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _symbols(value: Any) -> list[str] | None:
    if value is None or isinstance(value, str):
        return (value or "").replace(",", " ").split() or None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Refused(Reason.WRONG_TYPE, f"symbols {value!s:.40} is no list of names")
    return value


def flag(field: str, value: Any) -> bool:
    """Return a yes or no that was written as a boolean, a number or text; nothing is no."""
    if value is None or isinstance(value, bool):
        return bool(value)
    known = _FLAGS.get(str(value).strip().lower())
    if known is None:
        raise Refused(Reason.WRONG_TYPE, f"{field} {value!s:.40} is neither true nor false")
    return known


def as_counted(p: ScoredPost) -> Post:
    """Return what the kernels are given of a scored post."""
    probabilities, engagement = (p.positive, p.negative, p.neutral), (p.likes, p.reposts, p.replies, p.followers)
    return Post(post_identity(p.source, p.id), p.author, p.simhash, *probabilities, *engagement, written_us=time_us(p))

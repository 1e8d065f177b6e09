"""Decoding of posts and of their withdrawals."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ingest.messages.decode import decode_entry
from ingest.messages.kinds import SocialPost


class _Withdrawal(msgspec.Struct, gc=False):
    """``{"id", "source", "deleted": true}``; ``timestamp`` is when the post was withdrawn."""

    id: str
    source: str
    deleted: bool = False
    timestamp: int | None = None
    received: int | None = None


def decode_post(fields: Mapping[bytes, bytes], known_ms: int | None = None) -> SocialPost:
    """Decode a post of ``social_data``, or its withdrawal, which needs neither text nor time; raise ``Refused`` as ``decode_entry``.

    A withdrawal that says no time counts from its receive time, or without that from ``known_ms``.
    """
    if b"deleted" in fields or b"deleted" in fields.get(b"data", b""):
        told = decode_entry(_Withdrawal, fields)
        if told.deleted:
            at_ms = told.timestamp if told.timestamp is not None else told.received or known_ms or 0
            return SocialPost(at_ms, told.id, "", told.source, received=told.received, deleted=True)
    return decode_entry(SocialPost, fields)

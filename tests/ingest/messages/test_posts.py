"""How the fields of a post are read, wherever it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.messages.decode import encode
from ingest.messages.kinds import SocialPost
from ingest.messages.posts import decode_post
from ingest.messages.refusal import Reason, Refused
from ingest.recordings import own
from ingest.recordings.lines import Line, Parsed
from ingest.recordings.posts import read_posts

T0 = 1_723_118_400_000
POST = SocialPost(T0, "7", "$BTC up", "x", None, likes=3, symbols=["BTC", "ETH"], received=T0)
WRITTEN = {
    "timestamp": "2024-08-08T12:00:00Z", "id": 7, "text": "$BTC up", "source": "x", "author": "", "likes": "3",
    "symbols": "BTC, ETH", "received": T0,
}  # fmt: skip


def test_a_post_is_read_alike_from_a_stream_from_lines_and_from_a_file(tmp_path: Path) -> None:
    line = Line("x", 1, 0, json.dumps(WRITTEN).encode(), False)
    assert own.parse(line, 0) == Parsed("social", POST)
    assert decode_post({b"data": line.data}) == decode_post({b"data": encode(WRITTEN)}) == POST  # type: ignore[arg-type]
    flat = {**WRITTEN, "symbols": '["BTC", "ETH"]'}
    assert decode_post({name.encode(): str(value).encode() for name, value in flat.items()}) == POST
    path = tmp_path / "posts.csv"
    path.write_text(",".join(WRITTEN) + "\n" + ",".join(f'"{value}"' for value in WRITTEN.values()) + "\n")
    assert list(read_posts(path, 0)) == [Parsed("social", POST)]


def test_a_post_may_tell_its_time_in_microseconds() -> None:
    told = {k: v for k, v in WRITTEN.items() if k != "timestamp"}
    post = decode_post({b"data": json.dumps({**told, "timestamp_us": T0 * 1000 + 250}).encode()})
    assert (post.timestamp, post.timestamp_us) == (0, T0 * 1000 + 250)
    assert decode_post({b"data": encode(post)}) == post
    for times in ({}, {"timestamp": T0, "timestamp_us": T0 * 1000}):
        with pytest.raises(Refused, match="timestamp_us"):
            decode_post({b"data": json.dumps({**told, **times}).encode()})


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("id", 7.5, Reason.WRONG_TYPE),
        ("id", True, Reason.WRONG_TYPE),
        ("id", "", Reason.WRONG_TYPE),
        ("id", None, Reason.WRONG_TYPE),
        ("source", "", Reason.MISSING_FIELD),
        ("text", None, Reason.WRONG_TYPE),
        ("text", 5, Reason.WRONG_TYPE),
        ("timestamp", "yesterday", Reason.WRONG_TYPE),
        ("timestamp", 1.5, Reason.OUT_OF_RANGE),
        ("timestamp", None, Reason.MISSING_FIELD),
        ("likes", "many", Reason.WRONG_TYPE),
        ("likes", 2.5, Reason.OUT_OF_RANGE),
        ("likes", 10**30, Reason.OUT_OF_RANGE),
        ("likes", "inf", Reason.OUT_OF_RANGE),
        ("symbols", 5, Reason.WRONG_TYPE),
        ("symbols", ["BTC", 5], Reason.WRONG_TYPE),
        ("deleted", "perhaps", Reason.WRONG_TYPE),
    ],
)
def test_a_field_that_cannot_be_meant_is_refused_by_its_name(field: str, value: Any, reason: Reason) -> None:
    with pytest.raises(Refused, match=field) as refused:
        decode_post({b"data": json.dumps({**WRITTEN, field: value}).encode()})
    assert refused.value.reason == reason


@pytest.mark.parametrize("field", ["timestamp", "id", "text", "source"])
def test_a_field_that_every_post_has_may_not_be_missing(field: str) -> None:
    with pytest.raises(Refused, match=field) as refused:
        decode_post({b"data": json.dumps({k: v for k, v in WRITTEN.items() if k != field}).encode()})
    assert refused.value.reason == Reason.MISSING_FIELD


def test_a_file_may_withdraw_posts(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text("timestamp,id,text,deleted\n1723118400,7,up,false\n1723118401,7,,true\n1723118401,,,true\n")
    first, withdrawn, unnamed = read_posts(path, 0)
    assert isinstance(first, Parsed)
    assert withdrawn == Parsed("social", SocialPost(T0 + 1000, "7", "", "posts", received=T0 + 1000, deleted=True))
    assert not isinstance(unnamed, Parsed)

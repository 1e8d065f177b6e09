"""What is remembered of a symbol's posts, and its bytes.

Posts stay for the longest window, an hour; after that only the ids of the last ``GONE`` of them, so that a late
re-delivery is not counted again; and the number of posts of each hour of 28 days. Ids and authors are kept as 64-bit
hashes: a post takes ``RECORD.size`` bytes whatever its author calls himself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from hashlib import blake2b

WEEKS = 4
HOURS = WEEKS * 168 + 2
"""Hours kept: the last complete one, as many as 28 days before it, and the one that is filling."""
GONE = 2048
COUNT_MAX = 1 << 62
"""Engagement is cut here, so that it fits 64 bits whatever a source sends."""

HEADER = struct.Struct("<5q2d3I")
RECORD = struct.Struct("<q3Q2q3d3q")


@dataclass(slots=True)
class Record:
    """One post: ``t_us`` is when it was first counted, ``-1`` an engagement that is not known, NaN a probability
    without a score.

    ``twin_us`` is when the newest near-duplicate before it was counted, ``scored_twin_us`` the newest scored one;
    ``-1`` is none. A post is a duplicate in a window when its twin is in the window too.
    """

    t_us: int
    id: int
    author: int
    simhash: int
    twin_us: int
    scored_twin_us: int
    positive: float
    negative: float
    neutral: float
    likes: int
    reposts: int
    replies: int


@dataclass(slots=True)
class Row:
    """The last row made of one view, and how long it stays what it is: for ``start_us <= t < end_us``, unless a post
    comes."""

    values: list[float]
    start_us: int
    end_us: int


@dataclass(slots=True)
class State:
    """A symbol's posts. What follows ``gone`` is derived from what stands before it, and is not saved."""

    bucket_us: int
    last_us: int = 0
    first_us: int = 0
    newest_hour: int = 0
    ew_us: int = 0
    ew_sum: float = 0.0
    ew_weight: float = 0.0
    posts: list[Record] = field(default_factory=list)
    hours: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    by_id: dict[int, Record] = field(default_factory=dict)
    gone_ids: set[int] = field(default_factory=set)
    rows: dict[str, Row] = field(default_factory=dict)
    packed: bytes | None = None


def key(text: str) -> int:
    """A stable 64-bit hash of an id or a name, never 0.

    Lone surrogates, which JSON can carry, are hashed like any other character.
    """
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") or 1


def to_bytes(state: State) -> bytes:
    """The state's own bytes; equal bytes are equal states."""
    if state.packed is None:
        parts = [
            HEADER.pack(
                state.bucket_us,
                state.last_us,
                state.first_us,
                state.newest_hour,
                state.ew_us,
                state.ew_sum,
                state.ew_weight,
                len(state.posts),
                len(state.hours),
                len(state.gone),
            )
        ]
        parts += [
            RECORD.pack(
                p.t_us,
                p.id,
                p.author,
                p.simhash,
                p.twin_us,
                p.scored_twin_us,
                p.positive,
                p.negative,
                p.neutral,
                p.likes,
                p.reposts,
                p.replies,
            )
            for p in state.posts
        ]
        parts.append(struct.pack(f"<{len(state.hours)}I", *state.hours))
        parts.append(struct.pack(f"<{len(state.gone)}Q", *state.gone))
        state.packed = b"".join(parts)
    return state.packed


def from_bytes(data: bytes) -> State:
    """The state that ``to_bytes`` saved.

    Raises
    ------
    ValueError
        The length is not what the header says.
    """
    if len(data) < HEADER.size:
        raise ValueError(f"a post state has at least {HEADER.size} bytes, not {len(data)}")
    *scalars, n_posts, n_hours, n_gone = HEADER.unpack_from(data)
    hours_at = HEADER.size + n_posts * RECORD.size
    gone_at = hours_at + 4 * n_hours
    if len(data) != gone_at + 8 * n_gone:
        raise ValueError(f"a post state of {n_posts} posts has {gone_at + 8 * n_gone} bytes, not {len(data)}")
    state = State(*scalars)
    state.posts = [Record(*values) for values in RECORD.iter_unpack(data[HEADER.size : hours_at])]
    state.hours = list(struct.unpack_from(f"<{n_hours}I", data, hours_at))
    state.gone = list(struct.unpack_from(f"<{n_gone}Q", data, gone_at))
    state.by_id = {p.id: p for p in state.posts}
    state.gone_ids = set(state.gone)
    state.packed = data
    return state

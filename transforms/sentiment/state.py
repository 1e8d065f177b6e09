"""What is kept of a symbol's posts, and its bytes.

Kept are the posts of the last hour, the longest window; the ids of the last ``GONE`` posts before them, so that a late repeated delivery
is not counted again; and the number of posts of each hour of 28 days. Ids and authors are kept as 64-bit hashes, so a post takes
``RECORD.size`` bytes however long they are.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import attrgetter
from typing import NamedTuple

from transforms.kernel import HOUR_US

WEEKS = 4
WEEK_HOURS = 7 * 24
HOURS = WEEKS * WEEK_HOURS + 2
"""Hours kept: the last complete one, those of the 28 days before it, and the one that is filling."""
GONE = 2048

HEADER = struct.Struct("<5q2d3I")
RECORD = struct.Struct("<q3Q2q3d3q")


class Post(NamedTuple):
    """One observation of a post, as the kernel is given it; another observation of the same id is an edit or a repeated delivery.

    ``author`` is None where the source does not name one. ``simhash`` is the fingerprint of the text; 0 is a text without words, which
    is never a duplicate. The model's probabilities are all None where the post has no score. Engagement that is None or negative is
    unknown.
    """

    id: str
    author: str | None = None
    simhash: int = 0
    positive: float | None = None
    negative: float | None = None
    neutral: float | None = None
    likes: int | None = None
    reposts: int | None = None
    replies: int | None = None
    followers: int | None = None


@dataclass(slots=True)
class Record:
    """One post, kept. A post is a duplicate in a window when its twin is in the window too.

    ``t_us`` is when it was first counted. ``twin_us`` and ``scored_twin_us`` are when the newest near-duplicate before it, and the newest
    scored one, were counted; -1 for none. Probabilities are NaN without a score. Engagement is -1 where it is unknown.
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

    @property
    def scored(self) -> bool:
        """Whether the post has a score."""
        return self.positive == self.positive

    @property
    def compound(self) -> float:
        """P(positive) - P(negative)."""
        return self.positive - self.negative

    @property
    def confidence(self) -> float:
        """The largest probability."""
        return max(self.positive, self.negative, self.neutral)


@dataclass(slots=True)
class Row:
    """The last row made of one view. It stays the same for ``start_us <= t < end_us``, unless a post comes."""

    values: list[float]
    start_us: int
    end_us: int


@dataclass(slots=True)
class State:
    """A symbol's posts. The attributes behind ``gone`` follow from those before them, and are not saved."""

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


time_of = attrgetter("t_us")
_scalars = attrgetter("bucket_us", "last_us", "first_us", "newest_hour", "ew_us", "ew_sum", "ew_weight")
_values = attrgetter(*Record.__slots__)


def key(text: str) -> int:
    """Return a stable 64-bit hash of an id or a name, never 0; lone surrogates, which JSON can carry, are hashed too."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") or 1


def window(state: State, t_us: int, width_us: int) -> list[Record]:
    """Return the posts of ``(t_us - width_us, t_us]`` in the order in which they were counted."""
    first = bisect_right(state.posts, t_us - width_us, key=time_of)
    last = bisect_right(state.posts, t_us, key=time_of)
    return state.posts[first:last]


def count_hour(state: State, t_us: int) -> None:
    """Add one to the hour of ``t_us``; hour ``h`` is ``((h - 1) h, h h]``, in slot ``h % HOURS``."""
    hour = -(-t_us // HOUR_US)
    if state.first_us == 0:
        state.first_us = t_us
        state.newest_hour = hour
        state.hours = [0] * HOURS
    for h in range(max(state.newest_hour + 1, hour - HOURS + 1), hour + 1):
        state.hours[h % HOURS] = 0
    state.newest_hour = hour
    state.hours[hour % HOURS] += 1


def posts_of_hour(state: State, hour: int) -> int:
    """Return the number of posts of ``hour``, one of the last ``HOURS``."""
    return state.hours[hour % HOURS] if hour <= state.newest_hour else 0


def to_bytes(state: State) -> bytes:
    """Return the bytes of the state; states are equal when their bytes are."""
    if state.packed is None:
        lengths = len(state.posts), len(state.hours), len(state.gone)
        parts = [HEADER.pack(*_scalars(state), *lengths)]
        parts += [RECORD.pack(*_values(post)) for post in state.posts]
        parts.append(struct.pack(f"<{len(state.hours)}I", *state.hours))
        parts.append(struct.pack(f"<{len(state.gone)}Q", *state.gone))
        state.packed = b"".join(parts)
    return state.packed


def from_bytes(data: bytes) -> State:
    """Return the state that ``to_bytes`` saved; raise ``ValueError`` if the length is not what the header says."""
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
    state.by_id = {post.id: post for post in state.posts}
    state.gone_ids = set(state.gone)
    state.packed = data
    return state

"""What is kept of a symbol's posts, and its bytes.

Kept are the posts of the last hour, the longest window over single posts; the number of posts of each hour of 28 days; and the ids of all
posts of those 28 days, so that an engagement read again is never a second post. Ids and authors are kept as 64-bit hashes: a post of the
last hour takes ``RECORD.size`` bytes of a saved state however long they are, an older id 12, in memory about 100.

``GONE_MAX`` bounds the ids of a symbol that is flooded. Past it the oldest hours are forgotten early, and ``forgotten_us`` then tells which
posts can no longer be told from new ones: those written up to then. The kernel refuses them.
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
DAY_HOURS = 24
REMEMBERED_US = WEEKS * WEEK_HOURS * HOUR_US
"""How long an id is remembered: as long as the longest window that counts its post."""
GONE_MAX = 500_000
"""Ids older than an hour that are remembered; 50 MB of memory, 6 MB of a saved state."""

HEADER = struct.Struct("<6q2d3I")
RECORD = struct.Struct("<q3Q2q3d3q")
ID = struct.Struct("<iQ")


class Post(NamedTuple):
    """One observation of a post, as the kernel is given it; another observation of the same id is an edit or a repeated delivery.

    ``author`` is None where the source does not name one. ``simhash`` is the fingerprint of the text; 0 is a text without words, which
    is never a duplicate. The model's probabilities are all None where the post has no score. Engagement that is None or negative is
    unknown. ``written_us`` is when the post was written, 0 where that is not known.
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
    written_us: int = 0


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
    """A symbol's posts. The attributes behind ``gone`` follow from those before them, and are not saved.

    ``ew_sum`` and ``ew_weight`` are the weighted mean of the posts that are older than ``posts``, at ``ew_us``. ``gone`` has the ids of
    these posts, and of the withdrawn ones, each with the hour in which the post was counted, as a negative number once it is withdrawn.
    """

    bucket_us: int
    last_us: int = 0
    first_us: int = 0
    newest_hour: int = 0
    forgotten_us: int = 0
    ew_us: int = 0
    ew_sum: float = 0.0
    ew_weight: float = 0.0
    posts: list[Record] = field(default_factory=list)
    hours: list[int] = field(default_factory=list)
    gone: dict[int, int] = field(default_factory=dict)
    by_id: dict[int, Record] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    packed: bytes | None = None
    packed_days: bytes | None = None


time_of = attrgetter("t_us")
_scalars = attrgetter("bucket_us", "last_us", "first_us", "newest_hour", "forgotten_us", "ew_us", "ew_sum", "ew_weight")
_values = attrgetter(*Record.__slots__)


def key(text: str) -> int:
    """Return a stable 64-bit hash of an id or a name, never 0; lone surrogates, which JSON can carry, are hashed too."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") or 1


def window(state: State, t_us: int, width_us: int) -> list[Record]:
    """Return the posts of ``(t_us - width_us, t_us]`` in the order in which they were counted."""
    first = bisect_right(state.posts, t_us - width_us, key=time_of)
    last = bisect_right(state.posts, t_us, key=time_of)
    return state.posts[first:last]


def hour_of(t_us: int) -> int:
    """Return the number of the hour of a time; a full hour belongs to the hour that it ends."""
    return -(-t_us // HOUR_US)


def count_hour(state: State, t_us: int) -> None:
    """Add one to the hour of ``t_us``, which is kept in slot ``hour % HOURS``."""
    hour = hour_of(t_us)
    if state.first_us == 0:
        state.first_us = t_us
        state.newest_hour = hour
        state.hours = [0] * HOURS
    for h in range(max(state.newest_hour + 1, hour - HOURS + 1), hour + 1):
        state.hours[h % HOURS] = 0
    state.newest_hour = hour
    state.hours[hour % HOURS] += 1


def uncount_hour(state: State, hour: int) -> None:
    """Take a withdrawn post out of its hour, if that is still kept."""
    if state.newest_hour - HOURS < hour <= state.newest_hour:
        state.hours[hour % HOURS] -= 1


def remember_gone(state: State, post_id: int, hour: int) -> None:
    """Remember the id of a post that is no longer among ``posts``, and forget the oldest ids if there are too many."""
    state.gone[post_id] = hour
    if _day(hour) < _day(state.newest_hour):
        state.packed_days = None
    if len(state.gone) > GONE_MAX:
        _forget_before(state, sorted(map(abs, state.gone.values()))[GONE_MAX // 10])


def forget_old_days(state: State, newest_hour: int) -> None:
    """Forget the ids of days that have left the 28 days, if ``newest_hour`` begins a day."""
    if state.newest_hour and _day(newest_hour) > _day(state.newest_hour):
        state.packed_days = None
        first = (_day(newest_hour) - REMEMBERED_US // (DAY_HOURS * HOUR_US)) * DAY_HOURS
        state.gone = {post_id: hour for post_id, hour in state.gone.items() if abs(hour) >= first}


def _forget_before(state: State, hour: int) -> None:
    """Forget the ids of all hours up to ``hour``, and note until when posts can no longer be told from new ones."""
    state.gone = {post_id: h for post_id, h in state.gone.items() if abs(h) > hour}
    state.forgotten_us = max(state.forgotten_us, hour * HOUR_US)
    state.packed_days = None


def _day(hour: int) -> int:
    return abs(hour) // DAY_HOURS


def posts_of_hour(state: State, hour: int) -> int:
    """Return the number of posts of ``hour``, one of the last ``HOURS``."""
    return state.hours[hour % HOURS] if hour <= state.newest_hour else 0


def to_bytes(state: State) -> tuple[bytes, bytes]:
    """Return the state as two parts, of which the second changes once a day; states are equal when their bytes are.

    The second part has the ids of earlier days, which may be many.
    """
    today = _day(state.newest_hour)
    if state.packed is None:
        recent = sorted((hour, post_id) for post_id, hour in state.gone.items() if _day(hour) >= today)
        lengths = len(state.posts), len(state.hours), len(recent)
        parts = [HEADER.pack(*_scalars(state), *lengths)]
        parts += [RECORD.pack(*_values(post)) for post in state.posts]
        parts.append(struct.pack(f"<{len(state.hours)}I", *state.hours))
        parts.append(_pack_ids(recent))
        state.packed = b"".join(parts)
    if state.packed_days is None:
        earlier = sorted((hour, post_id) for post_id, hour in state.gone.items() if _day(hour) < today)
        state.packed_days = _pack_ids(earlier)
    return state.packed, state.packed_days


def from_bytes(data: bytes, days: bytes) -> State:
    """Return the state that ``to_bytes`` saved; raise ``ValueError`` if a length is not what the header says."""
    if len(data) < HEADER.size:
        raise ValueError(f"a post state has at least {HEADER.size} bytes, not {len(data)}")
    *scalars, n_posts, n_hours, n_gone = HEADER.unpack_from(data)
    hours_at = HEADER.size + n_posts * RECORD.size
    gone_at = hours_at + 4 * n_hours
    if len(data) != gone_at + ID.size * n_gone or len(days) % ID.size:
        raise ValueError(f"a post state of {n_posts} posts has {gone_at + ID.size * n_gone} bytes, not {len(data)}")
    state = State(*scalars)
    state.posts = [Record(*values) for values in RECORD.iter_unpack(data[HEADER.size : hours_at])]
    state.hours = list(struct.unpack_from(f"<{n_hours}I", data, hours_at))
    state.gone = {post_id: hour for part in (days, data[gone_at:]) for hour, post_id in ID.iter_unpack(part)}
    state.by_id = {post.id: post for post in state.posts}
    state.packed, state.packed_days = data, days
    return state


def _pack_ids(ids: list[tuple[int, int]]) -> bytes:
    return b"".join([ID.pack(hour, post_id) for hour, post_id in ids])

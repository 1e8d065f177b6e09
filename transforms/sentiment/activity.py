"""The row of the view ``social``: how much is posted, by how many authors, and how much of it is repeated.

``social_volume_z`` uses complete UTC hours and the sample deviation. Any ratio whose divisor is 0 is null.

Example: Three posts, two of them by one author, all in the last five minutes:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> for second, author in ((100, "ann"), (200, "bob"), (300, "ann")):
...     feed.post(second, positive=0.5, negative=0.2, author=author)
>>> feed.value("social_velocity", at=300), feed.value("social_acceleration", at=300), feed.value("unique_authors_1h", at=300)
(0.6, 0.6, 2.0)
"""

from __future__ import annotations

import math

from transforms.catalog import SOCIAL
from transforms.kernel import HOUR_US, MINUTE_US, NAN
from transforms.sentiment.state import WEEK_HOURS, WEEKS, State, posts_of_hour, window

_SLOT = SOCIAL.index


def row(state: State, t_us: int) -> list[float]:
    """Return the row of ``t_us``."""
    out = [NAN] * len(_SLOT)
    hour = window(state, t_us, HOUR_US)
    five = len(window(state, t_us, 5 * MINUTE_US))
    ten = len(window(state, t_us, 10 * MINUTE_US))
    out[_SLOT["social_volume_5m"]] = float(five)
    out[_SLOT["social_volume_1h"]] = float(len(hour))
    out[_SLOT["social_velocity"]] = five / 5
    out[_SLOT["social_acceleration"]] = (five - (ten - five)) / 5
    out[_SLOT["social_volume_z"]] = _volume_z(state, t_us)
    named = [p.author for p in hour if p.author]
    distinct = len(set(named))
    out[_SLOT["unique_authors_1h"]] = float(distinct)
    if named:
        out[_SLOT["author_ratio_1h"]] = distinct / len(named)
    if hour:
        since = t_us - HOUR_US
        out[_SLOT["duplicate_share_1h"]] = sum([p.twin_us > since for p in hour]) / len(hour)
    return out


def _volume_z(state: State, t_us: int) -> float:
    hour = t_us // HOUR_US
    first = -(-state.first_us // HOUR_US) + 1
    past = [hour - WEEK_HOURS * k for k in range(WEEKS, 0, -1)]
    counts = [posts_of_hour(state, h) for h in past if h >= first] if state.first_us else []
    if len(set(counts)) < 2:
        return NAN
    logs = [math.log(1 + n) for n in counts]
    n = len(logs)
    total = 0.0
    for x in logs:
        total += x
    mean = total / n
    squares = 0.0
    for x in logs:
        squares += (x - mean) ** 2
    return (math.log(1 + posts_of_hour(state, hour)) - mean) / math.sqrt(squares / (n - 1))

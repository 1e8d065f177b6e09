"""Which history joins read: what was served, or what today's kernels compute.

The tables hold rows that the live worker made, and rows that a backfill made of the same time. At each event time of a symbol and view
one of the two counts:

``served``
    The rows that were served, which is what models were fed. Recomputed rows count only at event times at which nothing was served.
``recomputed``
    The rows of the newest backfill, where new features have their past. Served rows count only at event times at which nothing was
    recomputed.

``history:`` in ``offline_store:`` of the yaml names the one that is read, and in a notebook

>>> with reading("recomputed"):
...     current("served")
'recomputed'
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal, cast, get_args

from feature_repo.stores.errors import UserError

History = Literal["served", "recomputed"]
NAMES: Final[tuple[str, ...]] = get_args(History)
_READ: Final[ContextVar[History | None]] = ContextVar("history", default=None)


class HistoryError(UserError, ValueError):
    """There is no such history."""


@contextmanager
def reading(history: str) -> Iterator[None]:
    """Let the joins that are asked for inside read a history, whatever the yaml names. Raise `HistoryError` for an unknown one.

    A job that ``get_historical_features`` returned inside reads it afterwards, too.
    """
    if history not in NAMES:
        raise HistoryError(f"{history!r} is no history; choose {' or '.join(NAMES)}")
    token = _READ.set(cast(History, history))
    try:
        yield
    finally:
        _READ.reset(token)


def current(configured: History) -> History:
    """Return the history that `reading` chose, or else the configured one."""
    return _READ.get() or configured

"""The role ``lake``: it writes the days that have closed or changed into the lake, and looks again every ten minutes.

Nothing waits for it: joins read from the database what the lake does not have as it is. A process that dies before a commit has changed
nothing, and two at once do no harm, because one of two commits is refused; the second stands by.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import psycopg
import redis

from feature_repo.stores.endpoints import LAKE_VARIABLE, lake_place
from feature_repo.stores.offline.lake.marks import OpenTransactionError
from feature_repo.stores.offline.lake.tables import LakeError
from ingest.lake.write import write_all
from ingest.streams import outage
from ingest.streams.membership import STAND_BY_S, Member
from ingest.tape.role import patiently

_LOG = logging.getLogger(__name__)
ROLE = "lake"
LOOK_S = 600.0


def run(client: redis.Redis, postgres_url: str, stop: threading.Event) -> None:
    """Write until ``stop`` is set, or stand by while another process does; wait while Redis, the database or the storage is away.

    Without ``TFS_LAKE`` there is nothing to do, and only signs of life are given.
    """
    member = Member(client, ROLE, [ROLE])
    lake = lake_place()
    if not lake:
        _LOG.warning("%s is empty: no lake is written", LAKE_VARIABLE)

    def work(well: Callable[[], None]) -> None:
        looked: float | None = None
        for _ in member.hold_until(stop):
            while not stop.is_set() and member.hold_seat() is not None:
                if lake and (looked is None or time.monotonic() - looked >= LOOK_S):
                    days = patiently(lambda: write_all(postgres_url, lake, _tell, stop.is_set), member.hold_seat)
                    looked = time.monotonic()
                    if days:
                        _LOG.info("%d days of views were written to the lake", days)
                well()
                stop.wait(STAND_BY_S)

    outage.ride_out("the lake", work, stop, _passes)


def _tell(view: str, day: object, rows: int) -> None:
    _LOG.info("%s of %s is in the lake: %d rows", day, view, rows)


def _passes(error: Exception) -> bool:
    return isinstance(error, psycopg.Error | LakeError | OpenTransactionError) or outage.is_passing(error)

"""Every view's closed days, from the database into the lake."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import psycopg

from feature_repo.stores.endpoints import LAKE_VARIABLE, lake_place
from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.lake import marks, tables
from feature_repo.stores.offline.lake.write import tidy, write
from feature_repo.stores.offline.tables.schema import table_of_view
from transforms.catalog import VIEWS


class NoLakeError(UserError, ValueError):
    """There is no lake to write."""


def place() -> str:
    """Return where the lake is, or raise `NoLakeError`."""
    if not (found := lake_place()):
        raise NoLakeError(f"{LAKE_VARIABLE} is empty, so there is no lake; set it to a folder or to s3://bucket/prefix")
    return found


def write_all(
    postgres_url: str,
    lake: str,
    done: Callable[[str, date, int], object] = lambda view, day, rows: None,
    stop: Callable[[], bool] = lambda: False,
    *,
    again: bool = False,
) -> int:
    """Write the closed days of every view that the lake does not have as they are; return how many were written.

    `done` is called with the view, the day and how many rows it has. `stop` says whether to stop before the next day.
    With `again` every day is written, whether it has changed or not. Files that were replaced a week ago are deleted.
    """
    days = 0
    with psycopg.connect(
        postgres_url, autocommit=True, application_name="tfs lake", connect_timeout=5, tcp_user_timeout=20_000
    ) as connection:
        for view in VIEWS:
            table = table_of_view(view)

            def written(day: date, rows: int, name: str = view.name) -> None:
                nonlocal days
                days += 1
                done(name, day, rows)

            if tables.fits(table) and not stop():
                before = days
                if again:
                    marks.install(connection, table.name)
                    marks.renew(connection, table.name)
                write(connection, lake, table, written, stop)
                if days > before:
                    tidy(lake, table)
    return days
